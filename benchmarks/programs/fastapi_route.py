"""Bare FastAPI with the route of `route.py`."""

from __future__ import annotations

from typing import Any

import bare
from fastapi import FastAPI

app = FastAPI()


@app.get("/items/{item_id}")
async def item(item_id: int) -> Any:
    return {"item_id": item_id, "name": "lamp"}


if __name__ == "__main__":
    bare.run(app)
