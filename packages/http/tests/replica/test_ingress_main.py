"""Applications of `__main__`, in a program or notebook: pickled by value, same version."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
from __future__ import annotations

import sys
import threading
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from pydantic import BaseModel, Field

from alacarte import serve
from alacarte._model.pickling import dump
from alacarte._model.version import deployment_version

app = FastAPI(title="notebook")
router = APIRouter(prefix="/router")


class Colour(BaseModel):
    name: str = Field(min_length=2)


class Item(BaseModel):
    colours: list[Colour] = []
    price: float = 1.0


class Unheard(Exception):
    pass


@app.exception_handler(Unheard)
async def unheard(request: Request, error: Unheard) -> Any:
    raise error


@app.middleware("http")
async def stamped(request: Request, call_next: Any) -> Any:
    response = await call_next(request)
    response.headers["x-title"] = app.title
    return response


def limit(request: Request, n: int = 3) -> str:
    return f"{request.url.path} {n}"


@app.get("/function")
def function(limited: Annotated[str, Depends(limit)]) -> str:
    return limited


app.include_router(router)
app.state.known = {"b", "a", "c"}


@serve.deployment
@serve.ingress(app)
class Model:
    def __init__(self, name: str) -> None:
        self.name = name

    def common(self, request: Request) -> str:
        return f"{self.name} {request.method}"

    @app.post("/items", response_model=Item)
    def make(self, item: Item, common: Annotated[str, Depends(common)], request: Request) -> Any:
        return {"price": len(common), "colours": item.colours, "known": request.app.state.known}

    @router.get("/colour")
    async def colour(self) -> Colour:
        return Colour(name=self.name)


application = Model.bind("ada")
"""
END = """
open(sys.argv[1], "wb").write(dump(application.deployment.func_or_class, lambda app: 0))
"""
LOAD = """
import asyncio, sys
import httpx
from alacarte._model.pickling import load_code

model = load_code(open(sys.argv[1], "rb").read(), lambda deployment: None)
app = model.__alacarte_ingress__.build(model("ada"))

async def ask():
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        first = await client.get("/function?n=4")
        print(first.text, first.headers["x-title"])
        made = await client.post("/items", json={"colours": [{"name": "red"}]})
        print(made.text)
        wrong = await client.post("/items", json={"colours": [{"name": "r"}]})
        print(wrong.status_code)
        print((await client.get("/router/colour")).text)
        print(sorted((await client.get("/openapi.json")).json()["paths"]))

asyncio.run(ask())
"""


def run(tmp_path: Path, program: str, seed: int) -> str:
    path = tmp_path / f"program{seed}.py"
    path.write_text(program)
    done = subprocess.run(
        [sys.executable, str(path), str(tmp_path / "pickle")],
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_application_of_main(tmp_path):
    """An application of `__main__` is served with its routes, models and handlers."""
    run(tmp_path, PROGRAM + END, 1)
    shown = run(tmp_path, LOAD, 2).splitlines()
    assert shown == [
        '"/function 4" notebook',
        '{"colours":[{"name":"red"}],"price":8.0}',
        "422",
        '{"name":"ada"}',
        "['/function', '/items', '/router/colour']",
    ]


VARIANTS = """
import sys
from pathlib import Path

program = Path(sys.argv[1]).read_text()
for change in CHANGES:
    assert change[0] in program, change
    print(version(program.replace(*change)))
"""
CHANGES = [
    ("return limited", "return limited"),
    ("\nclass Item", "\n\n\nclass Item"),
    ("return limited", "return limited + '!'"),
    ('"/function"', '"/other"'),
    ("n: int = 3", "n: int = 4"),
    ("response_model=Item", "response_model=Item, status_code=201"),
    ("min_length=2", "min_length=3"),
    ("price: float", "price: int"),
]


def test_its_version(tmp_path):
    """The same program has one version in every process, wherever its lines stand.

    Code, paths, defaults and options of routes, and the models of the program change it.
    """
    (tmp_path / "pickle").write_text(PROGRAM)
    program = f"""
def version(program):
    names = {{"__name__": "__main__"}}
    exec(program, names)
    deploy = names["deployment_version"]
    return deploy(names["application"].deployment, lambda app: 0)

CHANGES = {CHANGES!r}
"""
    first, second = (run(tmp_path, program + VARIANTS, seed).split() for seed in (1, 2))
    assert first == second
    assert first[0] == first[1]
    assert len(set(first[1:])) == len(CHANGES) - 1
