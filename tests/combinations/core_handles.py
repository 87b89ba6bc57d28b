"""Core and handles: deployments are called and composed; a route asks for the package of HTTP."""

from checks import asks_for, done, installed, running, without_ray

from alacarte import serve
from alacarte.serve.handle import DeploymentHandle

installed("handles")
serve.start(cluster="local")


@serve.deployment
class Doubler:
    def __call__(self, number: int) -> int:
        return 2 * number


@serve.deployment
class Driver:
    def __init__(self, doubler: DeploymentHandle) -> None:
        self.doubler = doubler

    async def __call__(self, number: int) -> int:
        return await self.doubler.remote(number) + 1


handle = serve.run(Driver.bind(Doubler.bind()))
running()
assert handle.remote(20).result(timeout_s=10) == 41
assert serve.get_app_handle("default").remote(1).result(timeout_s=10) == 3
with asks_for("alacarte-http"):
    serve.run(Doubler.bind(), name="routed", route_prefix="/routed")
with asks_for("alacarte-batching"):
    serve.batch(lambda items: items)
serve.shutdown()
without_ray()
done()
