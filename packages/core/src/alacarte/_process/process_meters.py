"""The meters of plugins in one process. Their failures do not harm the observed calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from ..errors import ErrorCode, PluginError
from ..types import Call, CallProtocol, Failures, HookResult, Reply

__all__ = ["ProcessMeters", "ReplyJudge"]

T = TypeVar("T")


class ProcessMeters:
    """All meters of plugins in this process.

    Args:
        meters: The plugins' answers to `make_meter`.
        failures: Records failures of meters.
    """

    def __init__(self, meters: Sequence[HookResult], failures: Failures) -> None:
        self._meters = meters
        self._failures = failures

    def observe(self, kind: str, base: type[T], *subject: object) -> T | None:
        """Return the observer of a subject, None if no plugin observes it.

        Combines the observers of several plugins. Its methods never raise; methods that no plugin
        overrides do nothing.

        Args:
            kind: Name of the `Meter` method that returns the observer.
            base: Base class of the observer, whose methods do nothing.
            subject: Arguments of the `Meter` method.
        """
        observers = [
            (plugin, observer)
            for plugin, meter in self._meters
            if (observer := self._ask(plugin, meter, kind, subject)) is not None
        ]
        if not observers:
            return None
        combined = base()
        for name in (name for name in vars(base) if not name.startswith("_")):
            methods = [
                self._guarded(plugin, f"observer of a {kind}: {name}", method)
                for plugin, observer in observers
                if (method := _override(observer, base, name)) is not None
            ]
            if methods:
                setattr(combined, name, methods[0] if len(methods) == 1 else _combine(methods))
        return combined

    def _ask(self, plugin: str, meter: object, kind: str, subject: Sequence[object]) -> object:
        method: Callable[..., object] | None = getattr(meter, kind, None)
        if method is None:  # the plugin's meter is older than this kind of observer
            return None
        try:
            observer = method(*subject)
        except BaseException as error:  # foreign code: the subject runs without this observer
            self._failures.note(plugin, f"meter: {kind}", error)
            return None
        if inspect.iscoroutine(observer):
            observer.close()
            self._failures.note(plugin, f"meter: {kind}", PluginError("it must not be async"))
            return None
        return observer

    def _guarded(
        self, plugin: str, label: str, method: Callable[..., object]
    ) -> Callable[..., None]:
        """Return a function that calls an observer's method and records its first failure."""
        failed = False

        def fail(error: BaseException) -> None:
            nonlocal failed
            if not failed:
                failed = True
                self._failures.note(plugin, label, error)

        def notify(*values: object) -> None:
            try:
                answer = method(*values)
            except BaseException as error:  # foreign code must not fail the observed call
                fail(error)
                return
            if inspect.iscoroutine(answer):
                answer.close()
                fail(PluginError("it must not be async"))

        return notify


def _override(observer: object, base: type, name: str) -> Callable[..., object] | None:
    """Return an observer's method, None if it is the base class's method."""
    method: Callable[..., object] | None = getattr(observer, name, None)
    if not callable(method) or getattr(type(observer), name, None) is getattr(base, name):
        return None
    return method


def _combine(methods: Sequence[Callable[..., None]]) -> Callable[..., None]:
    def notify(*values: object) -> None:
        for method in methods:
            method(*values)

    return notify


class ReplyJudge:
    """Classifies replies as errors or successes, by the `failure_code` of their protocols.

    Args:
        protocols: Returns all protocols; called once, with the first reply. Replies of a protocol
            without `failure_code` are successes.
    """

    def __init__(self, protocols: Callable[[], Iterable[CallProtocol]]) -> None:
        self._load = protocols
        self._codes: dict[str, Callable[[Reply], ErrorCode | None]] | None = None

    def __call__(self, call: Call, reply: Reply) -> ErrorCode | None:
        """Return the error code of a reply, None for a success."""
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
        except Exception:  # of a plugin: an unreadable reply is not a success
            return ErrorCode.INTERNAL
