"""Processor time of a program's processes, by role, between two moments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from programs.processes import command, cpu_seconds, descendants, ended_children_seconds

# What a command line begins with; Ray's and alacarte's processes give themselves titles. HAProxy is
# a child of the actor that writes its configuration.
ROLES = (
    ("ray::alacarte:replica", "replica"),
    ("ray::alacarte:proxy", "proxy"),
    ("ray::alacarte:controller", "controller"),
    ("ray::ServeReplica", "replica"),
    ("ray::ProxyActor", "proxy"),
    ("ray::ServeController", "controller"),
    ("ray::HAProxyManager", "HAProxy's manager"),
    ("ray::", "other actors"),
)
PROGRAMS = {"haproxy": "HAProxy", "raylet": "Ray", "gcs_server": "Ray", "mosec": "Mosec"}
UNIT = "CPU s/1,000"
MAIN, OTHERS, ENDED = "main process", "Ray", "ended processes"


@dataclass(frozen=True)
class ProcessTime:
    """Processor time of one process so far.

    Attributes:
        role: What the process is for.
        own_s: Of all its threads, in seconds.
        ended_s: Of its children that have ended and were waited for, in seconds.
    """

    role: str
    own_s: float
    ended_s: float


def role_of(title: str, others: str = OTHERS) -> str:
    """Tell from a command line, or a title, what a process is for.

    Args:
        title: As `/proc/PID/cmdline` has it, with spaces.
        others: The role of whatever is not known.
    """
    for beginning, role in ROLES:
        if title.startswith(beginning):
            return role
    program = title.partition(" ")[0].rpartition("/")[2]
    return PROGRAMS.get(program, others)


def sample(root: int, others: str = OTHERS) -> dict[int, ProcessTime]:
    """Read the times of `root` and of all processes below it."""
    pids = {root} | descendants(root)
    times = {}
    for pid, own_s in cpu_seconds(pids).items():
        try:
            role = MAIN if pid == root else role_of(command(pid), others)
            times[pid] = ProcessTime(role, own_s, ended_children_seconds(pid))
        except OSError:  # gone since it was listed
            continue
    return times


def spent(before: Mapping[int, ProcessTime], after: Mapping[int, ProcessTime]) -> dict[str, float]:
    """Return the seconds of processor time that each role used between two samples.

    A process that ended in between is counted through its parent, to which the kernel adds the
    whole of its time; what it had used before the first sample is taken off again.
    """
    nothing = ProcessTime("", 0.0, 0.0)
    seconds: dict[str, float] = {}
    ended_s = 0.0
    for pid, now in after.items():
        then = before.get(pid, nothing)
        seconds[now.role] = seconds.get(now.role, 0.0) + max(0.0, now.own_s - then.own_s)
        ended_s += now.ended_s - then.ended_s
    ended_s -= sum(gone.own_s + gone.ended_s for pid, gone in before.items() if pid not in after)
    if ended_s > 0.01:  # one tick of the clock that parents' times are kept in
        seconds[ENDED] = ended_s
    return seconds


def per_thousand(name: str, seconds: Mapping[str, float], amount: float) -> dict[str, float]:
    """Return the metrics of a load: seconds per 1,000 of its unit, in all and by role.

    Args:
        name: Of the load.
        seconds: By role.
        amount: How many requests, calls, chunks … were counted meanwhile.
    """
    if amount <= 0:
        return {}
    each = {role: 1000 * used / amount for role, used in seconds.items()}
    values = {metric(name): sum(each.values())}
    return values | {metric(name, role): value for role, value in each.items()}


def metric(name: str, role: str = "") -> str:
    """Return the key of a load's processor time, in all or of one role."""
    return f"{name}_cpu_s_per_1000" + (f"/{role}" if role else "")


def roles(name: str, metrics: Iterable[str]) -> dict[str, str]:
    """Return the roles that have a metric for this load, with their keys."""
    beginning = metric(name) + "/"
    return {key.removeprefix(beginning): key for key in metrics if key.startswith(beginning)}
