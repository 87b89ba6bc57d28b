"""Everything this repository does, as nox sessions: `nox --list` shows them, CI runs them.

Sessions that test packages install the wheels that `build` makes, never the source tree, so that
what is tested is what users get.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
WHEELS = ROOT / "build" / "wheels"

# In order of dependency. Folder -> distribution.
PACKAGES = {
    "core": "alacarte-core",
    "http": "alacarte-http",
    "handles": "alacarte-handles",
    "batching": "alacarte-batching",
    "multiplexing": "alacarte-multiplexing",
    "autoscaling": "alacarte-autoscaling",
    "endpoints": "alacarte-endpoints",
    "cli": "alacarte-cli",
    "serve": "alacarte-serve",
}
WITH_CODE = [folder for folder in PACKAGES if folder != "serve"]
PYTHONS = ["3.11", "3.12", "3.13"]

# Who installs what, on the left the name of the script in tests/combinations.
COMBINATIONS = {
    "core": ["core"],
    "core_http": ["core", "http"],
    "core_handles": ["core", "handles"],
    "http_fastapi": ["http[fastapi]"],
    "core_http_handles": ["core", "http", "handles"],
    "core_handles_batching": ["core", "handles", "batching"],
    "core_http_handles_multiplexing": ["core", "http", "handles", "multiplexing"],
    "core_handles_autoscaling": ["core", "handles", "autoscaling"],
    "core_endpoints": ["core", "endpoints"],
    "core_http_handles_batching_endpoints": ["core", "http", "handles", "batching", "endpoints"],
    "core_cli": ["core", "cli"],
    "core_http_cli": ["core", "http", "cli"],
    "everything": ["serve[fastapi]"],
}
# pip takes minutes for what uv does in seconds; what it does otherwise shows in these already.
WITH_PIP = ["core", "core_http_cli", "everything"]

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "imports", "tests", "contract"]


def _show_pyenv_pythons() -> None:
    # pyenv answers for a Python that is installed but not selected with an error; selecting all
    # of them, the running one first, lets nox find each by its version.
    if "PYENV_VERSION" in os.environ or not shutil.which("pyenv"):
        return
    listed = subprocess.run(
        ["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False
    ).stdout.split()
    running = "{}.{}.{}".format(*sys.version_info)
    found = [v for v in listed if re.fullmatch(r"3\.\d+\.\d+", v) and v[:4] in PYTHONS]
    if found:
        os.environ["PYENV_VERSION"] = ":".join(sorted(found, key=lambda v: v != running))


_show_pyenv_pythons()
# Pythons are used where found; a test run that downloads interpreters surprises its user.
os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")
# uv installs sources only. Where Python may not keep what it compiles, as in many containers, each
# of the hundreds of processes that tests start compiles Ray anew, which doubles their time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def _group(*names: str) -> list[str]:
    return [each for name in names for each in nox.project.dependency_groups(PYPROJECT, name)]


def _uv() -> str | None:
    """Return the program `uv` where nox found one; pip does the same work otherwise."""
    return nox.virtualenv.UV if nox.virtualenv.HAS_UV else None


def _build(session: nox.Session, folder: Path, into: Path, *, sdist: bool = False) -> None:
    """Build `folder` in an environment of its own, which holds nothing but what it declares."""
    uv = _uv()
    if uv:
        kinds = ["--sdist", "--wheel"] if sdist else ["--wheel"]
        session.run(uv, "build", "--quiet", *kinds, "--out-dir", into, folder, external=True)
    elif sdist:
        session.install("build")
        session.run("python", "-m", "build", "--outdir", into, folder)
    else:
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        session.run(*pip, "--wheel-dir", into, folder, external=True)


# With ALACARTE_WHEELS=built, those that `nox -s wheels` has built are used: several runs of nox
# at a time, as in CI, would else build them under each other's feet.
_built: list[Path] = [WHEELS] if os.environ.get("ALACARTE_WHEELS") == "built" else []


def _wheels(session: nox.Session) -> Path:
    """Build the wheel of each package, once per run of nox, and return their folder.

    `constraints.txt` beside them says that they are what their names mean, whatever a package
    registry may hold under the same names.
    """
    if not _built:
        shutil.rmtree(WHEELS, ignore_errors=True)
        folders = [*(ROOT / "packages" / name for name in PACKAGES), *_foreign_plugins()]
        for folder in folders:
            _build(session, folder, WHEELS)
        named = {_name(folder): _built_wheel(_name(folder)) for folder in folders}
        lines = [f"{name} @ {wheel.as_uri()}\n" for name, wheel in named.items()]
        (WHEELS / "constraints.txt").write_text("".join(lines))
        _built.append(WHEELS)
    return WHEELS


def _built_wheel(distribution: str) -> Path:
    [wheel] = WHEELS.glob(f"{distribution.replace('-', '_')}-[0-9]*.whl")
    return wheel


def _foreign_plugins() -> list[Path]:
    """Return the distributions under tests/ that stand for what strangers publish."""
    return sorted(path.parent for path in (ROOT / "tests").glob("*/pyproject.toml"))


def _install(
    session: nox.Session, folders: Iterable[str], *others: str, foreign: bool = False
) -> None:
    """Install the wheels of these packages and of the siblings they need, and `others`."""
    constraints = str(_wheels(session) / "constraints.txt")
    names = [PACKAGES[name] for name in folders]
    if foreign:
        names += [_name(folder) for folder in _foreign_plugins()]
    session.install("--constraint", constraints, *names, *others)


def _with_extra(folder: str) -> str:
    """Return what installs a package: "http[fastapi]" is alacarte-http[fastapi]."""
    name, bracket, extra = folder.partition("[")
    return PACKAGES[name] + bracket + extra


def _name(folder: Path) -> str:
    return str(nox.project.load_toml(folder / "pyproject.toml")["project"]["name"])


def _pytest(session: nox.Session, *arguments: str) -> None:
    # pytest itself ends with 5 where it collects nothing, and that fails the session: a folder of
    # tests that is empty is a mistake.
    session.run("pytest", *arguments, *session.posargs)


@nox.session
def wheels(session: nox.Session) -> None:
    """Build the wheels that the other sessions install."""
    _wheels(session)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format with ruff; `nox -s lint -- --fix` repairs what it can."""
    session.install(*_group("lint"))
    fix = "--fix" in session.posargs
    session.run("ruff", "check", *(["--fix"] if fix else []), ".")
    session.run("ruff", "format", *([] if fix else ["--check"]), ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of all packages with mypy, strictly."""
    _install(session, WITH_CODE, *_group("types", "ingress"))
    session.run("mypy", *session.posargs)


@nox.session
def imports(session: nox.Session) -> None:
    """Check who imports whom: import-linter's contracts, and what only the source shows."""
    # import-linter reads installed packages; editable, so that it names the files to repair.
    editable = [arg for name in WITH_CODE for arg in ("-e", f"packages/{name}")]
    session.install(*editable, *_group("imports", "test"))
    session.run("lint-imports", "--no-cache")
    session.run("pytest", "tests/contract/test_borders.py")


@nox.session(python=PYTHONS)
@nox.parametrize("package", WITH_CODE, ids=WITH_CODE)
def tests(session: nox.Session, package: str) -> None:
    """Test one package against its wheel and declared dependencies, without Ray, in seconds."""
    folder = ROOT / "packages" / package / "tests"
    if not list(folder.glob("test_*.py")):
        session.error(f"packages/{package}/tests has no tests")
    client = _group("http-client", "ingress", "values") if package == "http" else []
    _install(session, [package], *_group("test"), *client)
    drawn = []
    if package == "core" and session.python != PYTHONS[0]:
        # What is drawn at random is drawn in full on one Python; on others, enough to see it work.
        drawn = ["--hypothesis-profile", "few", "--ignore", f"{folder}/simulation"]
    _pytest(session, *drawn, str(folder.relative_to(ROOT)))


@nox.session
def simulation(session: nox.Session) -> None:
    """Run ten thousand seeds of the simulated cluster; `-- --seed 7 --trace` repeats one.

    ALACARTE_SEEDS says how many else.
    """
    _install(session, ["core"], *_group("test"))
    asked = session.posargs or [
        os.environ.get("ALACARTE_SEEDS", "10000"),
        "--jobs",
        str(os.cpu_count() or 1),
    ]
    with session.chdir("packages/core/tests"):
        session.run("python", "-m", "simulation", *asked)


@nox.session
def contract(session: nox.Session) -> None:
    """Test what must hold across packages: layout, borders, hooks, errors."""
    _install(session, PACKAGES, *_group("test"), foreign=True)
    _pytest(session, "tests/contract")


@nox.session
def integration(session: nox.Session) -> None:
    """Test all packages together on a real Ray."""
    others = _group("test", "http-client", "ingress", "api-tester")
    _install(session, PACKAGES, *others, foreign=True)
    _pytest(session, "tests/integration")


@nox.session(python="3.11")
def minimums(session: nox.Session) -> None:
    """Test with the oldest versions the packages claim, Ray among them, on the oldest Python."""
    oldest = [
        re.sub(r">=([\w.]+)(,<[\w.]+)?", r"==\1", requirement)
        for name in WITH_CODE
        for requirement in nox.project.load_toml(ROOT / "packages" / name / "pyproject.toml")[
            "project"
        ]["dependencies"]
        if not requirement.startswith("alacarte")
    ]
    _install(session, PACKAGES, *oldest, *_group("test", "http-client"), foreign=True)
    session.run("python", "-c", "import ray; print('Ray', ray.__version__)")
    # Old Rays leave log files and processes to the interpreter's end, which is not ours to mend.
    leaks = ["ignore:unclosed file:ResourceWarning", "ignore:subprocess:ResourceWarning"]
    quiet = [word for leak in leaks for word in ("-W", leak)]
    # It is Ray's age that matters; the local cluster has none.
    _pytest(session, *quiet, "-m", "minimums", "-k", "not local", "tests/integration")


@nox.session
@nox.parametrize("installer", ["uv", "pip"], ids=["uv", "pip"])
def combinations(session: nox.Session, installer: str) -> None:
    """Install what a user may choose into clean environments, and use it there."""
    if installer == "uv" and not _uv():
        session.skip("uv is not installed")
    constraints = _wheels(session) / "constraints.txt"
    chosen = session.posargs or (WITH_PIP if installer == "pip" else list(COMBINATIONS))
    for name in chosen:
        clean = Path(session.create_tmp()).resolve() / name
        shutil.rmtree(clean, ignore_errors=True)
        python = clean / "bin" / "python"
        wanted = [_with_extra(each) for each in COMBINATIONS[name]]
        if installer == "uv":
            uv = _uv()
            assert uv is not None
            session.run(uv, "venv", "--quiet", "-p", sys.executable, clean, external=True)
            install = [uv, "pip", "install", "--quiet", "--python", python]
        else:
            # nox brings virtualenv, and that a pip; Debian's venv may come without.
            session.run(sys.executable, "-m", "virtualenv", "--quiet", clean, external=True)
            install = [python, "-m", "pip", "install", "--quiet"]
        session.run(*install, "--constraint", constraints, *wanted, external=True)
        script = ROOT / "tests" / "combinations" / f"{name}.py"
        # As a user's shell has it, and away from the sources.
        path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
        env = {"PATH": path, "VIRTUAL_ENV": str(clean), "ALACARTE_INSTALLER": installer}
        with session.chdir(clean):
            session.run(python, script, env=env, external=True)
        shutil.rmtree(clean)  # each holds a Ray of its own


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, a warning is an error; run every example in it, on both clusters."""
    _install(session, PACKAGES, *_group("docs", "demo", "test", "http-client", "ingress"))
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")
    _pytest(session, "tests/docs")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure alacarte against its peers on this machine: `nox -s bench -- --help`."""
    _install(session, PACKAGES, "numpy")
    session.run("python", "benchmarks/run.py", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheel and the source distribution of every package into dist/."""
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    for name in PACKAGES:
        _build(session, ROOT / "packages" / name, ROOT / "dist", sdist=True)
    for path in sorted((ROOT / "dist").glob("alacarte*")):
        session.log(f"built dist/{path.name}")


@nox.session
def demo(session: nox.Session) -> None:
    """Train a digits classifier, serve it on Ray, and ask it about real images over HTTP."""
    _install(session, PACKAGES, *_group("demo"))
    session.run("python", "examples/digits/main.py", *session.posargs)
