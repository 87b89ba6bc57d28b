"""How calls with one item each become one call with lists. Pure."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

__all__ = ["Arguments", "Parameters"]


class Arguments(Protocol):
    """What one call passes, as `Parameters.normalise` returned it."""

    @property
    def args(self) -> tuple[Any, ...]:
        """Positional arguments, the instance first if it is a method's call."""

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """Those that cannot be positional."""


class Parameters:
    """The parameters of a batched function.

    A function whose first parameter is called `self` or `cls` is a method: what is passed for
    it is no item, and calls on different instances do not share batches. At decoration there is
    nothing else to tell a method by.

    Raises:
        TypeError: The function has no parameter to take items.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = function.__qualname__
        self._signature = inspect.signature(function)
        parameters = list(self._signature.parameters.values())
        self.is_method = bool(parameters) and parameters[0].name in ("self", "cls")
        if len(parameters) <= self.is_method:
            raise TypeError(
                f"@serve.batch: {self._name} takes no items; give it a parameter for the list."
            )
        self._range = _positional_range(parameters, at_least=1 + self.is_method)

    def normalise(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with those given by keyword in their position, if they have one.

        So `f(1, 2)` and `f(1, y=2)` pass the same parameters, and may share a batch.

        Raises:
            TypeError: They do not fit the function.
        """
        fewest, most = self._range
        if not kwargs and fewest <= len(args) <= most:
            return args, kwargs
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self._name}: {error}") from None
        if len(bound.args) + len(bound.kwargs) <= self.is_method:
            raise TypeError(f"{self._name}: called without an item.")
        return bound.args, bound.kwargs

    def first(self, call: Arguments) -> Any:
        """Return the first argument of a call that is an item."""
        items = call.args[self.is_method :]
        return items[0] if items else next(iter(call.kwargs.values()))

    def alike(self, call: Arguments, other: Arguments) -> bool:
        """Whether two calls pass the same parameters."""
        return len(call.args) == len(other.args) and call.kwargs.keys() == other.kwargs.keys()

    def columns(self, calls: Sequence[Arguments]) -> tuple[list[Any], dict[str, list[Any]]]:
        """Return the arguments of one call for many that are alike: a list for each."""
        first = calls[0]
        args: list[Any] = [list(column) for column in zip(*(c.args for c in calls), strict=True)]
        if self.is_method:
            args[0] = first.args[0]
        return args, {name: [c.kwargs[name] for c in calls] for name in first.kwargs}

    def mismatch(self, call: Arguments, batch: Arguments) -> TypeError:
        """Return the error for a call that is not like those it shares a batch with."""
        return TypeError(
            f"{self._name}: this call passes {self._describe(call)} and came into a batch of calls "
            f"that pass {self._describe(batch)}; pass the same parameters in every call."
        )

    def _describe(self, call: Arguments) -> str:
        passed = self._signature.bind(*call.args, **call.kwargs).arguments
        words = []
        for name, value in list(passed.items())[self.is_method :]:
            kind = self._signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                words.append(f"{len(value)} of *{name}")
            elif kind is inspect.Parameter.VAR_KEYWORD:
                words.extend(value)
            else:
                words.append(name)
        return f"({', '.join(words)})"


def _positional_range(
    parameters: Sequence[inspect.Parameter], at_least: int
) -> tuple[float, float]:
    """Return how many positional arguments alone make a valid call, fewest and most."""
    if any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
        return math.inf, -math.inf
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is p.empty for p in positional)
    variable = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return max(required, at_least), math.inf if variable else len(positional)
