"""What a response says when it is used as if it were its result: that it has to be awaited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

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
    """Refuses what values are used for, with the remedy."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True  # `response or default` asks for no result

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{_remedy(self)} It has no attribute {name!r}.")


def _remedy(response: Any) -> str:
    name = type(response).__name__
    return (
        f"this is a {name}, not its result yet: did you forget `await`? (Where no event loop "
        "runs, call its result().)"
    )


def _refusing() -> Callable[..., NoReturn]:
    def refuse(self: Any, *args: Any) -> NoReturn:
        raise TypeError(_remedy(self))

    return refuse


for _name in _OPERATORS:
    setattr(NotAResult, f"__{_name}__", _refusing())
