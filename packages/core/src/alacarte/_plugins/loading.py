"""Import plugins and check their hooks.

Loading is ours and not pluggy's, whose loader lets one broken plugin end the host: here each
plugin ends as loaded, disabled or failed, with the reason. The result is an object that is
passed along; there is no global one.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import ModuleType
from typing import Any

import pluggy

from .. import hookspecs
from ..errors import PluginError
from ..foreign import is_interrupt
from .records import PluginRecord, clashing_names, discover
from .registry import Plugins
from .results import mismatch
from .specifications import (
    core_specifications,
    implementations_in,
    specifications_in,
    wrong_options,
)

__all__ = ["load"]

log = logging.getLogger("alacarte.plugins")


def load(
    records: Iterable[PluginRecord] | None = None,
    *,
    strict: bool = False,
    refuse_clashes: bool = True,
) -> Plugins:
    """Import plugins and check their hooks.

    Args:
        records: What to load; all that `discover` finds by default. An actor passes what the
            driver resolved.
        strict: Raise instead of going on without a plugin that fails. Actors are strict: with
            fewer plugins than the driver they would quietly do something else.
        refuse_clashes: Raise where plugins have one name; otherwise they have failed.

    Raises:
        PluginError: Two plugins have one name; or, when strict, one cannot be loaded.
    """
    wanted = discover() if records is None else list(records)
    clashes = clashing_names(wanted)
    for reason in clashes.values() if refuse_clashes else ():
        raise PluginError(reason)
    wanted = [
        replace(record, state="failed", reason=clashes[record.name])
        if record.name in clashes and record.state != "disabled"
        else record
        for record in wanted
    ]
    loading = _Loading(wanted, strict=strict)
    # All of them before the first is checked: a plugin may implement another one's hook.
    loading.each(loading.find)
    # The last first: pluggy calls those first that were registered last.
    loading.each(loading.register, backwards=True)
    return Plugins(loading.manager, loading.specifications, tuple(loading.records), strict=strict)


class _Loading:
    """Plugins on their way to being loaded or failed."""

    def __init__(self, records: list[PluginRecord], *, strict: bool) -> None:
        self.records = records
        self.specifications = core_specifications()
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self._strict = strict
        self._modules: dict[str, ModuleType] = {}
        for record in records:
            if record.state == "failed":
                self._refused(record, PluginError(record.reason))

    def each(self, step: Callable[[PluginRecord], None], *, backwards: bool = False) -> None:
        """Take a step with every plugin that has not failed; the failures stay with the record."""
        numbers = range(len(self.records))
        for number in reversed(numbers) if backwards else numbers:
            record = self.records[number]
            if record.state in ("disabled", "failed"):
                continue
            try:
                step(record)
            except BaseException as error:  # foreign code: whatever it raises is its own failure
                if is_interrupt(error):
                    raise
                reason = _one_line(error)
                self.records[number] = replace(record, state="failed", reason=reason)
                self._refused(self.records[number], error)
            else:
                self.records[number] = replace(record, state="loaded", reason="")

    def _refused(self, record: PluginRecord, error: BaseException) -> None:
        if self._strict:
            raise PluginError(f"plugin {record.name} cannot be loaded: {error!r}") from error
        log.warning("plugin %s was left out: %s", record.name, record.reason)

    def find(self, record: PluginRecord) -> None:
        """Import a plugin, and take in the hooks that it brings."""
        module = importlib.import_module(record.target)
        if "register_hooks" in implementations_in(module):
            for brought in self._brought(module, record):
                self.manager.add_hookspecs(brought)
                self.specifications |= specifications_in(brought, record.name)
        self._modules[record.name] = module

    def _brought(self, module: ModuleType, record: PluginRecord) -> list[ModuleType]:
        given = module.register_hooks()
        wrong = mismatch(given, list[ModuleType])
        if wrong:
            raise PluginError(f"register_hooks returned {wrong}")
        for brought in given:
            specified = specifications_in(brought, record.name)
            if not specified:
                raise PluginError(
                    f"register_hooks: {brought.__name__} has no function marked @hookspec"
                )
            for name in specified.keys() & self.specifications.keys():
                other = self.specifications[name].plugin
                raise PluginError(f"register_hooks: the hook {name} is that of plugin {other}")
            for specification in specified.values():
                specification.result  # noqa: B018 - raises where it means nothing
        return list(given)

    def register(self, record: PluginRecord) -> None:
        """Check a plugin's functions against the hooks there are, and register them."""
        module = self._modules[record.name]
        for name, options in implementations_in(module).items():
            specification = self.specifications.get(name)
            if specification is not None:
                wrong = wrong_options(specification, options)
                if wrong:
                    raise PluginError(wrong)
            elif not options["optionalhook"]:
                raise PluginError(self._unknown(record, name))
        try:
            self.manager.register(module, name=record.name)
        except Exception:
            if self.manager.has_plugin(record.name):
                self.manager.unregister(name=record.name)
            raise

    def _unknown(self, record: PluginRecord, hook: str) -> str:
        return (
            f"{record.target} implements no such hook: {hook}. Correct its name, install the "
            "plugin that brings it, or write @hookimpl(optionalhook=True) if it may be absent. "
            f"Known: {sorted(self.specifications)}"
        )


def _one_line(error: Any) -> str:
    """Return an error's type and text; pluggy's own messages have several lines."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
