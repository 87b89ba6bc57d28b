"""HTTP with its extra `fastapi`: routes that are methods of a class."""

from checks import done, free_port, get, running, without_ray
from fastapi import FastAPI

from alacarte import serve

port = free_port()
serve.start(cluster="local", http_options={"port": port})
app = FastAPI()


@serve.deployment
@serve.ingress(app)
class Greeter:
    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    @app.get("/hello/{name}")
    def hello(self, name: str) -> str:
        return f"{self.greeting} {name}"


serve.run(Greeter.bind("hello"), route_prefix="/greet")
running()
assert get(f"http://127.0.0.1:{port}/greet/hello/Ada") == '"hello Ada"'
serve.shutdown()
without_ray()
done()
