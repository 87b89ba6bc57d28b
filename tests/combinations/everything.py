"""The whole set through `alacarte-serve`: from a shell, over HTTP, batched, composed."""

from checks import done, free_port, get, installed, programs, running, without_ray
from serving import as_typed, serve_run
from starlette.requests import Request

from alacarte import serve
from alacarte.serve.handle import DeploymentHandle

installed("autoscaling", "batching", "cli", "endpoints", "handles", "http", "multiplexing")
programs()
serve_run("serve", free_port())
as_typed("docs/how-to/command-line.md")

port = free_port()
serve.start(cluster="local", http_options={"port": port})


@serve.deployment(num_replicas=2)
class Model:
    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.01)
    async def predict(self, numbers: list[int]) -> list[int]:
        return [2 * number for number in numbers]


@serve.deployment
class Ingress:
    def __init__(self, model: DeploymentHandle) -> None:
        self.model = model

    async def __call__(self, request: Request) -> list[int]:
        asked = [self.model.predict.remote(int(n)) for n in request.query_params.getlist("n")]
        return [await response for response in asked]


serve.run(Ingress.bind(Model.bind()))
running()
assert get(f"http://127.0.0.1:{port}/?n=1&n=2&n=3") == "[2,4,6]"
serve.shutdown()
without_ray()
done()
