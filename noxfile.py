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
# The versions of everything that is not ours, for each Python; `nox -s lock` writes them.
LOCK = ROOT / "constraints.txt"

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
# Processes that tests run in: tests of waiting wait beside others.
WORKERS = str(min(8, 2 * (os.cpu_count() or 2)))

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "imports", "contract", "tests", "together"]


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
# What builds our wheels is locked, too. A URI, since both split a path with a space in two.
os.environ["UV_BUILD_CONSTRAINT"] = os.environ["PIP_BUILD_CONSTRAINT"] = LOCK.as_uri()


def _group(*names: str) -> list[str]:
    return [each for name in names for each in nox.project.dependency_groups(PYPROJECT, name)]


def _add(session: nox.Session, *requirements: str) -> None:
    """Install requirements in the versions of the lock."""
    session.install("--constraint", str(LOCK), *requirements)


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
        _add(session, "build")
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
    session: nox.Session,
    folders: Iterable[str],
    *others: str,
    foreign: bool = False,
    lock: Path | None = LOCK,
) -> None:
    """Install the wheels of these packages and of the siblings they need, and `others`.

    Args:
        foreign: Those that stand for strangers' plugins, too.
        lock: Versions of what is not ours; None to leave them open.
    """
    files = [_wheels(session) / "constraints.txt", *([lock] if lock else [])]
    constraints = [word for file in files for word in ("--constraint", str(file))]
    names = [PACKAGES[name] for name in folders]
    if foreign:
        names += [_name(folder) for folder in _foreign_plugins()]
    session.install(*constraints, *names, *others)


def _third_party() -> list[str]:
    """Return the requirements of all packages, their extras included, that are not ours."""
    projects = [
        nox.project.load_toml(ROOT / "packages" / name / "pyproject.toml")["project"]
        for name in WITH_CODE
    ]
    needed = [
        requirement
        for project in projects
        for group in (project["dependencies"], *project.get("optional-dependencies", {}).values())
        for requirement in group
    ]
    return sorted({each for each in needed if not each.startswith("alacarte")})


def _requirement_name(requirement: str) -> str:
    """Return the name in a requirement, or in a line of the lock; "" for a comment."""
    found = re.match(r"[A-Za-z0-9][\w.-]*", requirement)
    return found[0].lower() if found else ""


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
    _add(session, *_group("lint"))
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
    _add(session, *editable, *_group("imports", "test"))
    session.run("lint-imports", "--no-cache")
    session.run("pytest", "tests/contract/test_borders.py")


@nox.session(python=PYTHONS[:1])
@nox.parametrize("package", WITH_CODE, ids=WITH_CODE)
def tests(session: nox.Session, package: str) -> None:
    """Test one package against its wheel and declared dependencies, without Ray, in seconds."""
    folder = ROOT / "packages" / package / "tests"
    if not list(folder.rglob("test_*.py")):
        session.error(f"packages/{package}/tests has no tests")
    client = _group("http-client", "ingress", "values") if package == "http" else []
    # The simulation runs autoscaling, too; and the proxy's tests, the counts and shadows of routes.
    others = {"core": ["autoscaling"], "http": ["endpoints"]}.get(package, [])
    _install(session, [package, *others], *_group("test"), *client)
    _pytest(session, "-n", WORKERS, str(folder.relative_to(ROOT)))


@nox.session(python=PYTHONS[1:])
def together(session: nox.Session) -> None:
    """Test all packages in one environment on a newer Python, but for what `tests` alone runs.

    What is drawn at random is drawn in full there; here, enough to see it work.
    """
    _install(session, WITH_CODE, *_group("test", "http-client", "ingress", "values"))
    _each_pytest(session, WITH_CODE, *QUICK)


QUICK = ["-m", "not once", "--hypothesis-profile", "few"]


def _each_pytest(session: nox.Session, packages: Iterable[str], *arguments: str) -> None:
    """Run the tests of packages, each in processes of its own.

    In one process for all, the heap grows so large that Python's collector takes half of the time.
    """
    failed = []
    for name in packages:
        try:
            _pytest(session, "-n", WORKERS, *arguments, f"packages/{name}/tests")
        except nox.command.CommandFailed:
            failed.append(name)
    if failed:
        session.error(f"tests failed of {', '.join(failed)}")


@nox.session
def quick(session: nox.Session) -> None:
    """Check and test the source on one Python, in two minutes: for work on it."""
    editable = [arg for name in [*WITH_CODE, "serve"] for arg in ("-e", f"packages/{name}")]
    groups = _group("lint", "types", "imports", "test", "http-client", "ingress", "values")
    _add(session, *editable, *groups)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports", "--no-cache")
    # Those that most changes touch; `together` and `contract` run the others.
    _each_pytest(session, ("core", "http", "handles"), *QUICK)


@nox.session
def simulation(session: nox.Session) -> None:
    """Run ten thousand seeds of the simulated cluster; `-- --seed 7 --trace` repeats one.

    ALACARTE_SEEDS says how many else.
    """
    _install(session, ["core", "autoscaling"], *_group("test"))
    asked = session.posargs or [
        os.environ.get("ALACARTE_SEEDS", "10000"),
        "--jobs",
        str(os.cpu_count() or 1),
    ]
    with session.chdir("packages/core/tests"):
        session.run("python", "-m", "simulation", *asked)


@nox.session
def contract(session: nox.Session) -> None:
    """Test what must hold across packages: layout, borders, hooks, errors; and the benchmarks."""
    _install(session, PACKAGES, *_group("test", "http-client", "ingress"), foreign=True)
    _pytest(session, "tests/contract", "benchmarks/tests")


@nox.session
def integration(session: nox.Session) -> None:
    """Test all packages together on a real Ray."""
    others = _group("test", "http-client", "ingress", "api-tester")
    _install(session, PACKAGES, *others, foreign=True)
    _pytest(session, "tests/integration")


@nox.session(python=PYTHONS[0])
def minimums(session: nox.Session) -> None:
    """Test with the oldest versions the packages claim, Ray among them, on the oldest Python."""
    oldest = [re.sub(r">=([\w.]+)(,<[\w.]+)?", r"==\1", each) for each in _third_party()]
    # Without the lock: what runs the tests has to do with the oldest, too.
    tools = _group("test", "http-client", "ingress")
    _install(session, PACKAGES, *oldest, *tools, foreign=True, lock=None)
    session.run("python", "-c", "import ray; print('Ray', ray.__version__)")
    # Old Rays leave log files and processes to the interpreter's end, which is not ours to mend.
    leaks = ["ignore:unclosed file:ResourceWarning", "ignore:subprocess:ResourceWarning"]
    # And they give tips about Rays to come.
    quiet = [word for each in [*leaks, "ignore:Tip:FutureWarning"] for word in ("-W", each)]
    # It is Ray's age that matters; the local cluster has none.
    _pytest(session, *quiet, "-m", "minimums", "-k", "not local", "tests/integration")


@nox.session(python=PYTHONS[-1])
def newest(session: nox.Session) -> None:
    """Test with the newest versions of everything, beyond our upper bounds: on a schedule.

    A failure here is news about somebody's release, not about a change of ours.
    """
    if not _uv():
        session.error("needs uv, which alone looks beyond upper bounds")
    bounded = [each.partition("<")[0].rstrip(",") for each in _third_party() if "<" in each]
    # FastAPI says which Starlette it works with.
    beyond = [each for each in bounded if _requirement_name(each) != "starlette"]
    overrides = Path(session.create_tmp()).resolve() / "overrides.txt"
    overrides.write_text("\n".join(beyond))
    groups = _group("test", "http-client", "ingress", "values")
    _install(session, PACKAGES, "--upgrade", "--override", str(overrides), *groups, lock=None)
    session.run("uv", "pip", "list", external=True)
    _pytest(session, "tests/contract")
    _each_pytest(session, WITH_CODE)
    _pytest(session, "-m", "minimums", "tests/integration")


@nox.session
def lock(session: nox.Session) -> None:
    """Write constraints.txt for what is declared; `nox -s lock -- --upgrade` takes the newest.

    Without arguments, versions that still fit stay as they are.
    """
    uv = _uv()
    if not uv:
        session.error("needs uv, which resolves for all Pythons at once")
    groups = nox.project.dependency_groups
    every = [each for name in PYPROJECT["dependency-groups"] for each in groups(PYPROJECT, name)]
    declared = Path(session.create_tmp()).resolve() / "declared.in"
    declared.write_text("\n".join([*_third_party(), *every]))
    # No index, no link and no path of the machine that writes it gets into the file.
    plain = ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    python = ["--universal", "--python-version", PYTHONS[0]]
    where = ["--output-file", LOCK, *session.posargs]
    LOCK.touch()
    session.run(uv, "pip", "compile", "--quiet", *python, *plain, *where, declared, external=True)
    title = "# Versions that tests and tools install; written by `nox -s lock`, not by hand.\n"
    LOCK.write_text(title + LOCK.read_text())


@nox.session
@nox.parametrize("installer", ["uv", "pip"], ids=["uv", "pip"])
def combinations(session: nox.Session, installer: str) -> None:
    """Install what a user may choose into clean environments, and use it there."""
    if installer == "uv" and not _uv():
        session.skip("uv is not installed")
    constraints = ["--constraint", _wheels(session) / "constraints.txt", "--constraint", LOCK]
    chosen = session.posargs or (WITH_PIP if installer == "pip" else list(COMBINATIONS))
    for name in chosen:
        clean = _clean_environment(session, name, installer)
        wanted = [_with_extra(each) for each in COMBINATIONS[name]]
        pip = ["uv", "pip"] if installer == "uv" else ["pip"]
        _in_environment(session, clean, *pip, "install", "--quiet", *constraints, *wanted)
        _use(session, clean, name, installer)


@nox.session
def clone(session: nox.Session) -> None:
    """Type each command by which the documentation installs from a clone.

    With pip the one that installs everything, which is then used; with uv, where it is, the others.
    """
    for command in _clone_commands():
        everything = command.endswith("./packages/*")
        if not everything and not _uv():
            continue
        installer = "pip" if everything else "uv"
        clean = _clean_environment(session, "clone", installer)
        typed = command if everything else f"uv {command}"
        _in_environment(session, clean, "bash", "-c", typed)
        if everything:
            _use(session, clean, "everything", installer)
            continue
        named = re.findall(r"\./packages/(\w+)", command)
        modules = [f"alacarte_{name}" for name in named if name != "core"]
        imports = "; ".join(f"import {module}" for module in ["alacarte.serve", *modules])
        _in_environment(session, clean, "python", "-c", imports)
        shutil.rmtree(clean)


def _clone_commands() -> list[str]:
    """Return the different commands of all pages that install from a clone."""
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/README.md")]
    command = re.compile(
        r"pip install \"?\./packages/(?:core|\*)[^\s`]*(?: \"?\./packages/[^\s`]+)*"
    )
    return sorted({each for page in pages for each in command.findall(page.read_text())})


def _clean_environment(session: nox.Session, name: str, installer: str) -> Path:
    clean = Path(session.create_tmp()).resolve() / name
    shutil.rmtree(clean, ignore_errors=True)
    if installer == "uv":
        session.run("uv", "venv", "--quiet", "-p", sys.executable, clean, external=True)
    else:
        # nox brings virtualenv, and that a pip; Debian's venv may come without.
        session.run(sys.executable, "-m", "virtualenv", "--quiet", clean, external=True)
    return clean


def _in_environment(session: nox.Session, clean: Path, *command: object, **variables: str) -> None:
    """Run a command as a user's shell does in whose environment it is."""
    uv = [str(Path(_uv() or "").parent)] if _uv() else []
    shell = {
        "PATH": os.pathsep.join([str(clean / "bin"), *uv, os.environ["PATH"]]),
        "VIRTUAL_ENV": str(clean),
        "PIP_CONSTRAINT": LOCK.as_uri(),
        "UV_CONSTRAINT": LOCK.as_uri(),
        **variables,
    }
    # By `env`: nox would put its own environment in front.
    words = ["-u", "UV_PYTHON", *(f"{name}={value}" for name, value in shell.items())]
    session.log(f"in {clean.name}: {' '.join(map(str, command))}")
    session.run("env", *words, *map(str, command), external=True, log=False)


def _use(session: nox.Session, clean: Path, name: str, installer: str) -> None:
    """Run the script for a choice of packages away from the sources, and remove the environment."""
    script = ROOT / "tests" / "combinations" / f"{name}.py"
    with session.chdir(clean):
        _in_environment(session, clean, "python", script, ALACARTE_INSTALLER=installer)
    shutil.rmtree(clean)  # each holds a Ray of its own


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, a warning is an error; run every example in it, on both clusters."""
    _install(session, PACKAGES, *_group("docs", "demo", "test", "http-client", "ingress"))
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")
    _pytest(session, "tests/docs")


@nox.session
def words(session: nox.Session) -> None:
    """Report how code and documentation are worded, beside packages that read well."""
    _add(session, "pluggy", "h11", "httpcore", "starlette")
    session.run("python", "tests/words.py")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure alacarte against its peers on this machine: `nox -s bench -- --help`."""
    session.run("python", "benchmarks/run.py", *session.posargs)


@nox.session
def compare(session: nox.Session) -> None:
    """Compare the speed of two checkouts: `nox -s compare -- main .`, `-- --help`."""
    session.run("python", "benchmarks/compare.py", *session.posargs)


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
