"""R15: a node that is gone. `python -m tests.faults.node_removed [--peer ray_serve] [--full]`"""

from __future__ import annotations

import time

from tests.faults.figures import Figure, at_most, exactly
from tests.faults.load import Load, good_load
from tests.faults.systems import System, running
from tests.faults.trial import Size, latencies, lost, main, pause

__all__ = ["remove", "scenario"]

_OPTIONS = {"num_replicas": 3, "max_ongoing_requests": 20}


def scenario(system: str, size: Size) -> list[Figure]:
    """Of three nodes with room for two replicas each, one is ended at once; the head has none."""
    with running(system, nodes=(0, 2, 2, 2)) as it:
        return remove(it, size)


def remove(it: System, size: Size) -> list[Figure]:
    """End a node that has replicas, and wait until there are as many as before."""
    it.deploy("v0", options=_OPTIONS)
    nodes = it.ask("node_ids")
    homes = {each["pid"]: each["node"] for each in it.ask("actors")}
    before = it.replicas().values()
    number = next(at for at, node in enumerate(nodes) if node in map(homes.get, before))
    lost_here = {pid for pid in before if homes[pid] == nodes[number]}
    with good_load(it.port, rate=size.rate, app="alpha", timeout_s=10) as load:
        pause(time.monotonic() + 3)
        gone = time.monotonic()
        it.ask("remove_node", number=number)
        pause(gone + 25)
    under_way = sum(each.due <= gone + 1 and each.ended >= gone for each in load.exchanges)
    failures = [each for each in load.exchanges if each.problem]
    return [
        Figure("replicas on the node", len(lost_here)),
        lost("", load, under_way, " (in flight)"),
        at_most("slowest failure", max((each.took for each in failures), default=0.0), 3, "s"),
        latencies("", load),
        at_most("all replicas serve again after", _whole(load, before, gone), 10, "s"),
        exactly("replicas that serve at the end", len(_late(load)), 3),
    ]


def _late(load: Load) -> set[str]:
    last = load.exchanges[-1].due
    return {each.replica for each in load.within(last - 3).exchanges if not each.problem}


def _whole(load: Load, before: object, gone: float) -> float:
    """The time until every replica of the end has answered."""
    first: dict[str, float] = {}
    for each in load.exchanges:
        if not each.problem:
            first.setdefault(each.replica, each.ended)
    return max(max(first[each] for each in _late(load)) - gone, 0.0)


if __name__ == "__main__":
    main(scenario)
