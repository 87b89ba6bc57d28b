"""Core and HTTP: requests arrive; calls between deployments ask for the package of handles."""

from checks import asks_for, done, free_port, get, installed, running, without_ray
from starlette.requests import Request

from alacarte import serve

installed("http")
port = free_port()
serve.start(cluster="local", http_options={"port": port})


@serve.deployment
class Greeter:
    async def __call__(self, request: Request) -> str:
        return f"hello {request.query_params['name']}"


serve.run(Greeter.bind(), route_prefix="/greet")
running()
assert get(f"http://127.0.0.1:{port}/greet?name=Ada") == "hello Ada"
with asks_for("alacarte-handles"):
    serve.get_app_handle("default")
serve.shutdown()
without_ray()
done()
