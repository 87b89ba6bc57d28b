"""Core, HTTP, handles and multiplexing: a model is loaded once, and found again by every way."""

import urllib.request

from checks import done, free_port, installed, running, without_ray
from starlette.requests import Request

from alacarte import serve

installed("handles", "http", "multiplexing")
port = free_port()
serve.start(cluster="local", http_options={"port": port})
loaded = []


@serve.deployment(num_replicas=2)
class Models:
    @serve.multiplexed(max_num_models_per_replica=1)
    async def load(self, model_id: str) -> str:
        loaded.append(model_id)
        return model_id.upper()

    async def __call__(self, request: Request) -> str:
        return await self.ask()

    async def ask(self) -> str:
        return await self.load(serve.get_multiplexed_model_id())


handle = serve.run(Models.bind())
running()
for model in ("a", "b", "a", "b"):
    asked = handle.options(multiplexed_model_id=model).ask.remote()
    assert asked.result(timeout_s=10) == model.upper()
    url = f"http://127.0.0.1:{port}/"
    request = urllib.request.Request(url, headers={"serve_multiplexed_model_id": model})
    assert urllib.request.urlopen(request, timeout=10).read().decode() == model.upper()
serve.shutdown()
without_ray()
done()
