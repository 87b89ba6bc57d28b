"""The meters of one process: asked once for each subject, and unable to harm what they observe."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from ..errors import ErrorCode, PluginError
from ..types import Call, CallProtocol, Failures, HookAnswer, Reply

__all__ = ["ProcessMeters", "ReplyJudge"]

T = TypeVar("T")


class ProcessMeters:
    """The meters that plugins have given for this process.

    Args:
        meters: Answers to `make_meter`.
        failures: Where to keep what they fail at.
    """

    def __init__(self, meters: Sequence[HookAnswer], failures: Failures) -> None:
        self._meters = meters
        self._failures = failures

    def observe(self, kind: str, base: type[T], *subject: object) -> T | None:
        """Return what observes a subject, None where no plugin does.

        Of several plugins' observers it makes one. Its methods raise nothing; those that nobody
        overrides do nothing.

        Args:
            kind: Name of the `Meter` method that gives such an observer.
            base: The observer's class, whose methods do nothing.
            subject: Arguments of that method.
        """
        given = [
            (plugin, observer)
            for plugin, meter in self._meters
            if (observer := self._ask(plugin, meter, kind, subject)) is not None
        ]
        if not given:
            return None
        combined = base()
        for name in (name for name in vars(base) if not name.startswith("_")):
            tell = [
                self._guarded(plugin, f"observer of a {kind}: {name}", method)
                for plugin, observer in given
                if (method := _override(observer, base, name)) is not None
            ]
            if tell:
                setattr(combined, name, tell[0] if len(tell) == 1 else _each(tell))
        return combined

    def _ask(self, plugin: str, meter: Any, kind: str, subject: Sequence[object]) -> Any:
        method = getattr(meter, kind, None)
        if method is None:  # of a kind that the plugin's meter was not written for
            return None
        try:
            observer = method(*subject)
        except BaseException as error:  # foreign code: what it would observe goes on without it
            self._failures.note(plugin, f"meter: {kind}", error)
            return None
        if inspect.iscoroutine(observer):
            observer.close()
            self._failures.note(plugin, f"meter: {kind}", PluginError("it must not be async"))
            return None
        return observer

    def _guarded(self, plugin: str, what: str, method: Callable[..., Any]) -> Callable[..., None]:
        """Return what calls an observer's method, and keeps the first of its failures."""
        failed = False

        def fail(error: BaseException) -> None:
            nonlocal failed
            if not failed:
                failed = True
                self._failures.note(plugin, what, error)

        def tell(*given: Any) -> None:
            try:
                answer = method(*given)
            except BaseException as error:  # foreign code: its failure is nobody else's
                fail(error)
                return
            if inspect.iscoroutine(answer):
                answer.close()
                fail(PluginError("it must not be async"))

        return tell


def _override(observer: Any, base: type, name: str) -> Callable[..., Any] | None:
    """Return an observer's method, None where it leaves the method as it is."""
    method: Callable[..., Any] | None = getattr(observer, name, None)
    if not callable(method) or getattr(type(observer), name, None) is getattr(base, name):
        return None
    return method


def _each(methods: Sequence[Callable[..., None]]) -> Callable[..., None]:
    def tell(*what: Any) -> None:
        for method in methods:
            method(*what)

    return tell


class ReplyJudge:
    """Tells which replies stand for errors, as the protocols of the calls see it.

    Args:
        protocols: Returns them; asked once, with the first reply. The replies of a protocol without
            `failure_code` are successes.
    """

    def __init__(self, protocols: Callable[[], Iterable[CallProtocol]]) -> None:
        self._load = protocols
        self._codes: dict[str, Callable[[Reply], ErrorCode | None]] | None = None

    def __call__(self, call: Call, reply: Reply) -> ErrorCode | None:
        """Return the code of the error that a reply stands for, None for a success."""
        if self._codes is None:
            self._codes = {
                protocol.name: protocol.failure_code  # optional
                for protocol in self._load()
                if hasattr(protocol, "failure_code")
            }
        code = self._codes.get(call.protocol)
        if code is None:
            return None
        try:
            return code(reply)
        except Exception:  # of a plugin: a reply that cannot be read is not a success
            return ErrorCode.INTERNAL
