"""Objects of the user, and the values of their tests."""

from __future__ import annotations

import functools

from alacarte._replica.user_object import UserObject
from alacarte.types import DeploymentId

HERE = DeploymentId("shop", "model")
WAIT_S = 20


async def construct(target, *args, is_function=False, threads=2, **kwargs) -> UserObject:
    user = UserObject(HERE, target, is_function=is_function, threads=threads)
    await user.construct(args, kwargs)
    return user


class Zoo:
    """A class with one callable of each kind."""

    def sync(self):
        return "sync"

    async def coroutine(self):
        return "coroutine"

    def generator(self):
        yield 1

    async def async_generator(self):
        yield 1

    @functools.wraps(coroutine)
    async def wrapped(self):
        return "wrapped"

    @staticmethod
    async def static():
        return "static"

    @classmethod
    def clsmethod(cls):
        return "class"

    class AsyncCallable:
        async def __call__(self):
            return "object"

    attribute = AsyncCallable()
    partial = staticmethod(functools.partial(print))
    no_method = 7
    _private = 8
