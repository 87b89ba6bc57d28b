"""An ingress that awaits a second deployment for each request."""

from __future__ import annotations

from program import serve, serve_until_told


@serve.deployment(max_ongoing_requests=100)
class Greeter:
    async def greet(self, name):
        return f"hello {name}"


@serve.deployment(max_ongoing_requests=100)
class Ingress:
    def __init__(self, greeter):
        self.greeter = greeter

    async def __call__(self, request):
        return await self.greeter.greet.remote("you")


if __name__ == "__main__":
    serve_until_told(Ingress.bind(Greeter.bind()))
