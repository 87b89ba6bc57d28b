"""`@serve.multiplexed`, as users write it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Protocol, TypeVar, cast, overload

from alacarte.context import current_call

from ._model_cache import Loader, current_cache
from ._model_id import checked

__all__ = ["Multiplexed", "get_multiplexed_model_id", "multiplexed"]

ModelT = TypeVar("ModelT")
ModelT_co = TypeVar("ModelT_co", covariant=True)


class Multiplexed(Protocol[ModelT_co]):
    """A multiplexed loader, as its callers see it: a model's id in, the model out."""

    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, ModelT_co]:
        """Pass the id of a model; await the model."""

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Multiplexed[ModelT_co]:
        """Return the method of an instance."""


class Decorator(Protocol):
    """What `multiplexed` with options returns."""

    def __call__(
        self, function: Callable[..., Coroutine[Any, Any, ModelT]], /
    ) -> Multiplexed[ModelT]:
        """Decorate a loader."""


@overload
def multiplexed(func: Callable[..., Coroutine[Any, Any, ModelT]], /) -> Multiplexed[ModelT]: ...
@overload
def multiplexed(func: None = None, /, *, max_num_models_per_replica: int = 3) -> Decorator: ...


def multiplexed(
    func: Callable[..., Any] | None = None, /, *, max_num_models_per_replica: int = 3
) -> Any:
    """Load a model when it is first asked for, and keep the models asked for last.

    The loader is an `async def` function or method with one parameter, the model's id. Whoever
    asks for a model that is held gets it at once; whoever asks while it is being loaded waits for
    that load. Loads run one after the other.

    ```python
    @serve.deployment(num_replicas=2)
    class Translator:
        @serve.multiplexed(max_num_models_per_replica=3)
        async def load(self, language: str) -> Model:
            return await fetch(language)

        async def __call__(self, text: str) -> str:
            model = await self.load(serve.get_multiplexed_model_id())
            return model.translate(text)
    ```

    When as many models are held as may be, one is unloaded before the next is loaded: the one
    asked for longest ago of those that no request uses. A request uses a model until the task
    that asked for it ends. If requests use them all, the load waits for one of them to end, at
    most ten seconds; after that it goes on, and the model that is to go is unloaded when its
    requests have ended. A model's `__del__`, where it has one, is run when it is unloaded, on the
    event loop if it is `async def` and in a thread if not. A replica that stops unloads all.

    An exception of the loader is raised at everyone who waits for that load, and the next who
    asks loads again. A load goes on when those who waited have left, unless it has not begun.

    Args:
        func: The loader, when the decorator is used without parentheses.
        max_num_models_per_replica: The most models to hold, for each object that has the method;
            -1 for any number.

    Raises:
        TypeError: The loader is not an `async def` function with one parameter, or the limit is
            no integer.
        ValueError: The limit is neither -1 nor 1 or more.
        InvalidRequestError: From the loader, when called: the id is empty, longer than 256 bytes,
            or holds what cannot be printed. Over HTTP this is 400.
        RuntimeError: From the loader, when called: not in a replica.
    """
    limit = _limit(max_num_models_per_replica)

    def decorate(function: Callable[..., Any]) -> Any:
        is_method = _check(function)
        signature = inspect.signature(function)
        loader = Loader(function, limit)
        name = function.__qualname__

        @wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            if kwargs or len(args) != 1 + is_method:
                try:
                    args = signature.bind(*args, **kwargs).args
                except TypeError as error:
                    raise TypeError(f"{name}: {error}") from None
            shelf = current_cache(name)
            model_id = checked(args[-1], shelf.replica.deployment_id)
            return await shelf.store(loader, args[0] if is_method else None).get(model_id)

        return call

    return decorate if func is None else decorate(func)


def get_multiplexed_model_id() -> str:
    """Return the model that the current request is for, "" if it names none.

    It is what the caller gave as `handle.options(multiplexed_model_id=...)` or, over HTTP, in the
    header `serve_multiplexed_model_id`. In a batched function, all of a batch have the same.
    A request does not pass it on to those it makes itself.
    """
    call = current_call.get()
    return "" if call is None else call.model_id


def _limit(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(
            f"@serve.multiplexed: max_num_models_per_replica is {value!r}; it must be an integer, "
            "1 or more, or -1 for any number."
        )
    if value != -1 and value < 1:
        raise ValueError(
            f"@serve.multiplexed: max_num_models_per_replica is {value!r}; it must be 1 or more, "
            "or -1 for any number."
        )
    return value


def _check(function: Any) -> bool:
    """Return whether a loader is a method; there is only the name `self` to tell by.

    Raises:
        TypeError: It is no loader.
    """
    name = getattr(function, "__qualname__", repr(function))
    if not (inspect.isroutine(function) and inspect.iscoroutinefunction(function)):
        raise TypeError(f"@serve.multiplexed: {name} must be a function defined with `async def`.")
    parameters = list(inspect.signature(cast("Callable[..., Any]", function)).parameters.values())
    is_method = bool(parameters) and parameters[0].name in ("self", "cls")
    taken = parameters[is_method:]
    positional = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    if len(taken) != 1 or taken[0].kind not in positional:
        raise TypeError(
            f"@serve.multiplexed: {name} must have one parameter, the model's id"
            f"{', besides ' + parameters[0].name if is_method else ''}; it has "
            f"({', '.join(map(str, taken))})."
        )
    return is_method
