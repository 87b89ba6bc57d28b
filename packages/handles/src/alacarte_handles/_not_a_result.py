"""Operators and attributes of a response, which raise because a response is not its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

__all__ = ["NotAResult"]

_BINARY = [
    "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow", "lshift",
    "rshift", "and", "or", "xor",
]  # fmt: skip
_OPERATORS = [
    *_BINARY, *(f"r{name}" for name in _BINARY), "lt", "le", "gt", "ge", "neg", "pos", "abs",
    "invert", "int", "float", "complex", "index", "round", "len", "iter", "reversed", "getitem",
    "setitem", "delitem", "contains",
]  # fmt: skip


class NotAResult:
    """Refuses the operators and attributes of values, and names the remedy."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True  # `response or default` does not need the result

    def __getattr__(self, name: str) -> object:
        raise AttributeError(f"{_remedy(self)} A response has no attribute {name!r}.")


def _remedy(response: NotAResult) -> str:
    name = type(response).__name__
    return (
        f"this is a {name}, not its result: did you forget `await`? (Call its result() where no "
        "event loop runs.)"
    )


def _refusing() -> Callable[..., NoReturn]:
    def refuse(self: NotAResult, *args: object) -> NoReturn:
        raise TypeError(_remedy(self))

    return refuse


for _name in _OPERATORS:
    setattr(NotAResult, f"__{_name}__", _refusing())
