"""Core alone deploys; a handle, a route, a batch or a backend is asked of the package it needs."""

import sys

from checks import asks_for, done, installed, running, shell, without_ray

from alacarte import serve

installed()
assert "pip install alacarte-cli" in shell(sys.executable, "-m", "alacarte", expect=1)
client = serve.start(cluster="local")


@serve.deployment(num_replicas=2)
class Greeter:
    def __call__(self) -> str:
        return "hello"


serve.run(Greeter.bind(), name="alone")
running("alone")
with asks_for("alacarte-handles"):
    serve.get_app_handle("alone")
with asks_for("alacarte-handles"):
    from alacarte.serve.handle import DeploymentHandle

    assert DeploymentHandle
with asks_for("alacarte-http"):
    serve.run(Greeter.bind(), name="routed", route_prefix="/routed")
with asks_for("alacarte-batching"):
    serve.batch(lambda items: items)
with asks_for("alacarte-multiplexing"):
    serve.multiplexed(lambda model_id: model_id)
with asks_for("alacarte-autoscaling"):
    serve.run(Greeter.options(num_replicas="auto").bind(), name="scaled")
with asks_for("alacarte-endpoints"):
    client.create_backend("backend", lambda request: "hello")
with asks_for("alacarte-endpoints"):
    serve.set_traffic("/", {"alone": 1.0})
running("alone")
serve.delete("alone")
assert "alone" not in serve.status().applications
serve.shutdown()
without_ray()
done()
