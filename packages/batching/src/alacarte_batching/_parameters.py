"""Parameters of a batched function: combine the arguments of calls into lists. Pure."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

__all__ = ["Arguments", "Parameters"]


class Arguments(Protocol):
    """The arguments of one call, normalised by `Parameters.normalise`."""

    @property
    def args(self) -> tuple[object, ...]:
        """The positional arguments; for a method the instance comes first."""

    @property
    def kwargs(self) -> Mapping[str, object]:
        """The arguments that can only be passed by keyword."""


class Parameters:
    """The parameters of a batched function.

    A function whose first parameter is named `self` or `cls` counts as a method: that argument is
    no item, and calls on different instances do not share batches. At decoration, the name is the
    only sign of a method.

    Raises:
        TypeError: The function has no parameter for items.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        self._name = function.__qualname__
        self._signature = inspect.signature(function)
        parameters = list(self._signature.parameters.values())
        self.is_method = bool(parameters) and parameters[0].name in ("self", "cls")
        if len(parameters) <= self.is_method:
            raise TypeError(
                f"@serve.batch: {self._name} takes no items; add a parameter for the list of items."
            )
        self._range = _positional_range(parameters, at_least=1 + self.is_method)

    def normalise(
        self, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        """Return the arguments, with keyword arguments moved to their position if possible.

        So `f(1, 2)` and `f(1, y=2)` pass the same parameters, and may share a batch.

        Raises:
            TypeError: The arguments do not match the function's signature.
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

    def first(self, call: Arguments) -> object:
        """Return the first item among the arguments of a call."""
        items = call.args[self.is_method :]
        return items[0] if items else next(iter(call.kwargs.values()))

    def have_same_parameters(self, call: Arguments, other: Arguments) -> bool:
        """Return whether two calls pass the same parameters."""
        return len(call.args) == len(other.args) and call.kwargs.keys() == other.kwargs.keys()

    def columns(self, calls: Sequence[Arguments]) -> tuple[list[object], dict[str, list[object]]]:
        """Return the arguments of the batched call: one list per parameter."""
        first = calls[0]
        args: list[object] = [list(column) for column in zip(*(c.args for c in calls), strict=True)]
        if self.is_method:
            args[0] = first.args[0]
        return args, {name: [c.kwargs[name] for c in calls] for name in first.kwargs}

    def mismatch(self, call: Arguments, batch: Arguments) -> TypeError:
        """Return the error for a call whose parameters differ from those of its batch."""
        return TypeError(
            f"{self._name}: this call passes {self._describe(call)}, but the other calls in its "
            f"batch pass {self._describe(batch)}; pass the same parameters in every call."
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
    """Return the fewest and the most positional arguments of a call without keyword arguments."""
    if any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
        return math.inf, -math.inf
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is p.empty for p in positional)
    variable = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return max(required, at_least), math.inf if variable else len(positional)
