"""An ingress that answers a short text."""

from __future__ import annotations

from program import serve, serve_until_told


@serve.deployment(max_ongoing_requests=100)
class Hello:
    async def __call__(self, request):
        return "hello"


if __name__ == "__main__":
    serve_until_told(Hello.bind())
