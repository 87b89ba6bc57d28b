"""An application with routes of every kind, for a tester that makes up requests from its schema."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Depends, FastAPI, File, Header, HTTPException, Path, Query, Response, UploadFile
from pydantic import BaseModel, ConfigDict, Field

from alacarte import serve

__all__: list[str] = []


class Problem(BaseModel):
    """What an error says."""

    detail: str


class Item(BaseModel):
    """What is stored."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=50)
    price: float = Field(ge=0, le=1e6, allow_inf_nan=False, strict=True)
    colour: Literal["red", "green"] | None = None
    tags: list[Annotated[str, Field(max_length=20)]] = Field(default=[], max_length=5)


class Stored(Item):
    """An item with its number."""

    number: int


class Received(BaseModel):
    """What was uploaded."""

    size: int


app = FastAPI(title="Items")
Number = Annotated[int, Path(ge=0, le=10**6)]
MISSING = {404: {"model": Problem, "description": "There is no such item."}}
NO_BODY = {400: {"model": Problem, "description": "The body is none at all."}}


def page(
    first: Annotated[int, Query(ge=0, le=10**6)] = 0,
    count: Annotated[int, Query(ge=1, le=100)] = 10,
) -> slice:
    """Return which part of a list is asked for."""
    return slice(first, first + count)


@serve.deployment(max_ongoing_requests=50)
@serve.ingress(app)
class Items:
    """Keeps items in memory."""

    def __init__(self) -> None:
        self.items: dict[int, Stored] = {}
        self.next = 0

    @app.get("/items")
    async def all(self, part: Annotated[slice, Depends(page)]) -> list[Stored]:
        return list(self.items.values())[part]

    @app.post("/items", status_code=201, responses=NO_BODY)
    async def add(self, item: Item) -> Stored:
        if len(self.items) >= 1000:
            self.items.clear()
        self.next += 1
        self.items[self.next] = Stored(number=self.next, **item.model_dump())
        return self.items[self.next]

    @app.get("/items/{number}", responses=MISSING)
    def one(self, number: Number) -> Stored:
        if number not in self.items:
            raise HTTPException(404, "there is no such item")
        return self.items[number]

    @app.put("/items/{number}", responses={**MISSING, **NO_BODY})
    async def change(self, number: Number, item: Item) -> Stored:
        self.items[self.one(number).number] = Stored(number=number, **item.model_dump())
        return self.items[number]

    @app.delete("/items/{number}", status_code=204, responses=MISSING)
    async def remove(self, number: Number) -> Response:
        del self.items[self.one(number).number]
        return Response(status_code=204)

    @app.post("/files", responses=NO_BODY)
    async def upload(self, file: Annotated[UploadFile, File()]) -> Received:
        return Received(size=len(await file.read()))

    @app.get("/echo")
    async def echo(
        self,
        text: Annotated[str, Query(max_length=100)],
        x_mark: Annotated[str | None, Header(max_length=20)] = None,
    ) -> dict[str, str | None]:
        return {"text": text, "mark": x_mark}
