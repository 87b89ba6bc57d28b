"""The smallest application that is worth running.

python examples/quickstart/main.py
alacarte run main:app -d examples/quickstart
"""

from __future__ import annotations

import urllib.request

from starlette.requests import Request

from alacarte import serve


@serve.deployment(num_replicas=2)
class Greeter:
    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    async def __call__(self, request: Request) -> str:
        return self.greet(request.query_params.get("name", "you"))

    def greet(self, name: str) -> str:
        return f"{self.greeting}, {name}!"


app = Greeter.bind("Hello")

if __name__ == "__main__":
    handle = serve.run(app)
    [proxy] = serve.status().proxies.values()
    print("through its handle:", handle.greet.remote("Ada").result())
    with urllib.request.urlopen(f"{proxy.url}?name=Grace") as response:
        print("over HTTP:", response.read().decode())
    serve.shutdown()
