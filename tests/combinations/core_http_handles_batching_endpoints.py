"""Endpoints with HTTP, handles and batching: a split, sticky keys, batches, and a canary."""

import collections
import urllib.request

from checks import done, free_port, get, installed, running, without_ray
from starlette.requests import Request

from alacarte import serve

installed("batching", "endpoints", "handles", "http")
port = free_port()
client = serve.start(cluster="local", http_options={"port": port})


class Version:
    def __init__(self, version: str) -> None:
        self.version = version

    def __call__(self, request: Request) -> str:
        return self.version


@serve.accept_batch
def doubled(batch: list[Request]) -> list[int]:
    return [2 * int(request.query_params["n"]) for request in batch]


for version in ("old", "new"):
    client.create_backend(version, Version, version)
client.create_endpoint("version", backend="old", route="/version")
assert get(f"http://127.0.0.1:{port}/version") == "old"
client.set_traffic("version", {"old": 0.5, "new": 0.5})
found = collections.Counter(get(f"http://127.0.0.1:{port}/version") for _ in range(200))
assert 50 < found["old"] < 150, found
handle = client.get_handle("version")
assert {handle.remote().result(timeout_s=10) for _ in range(50)} == {"old", "new"}
keyed = urllib.request.Request(
    f"http://127.0.0.1:{port}/version", headers={"X-SERVE-SHARD-KEY": "Ada"}
)
assert len({urllib.request.urlopen(keyed, timeout=10).read() for _ in range(20)}) == 1

client.create_backend("doubled", doubled, config={"max_batch_size": 4})
client.create_endpoint("doubled", backend="doubled", route="/doubled")
assert get(f"http://127.0.0.1:{port}/doubled?n=4") == "8"

deployed = serve.deployment(Version)
serve.run(deployed.bind("1.0"), name="stable", route_prefix="/app")
serve.run(deployed.bind("1.1"), name="canary", route_prefix=None)
running("stable")
serve.set_traffic("/app", {"canary": 1.0})
assert get(f"http://127.0.0.1:{port}/app/some") == "1.1"
serve.delete_traffic("/app")
assert get(f"http://127.0.0.1:{port}/app/some") == "1.0"
client.shutdown()
without_ray()
done()
