"""The decorator `@serve.multiplexed`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, Protocol, TypeVar, overload

from alacarte.context import current_call

from ._model_cache import Loader, current_cache
from ._model_id import check_model_id

__all__ = ["Multiplexed", "get_multiplexed_model_id", "multiplexed"]

ModelT = TypeVar("ModelT")
ModelT_co = TypeVar("ModelT_co", covariant=True)


class Multiplexed(Protocol[ModelT_co]):
    """A multiplexed loader for its callers: takes a model's id, returns the model."""

    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[object, object, ModelT_co]:
        """Pass the id of a model; await the model."""

    def __get__(self, instance: object, owner: type | None = None) -> Multiplexed[ModelT_co]:
        """Return the method of an instance."""


class Decorator(Protocol):
    """The decorator that `multiplexed` with options returns."""

    def __call__(
        self, function: Callable[..., Coroutine[object, object, ModelT]], /
    ) -> Multiplexed[ModelT]:
        """Decorate a loader."""


@overload
def multiplexed(
    func: Callable[..., Coroutine[object, object, ModelT]], /
) -> Multiplexed[ModelT]: ...
@overload
def multiplexed(func: None = None, /, *, max_num_models_per_replica: int = 3) -> Decorator: ...


def multiplexed(
    func: Callable[..., Awaitable[object]] | None = None,
    /,
    *,
    max_num_models_per_replica: int = 3,
) -> object:
    """Load models on demand, and cache the most recently used ones.

    The loader is an `async def` function or method with one parameter, the model's id. A call for a
    cached model returns at once; concurrent calls for a model that is loading share one load. Loads
    run one after the other.

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

    A full cache unloads a model before the next load: the least recently used model that no request
    uses. A request uses a model until the task that called the loader ends. If all models are in
    use, the load waits up to ten seconds for a request to end; then it proceeds, and the least
    recently used model is unloaded after its requests have ended. Unloading runs the model's
    `__del__`, if any: on the event loop if it is `async def`, else in a thread. A stopping replica
    unloads all models.

    If the loader raises, all callers of that load get the error, and the next call loads again. A
    load that has started continues after its callers have gone.

    Args:
        func: The loader, when the decorator is used without parentheses.
        max_num_models_per_replica: Maximum number of cached models per instance of the class; -1
            for no limit.

    Raises:
        TypeError: The loader is not an `async def` function with one parameter, or the limit is
            not an integer.
        ValueError: The limit is neither -1 nor 1 or more.
        InvalidRequestError: Raised by a call of the loader: the id is empty, longer than 256 bytes,
            or contains unprintable characters. HTTP clients get 400.
        RuntimeError: Raised by a call of the loader outside of a replica.
    """
    limit = _limit(max_num_models_per_replica)

    def decorate(function: Callable[..., Awaitable[object]]) -> object:
        is_method = _check(function)
        signature = inspect.signature(function)
        loader = Loader(function, limit)
        name = function.__qualname__

        @wraps(function)
        async def call(*args: object, **kwargs: object) -> object:
            if kwargs or len(args) != 1 + is_method:
                try:
                    args = signature.bind(*args, **kwargs).args
                except TypeError as error:
                    raise TypeError(f"{name}: {error}") from None
            cache = current_cache(name)
            model_id = check_model_id(args[-1], cache.replica.deployment_id)
            return await cache.store(loader, args[0] if is_method else None).get(model_id)

        return call

    return decorate if func is None else decorate(func)


def get_multiplexed_model_id() -> str:
    """Return the model id of the current request, "" if the request names no model.

    Callers set the id with `handle.options(multiplexed_model_id=...)`, or over HTTP with the header
    `serve_multiplexed_model_id`. All items of a batch have the same id. The id is not passed on to
    calls that the request makes.
    """
    call = current_call.get()
    return "" if call is None else call.model_id


def _limit(value: object) -> int:
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


def _check(function: Callable[..., object]) -> bool:
    """Check a loader's signature; return whether the loader is a method, by the name `self`.

    Raises:
        TypeError: The object is no function, or has the wrong parameters.
    """
    name = getattr(function, "__qualname__", repr(function))
    if not (inspect.isroutine(function) and inspect.iscoroutinefunction(function)):
        raise TypeError(f"@serve.multiplexed: {name} must be a function defined with `async def`.")
    parameters = list(inspect.signature(function).parameters.values())
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
