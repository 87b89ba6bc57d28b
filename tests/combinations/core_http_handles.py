"""Core, HTTP and handles: an ingress that calls another deployment."""

from checks import done, free_port, get, installed, running, without_ray
from starlette.requests import Request

from alacarte import serve
from alacarte.serve.handle import DeploymentHandle

installed("handles", "http")
port = free_port()
serve.start(cluster="local", http_options={"port": port})


@serve.deployment
class Doubler:
    def __call__(self, number: int) -> int:
        return 2 * number


@serve.deployment
class Ingress:
    def __init__(self, doubler: DeploymentHandle) -> None:
        self.doubler = doubler

    async def __call__(self, request: Request) -> dict[str, int]:
        number = int(request.query_params["number"])
        return {"doubled": await self.doubler.remote(number)}


serve.run(Ingress.bind(Doubler.bind()))
running()
assert get(f"http://127.0.0.1:{port}/?number=21") == '{"doubled":42}'
assert serve.get_deployment_handle("Doubler", "default").remote(4).result(timeout_s=10) == 8
serve.shutdown()
without_ray()
done()
