"""The files under examples/production are right as far as this machine can tell.

Images are not built and manifests are not applied: the tests need no Docker daemon and no cluster.
What Docker and systemd would run is run as it stands.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.docs.pages import ROOT
from tests.docs.test_examples import free_port, ray_address

from alacarte.testing import wait_until

__all__ = ["ray_address"]  # the fixture

FILES = ROOT / "examples" / "production"
PROGRAMS = str(Path(sys.executable).parent)
KUBECTL = shutil.which("kubectl")
START_S = 60.0


def dockerfile() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile with their arguments."""
    text = (FILES / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def unit() -> dict[str, str]:
    """Return the options of the systemd unit."""
    lines = (FILES / "greeter.service").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))


def manifests(name: str) -> list[Any]:
    return list(yaml.safe_load_all((FILES / name).read_text("utf-8")))


@contextmanager
def served(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Run a command that serves the application; end it as `docker stop` and systemd do."""
    port = environment["ALACARTE_HTTP__PORT"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    # HTTP answers with the first replica. The command is ready when all run; a signal before that
    # ends the command with 128 + signal.
    ready = "is running at"
    try:
        wait_until(
            lambda: process.poll() is not None or ready in (folder / "log").read_text(),
            START_S,
            ready,
        )
        yield f"http://127.0.0.1:{port}/"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (folder / "log").read_text()
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with the application."""
    shutil.copy(FILES / "app.py", tmp_path)
    return tmp_path


@pytest.fixture
def environment(ray_address: str) -> dict[str, str]:
    """Variables of the tests' Ray and of a free port, in the place of port 8000."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ALACARTE_")}
    return own | {
        "RAY_ADDRESS": ray_address,
        "ALACARTE_HTTP__PORT": str(free_port()),
        "PATH": os.pathsep.join([PROGRAMS, os.environ["PATH"]]),
    }


def test_dockerfile_copies_what_exists():
    """Each source of a COPY is in the repository, from which the image is built."""
    sources = [rest.split()[0] for word, rest in dockerfile() if word == "COPY"]
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    known = {"FROM", "RUN", "COPY", "USER", "WORKDIR", "ENV", "EXPOSE", "HEALTHCHECK", "CMD"}
    assert {word for word, _ in dockerfile()} <= known


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_docker_command_serves(folder: Path, environment: dict[str, str]):
    """The image's command serves, its health check succeeds, and SIGTERM ends it with 0."""
    instructions = dockerfile()
    command = json.loads(next(rest for word, rest in instructions if word == "CMD"))
    check = json.loads(re.sub(r".*\bCMD ", "", dict(instructions)["HEALTHCHECK"]))
    variables = [rest.split("=", 1) for word, rest in instructions if word == "ENV"]
    port = environment["ALACARTE_HTTP__PORT"]
    with served(command, folder, environment | dict(variables)):
        check = [word.replace(":8000/", f":{port}/") for word in check]
        assert "8000" not in check[-1]
        done = subprocess.run(check, env=environment, capture_output=True, check=False, timeout=30)
        assert done.returncode == 0, done.stderr
    assert '"status":200' in (folder / "log").read_text().replace(" ", "")


def test_unit_is_valid(tmp_path: Path):
    """systemd finds nothing to complain about."""
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not installed")
    text = (FILES / "greeter.service").read_text("utf-8")
    copy = tmp_path / "greeter.service"
    copy.write_text(text.replace("/srv/greeter/venv/bin/alacarte", "/bin/true"))
    done = subprocess.run(
        [verify, "verify", copy], capture_output=True, text=True, check=False, timeout=60
    )
    complaints = [line for line in done.stderr.splitlines() if "greeter.service" in line]
    assert complaints == []


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_reload_of_the_unit_loses_no_request(folder: Path, environment: dict[str, str]):
    """`systemctl reload` deploys changed code while every request is answered."""
    home = "/srv/greeter/venv/bin"
    start, reload = (
        unit()[name].replace(home, PROGRAMS).split() for name in ("ExecStart", "ExecReload")
    )
    with served(start, folder, environment) as url:
        found: list[str] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                with urllib.request.urlopen(url, timeout=30) as response:
                    found.append(json.load(response)["greeting"])

        client = threading.Thread(target=ask)
        client.start()
        wait_until(lambda: found)
        app = folder / "app.py"
        app.write_text(app.read_text("utf-8").replace('bind("Hello")', 'bind("Welcome")'))
        done = subprocess.run(
            reload,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        count = len(found)
        wait_until(lambda: not client.is_alive() or len(found) > count + 5)
        assert client.is_alive(), "a request failed"
        stop.set()
        client.join()
    assert found[0] == "Hello, you!"
    assert found[-1] == "Welcome, you!"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("Deployment", ["set", "image", "greeter=greeter:latest"]),
        ("Service", ["set", "selector", "app=greeter"]),
    ],
)
def test_kubernetes_knows_each_field(kind: str, change: list[str], tmp_path: Path):
    """Nothing of a manifest is lost when kubectl reads it with Kubernetes' own types."""
    if KUBECTL is None:
        pytest.skip("kubectl is not installed")
    [manifest] = [each for each in manifests("kubernetes.yaml") if each["kind"] == kind]
    path = tmp_path / "manifest.json"
    # kubectl prints changes only, so it is given another image than the one it sets.
    path.write_text(json.dumps(manifest).replace("greeter:latest", "greeter:before"))
    command = [KUBECTL, *change[:2], "--local", "-f", path, *change[2:], "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert lost(manifest, json.loads(done.stdout)) == []


def lost(given: Any, read: Any, path: str = "") -> list[str]:
    """Return the paths of values that are not in what kubectl has read."""
    if isinstance(given, dict):
        if not isinstance(read, dict):
            return [path]
        return [
            each for name in given for each in lost(given[name], read.get(name), f"{path}.{name}")
        ]
    if isinstance(given, list):
        if not isinstance(read, list) or len(read) != len(given):
            return [path]
        pairs = zip(given, read, strict=True)
        return [each for n, pair in enumerate(pairs) for each in lost(*pair, f"{path}[{n}]")]
    return [] if given == read else [path]


@pytest.mark.parametrize("name", ["kubernetes.yaml", "raycluster.yaml"])
def test_manifests_agree_with_the_application(name: str):
    """Selectors, ports and times fit each other, and the application."""
    documents = manifests(name)
    [service] = [each for each in documents if each["kind"] == "Service"]
    assert service["spec"]["ports"][0]["targetPort"] == "http"
    if name == "kubernetes.yaml":
        [deployment] = [each for each in documents if each["kind"] == "Deployment"]
        [budget] = [each for each in documents if each["kind"] == "PodDisruptionBudget"]
        pod = deployment["spec"]["template"]
        labels = pod["metadata"]["labels"]
        assert service["spec"]["selector"] == labels
        assert deployment["spec"]["selector"]["matchLabels"] == labels
        assert budget["spec"]["selector"]["matchLabels"] == labels
        program = (FILES / "app.py").read_text("utf-8")
        drain = re.search(r"graceful_shutdown_timeout_s=(\d+)", program)
        assert drain is not None
        assert pod["spec"]["terminationGracePeriodSeconds"] >= int(drain[1]) + 15
    else:
        [cluster] = [each for each in documents if each["kind"] == "RayCluster"]
        [group] = cluster["spec"]["workerGroupSpecs"]
        pod = group["template"]
        assert service["spec"]["selector"]["ray.io/cluster"] == cluster["metadata"]["name"]
    [container] = pod["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": 8000}]
    assert container["image"] == "greeter:latest"
