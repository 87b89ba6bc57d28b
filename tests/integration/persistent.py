"""An instance with secrets on a Ray whose control store keeps its tables in files.

python -m tests.integration.persistent DIRECTORY KEY CERTIFICATE

Reads the password from its input, since Ray stores command lines. Prints what the test asks for,
as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from starlette.requests import Request

from alacarte import serve
from alacarte.serve import RunTarget, _current
from alacarte.serve._session import Session
from alacarte.testing import wait_until

RAY = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80 * 1024**2}


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Model:
    """Answers with its process."""

    async def __call__(self, request: Request) -> str:
        return str(os.getpid())


@serve.deployment(num_replicas=4, ray_actor_options={"num_gpus": 1})
class Waiting:
    """Has no place, and takes what is too large to be sent in one message."""

    def __init__(self, data: bytes) -> None:
        self.data = data


def main(directory: Path, key: str, certificate: str, password: str) -> dict[str, Any]:
    """Run an instance there, replace its controller, and search all that Ray has written."""
    os.environ |= {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(directory / "db")}
    import ray  # which reads the environment

    ray.init("local", **RAY, _temp_dir=str(directory / "ray"))
    options = {"ssl_keyfile": key, "ssl_certfile": certificate, "ssl_keyfile_password": password}
    serve.start(http_options={"port": 0, **options})
    serve.run(Model.bind(), name="named-for-the-search", route_prefix="/")
    session = _current.current()
    assert session is not None
    secret = _secret(session)
    [proxy] = serve.status().proxies.values()
    before = _get(proxy.url, certificate)
    _kill_controller()
    wait_until(lambda: _secret(session) == secret, 30)
    # The new controller starts a proxy with the password, and a replica with the secret.
    serve.restart_services()
    serve.run(Model.options(max_ongoing_requests=9).bind(), name="second", route_prefix="/second")
    after = _get(proxy.url, certificate)
    second = _get(f"{proxy.url}second", certificate)
    # Ray keeps what replicas wait with in its memory, which has no room for all of it.
    waiting = [RunTarget(Waiting.bind(os.urandom(40 * 1024**2)), "waiting", None)]
    serve.run_many(waiting, wait_for_applications_running=False)
    wait_until(lambda: _spilled(directory), 60)
    time.sleep(1)  # for what Ray writes now and then
    found = {
        "before": before,
        "after": after,
        "second": second,
        "with_secret": _files_with(directory, secret),
        "with_secret_in_hex": _files_with(directory, secret.hex().encode()),
        "with_password": _files_with(directory, password.encode()),
        "with_name": _files_with(directory / "db", b"named-for-the-search"),
    }
    serve.shutdown()
    ray.shutdown()
    return found


def _spilled(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*spilled_objects*/*") if path.is_file()]


def _get(url: str, certificate: str) -> str:
    context = ssl.create_default_context(cafile=certificate)
    with urllib.request.urlopen(url, context=context, timeout=30) as answer:
        text: str = answer.read().decode()
    return text


def _secret(session: Session) -> bytes:
    info = session.wait(session.controller.join())
    assert info is not None
    return info.secret


def _kill_controller() -> None:
    import ray

    controller = ray.get_actor("alacarte:controller", namespace="alacarte")
    os.kill(ray.get(controller.__ray_call__.remote(lambda _: os.getpid())), signal.SIGKILL)


def _files_with(directory: Path, text: bytes) -> list[str]:
    """Return the files that hold a text; sockets and what has gone meanwhile hold none."""
    return sorted(
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_file() and not path.is_symlink() and text in path.read_bytes()
    )


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *sys.argv[2:], password=sys.stdin.read())))
