"""Run the same programs on alacarte and its peers, and print how they compare.

Standard library only. See README.md for what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from harness.goals import GOALS, Results, judge
from harness.machine import describe, sources
from harness.peers import DEFAULT_PEERS, PEERS, SetupError, interpreter, listed, versions
from harness.programs import ProgramError, adopt_orphans
from harness.report import markdown
from harness.run import Run, Settings
from harness.workloads import WORKLOADS

RESULTS = Path(__file__).resolve().parent / "results"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default=",".join(DEFAULT_PEERS), help=", ".join(PEERS))
    names = ", ".join(workload.name for workload in WORKLOADS)
    parser.add_argument("--only", help=f"workloads, separated by commas: {names}")
    parser.add_argument("--repeat", type=int, default=3, help="times each is run (3)")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement (10)")
    parser.add_argument("--abort-requests", type=int, default=200_000, help="(200000)")
    parser.add_argument("--large-mb", type=int, default=2_000, help="of large_bodies (2000)")
    parser.add_argument("--quick", action="store_true", help="does it work? figures are noise")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="PEER=PATH",
        help="interpreter to use as it is, instead of an environment in .venvs/",
    )
    parser.add_argument("--alacarte-python", metavar="PATH", help="same as --python alacarte=PATH")
    parser.add_argument("--output", type=Path, default=RESULTS / "latest", help="without suffix")
    parser.add_argument("--check", action="store_true", help="exit 1 if a goal is missed")
    parser.add_argument(
        "--prepare", action="store_true", help="make the environments, and measure nothing"
    )
    options = parser.parse_args()
    if options.quick:
        options.repeat, options.seconds = 1, 2
        options.abort_requests, options.large_mb = 5_000, 100
    if options.alacarte_python:
        options.python.append(f"alacarte={options.alacarte_python}")
    return options


def _tell(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)


def _measure(
    plan: list[tuple[Any, list[str]]],
    pythons: dict[str, Path],
    repeats: int,
    settings: Settings,
    problems: list[str],
) -> Results:
    """Run every workload, the peers taking turns within each repeat."""
    results: Results = defaultdict(lambda: defaultdict(list))
    for workload, peers in plan:
        for repeat in range(repeats):
            for name in peers:
                print(
                    f"{workload.name}, {name}, {repeat + 1}/{repeats}", file=sys.stderr, flush=True
                )
                run = Run(workload.name, PEERS[name], pythons[name], repeat, settings, problems)
                try:
                    values = workload.measure(run)
                except (ProgramError, OSError, ValueError, subprocess.TimeoutExpired) as error:
                    # One peer's failure must not cost the rest of a long run.
                    problems.append(f"{run.log.stem}: {error}")
                    _tell(f"  failed: {error}")
                    continue
                shown = {key: round(value, 3) for key, value in values.items()}
                _tell(f"  {json.dumps(shown)}")
                for metric, value in values.items():
                    results[metric][name].append(value)
    return results


def _prepare(options: argparse.Namespace) -> tuple[list[tuple[Any, list[str]]], dict[str, Path]]:
    """Decide what runs where, and have an interpreter ready for everyone."""
    peers = listed(options.peers, list(PEERS), "peer")
    asked = listed(options.only or "", [w.name for w in WORKLOADS], "workload")
    plan = [
        (workload, chosen)
        for workload in WORKLOADS
        if not asked or workload.name in asked
        if (chosen := workload.chosen(peers, bool(asked)))
    ]
    if not plan:
        raise SetupError("none of these peers runs any of these workloads")
    given = {}
    for pair in options.python:
        name, _, path = pair.partition("=")
        listed(name, list(PEERS), "peer")
        given[PEERS[name].environment] = Path(path).absolute()
    needed = {name for _, chosen in plan for name in chosen}
    return plan, {name: interpreter(PEERS[name], given) for name in peers if name in needed}


def main() -> int:
    options = _arguments()
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that blocks clean up
    temporary = Path(tempfile.mkdtemp(prefix="bench-", dir="/tmp"))  # Ray's sockets need it short
    settings = Settings(
        seconds=options.seconds,
        warmup_s=1 if options.quick else 3,
        imports=3 if options.quick else 10,
        abort_warmup=options.abort_requests // 10,
        abort_requests=options.abort_requests,
        large_bytes=options.large_mb * 10**6,
        raw=RESULTS / "raw",
        temporary=temporary,
    )
    problems: list[str] = []
    try:
        plan, pythons = _prepare(options)
        if options.prepare:
            return 0
        found = {name: versions(PEERS[name], python) for name, python in pythons.items()}
        machine = describe() | {"sources": sources(), "versions": found}
        results = _measure(plan, pythons, options.repeat, settings, problems)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    stated = {
        "seconds": settings.seconds,
        "warmup_s": settings.warmup_s,
        "repeat": options.repeat,
        "imports": settings.imports,
        "abort_warmup": settings.abort_warmup,
        "abort_requests": settings.abort_requests,
        "large_bytes": settings.large_bytes,
        "workloads": [workload.name for workload, _ in plan],
    }
    text = markdown(machine, stated, results, problems)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.with_suffix(".md").write_text(text)
    everything = {"machine": machine, "settings": stated, "results": results, "problems": problems}
    options.output.with_suffix(".json").write_text(json.dumps(everything, indent=2) + "\n")
    print(text)
    verdicts = [judge(goal, results) for goal in GOALS]
    missed = any(verdict.met is False for verdict in verdicts)
    return 1 if problems or (options.check and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
