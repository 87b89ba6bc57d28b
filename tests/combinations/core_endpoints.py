"""Core and endpoints: backends run and are updated; what else it takes is asked for by name."""

from checks import asks_for, done, installed, running, without_ray

from alacarte import serve

installed("endpoints")
client = serve.start(cluster="local")


class Greeter:
    def __call__(self, request: object) -> str:
        return "hello"


client.create_backend("greeter", Greeter)
running("greeter")
client.update_backend_config("greeter", {"num_replicas": 2})
assert client.list_backends() == {
    "greeter": {"accepts_batches": False, "num_replicas": 2, "max_batch_size": None}
}
client.create_endpoint("greet", backend="greeter")
assert client.list_endpoints() == {
    "greet": {"route": None, "methods": ["GET"], "traffic": {}},
}
with asks_for("alacarte-handles"):
    client.get_handle("greet")
with asks_for("alacarte-http"):
    client.create_endpoint("greet-web", backend="greeter", route="/greet")
with asks_for("alacarte-batching"):
    client.create_backend("batches", serve.accept_batch(lambda batch: batch))
assert list(client.list_backends()) == ["greeter"]
client.delete_endpoint("greet")
client.delete_backend("greeter")
client.shutdown()
without_ray()
done()
