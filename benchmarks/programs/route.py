"""A FastAPI route with a path parameter, behind `@serve.ingress`."""

from __future__ import annotations

from fastapi import FastAPI
from program import serve, serve_until_told

app = FastAPI()


@serve.deployment(max_ongoing_requests=100)
@serve.ingress(app)
class Items:
    @app.get("/items/{item_id}")
    async def item(self, item_id: int):
        return {"item_id": item_id, "name": "lamp"}


if __name__ == "__main__":
    serve_until_told(Items.bind())
