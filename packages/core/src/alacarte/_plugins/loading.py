"""Import plugins and check their hooks.

pluggy's own loader is not used, because one broken plugin ends its host: here each plugin ends as
loaded, disabled or failed, with a reason. The result is an object to pass along, not a global.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import ModuleType

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
        records: Plugins to load; by default all that `discover` finds. An actor passes the
            driver's records.
        strict: Raise when a plugin fails, instead of continuing without it. Actors are strict,
            because without a plugin of the driver's they would silently behave differently.
        refuse_clashes: Raise when plugins have the same name, instead of marking them as failed.

    Raises:
        PluginError: Two plugins have the same name; or, when strict, a plugin cannot be loaded.
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
    # All plugins are imported before the first is checked: a plugin may implement another's hook.
    loading.each(loading.find)
    # In reverse order: pluggy calls the plugin first that was registered last.
    loading.each(loading.register, backwards=True)
    return Plugins(loading.manager, loading.specifications, tuple(loading.records), strict=strict)


class _Loading:
    """The loading of a list of plugins, with the state of each plugin."""

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
        """Apply a step to every plugin that has not failed, and record its outcome."""
        indexes = range(len(self.records))
        for index in reversed(indexes) if backwards else indexes:
            record = self.records[index]
            if record.state in ("disabled", "failed"):
                continue
            try:
                step(record)
            except BaseException as error:  # foreign code
                if is_interrupt(error):
                    raise
                reason = _one_line(error)
                self.records[index] = replace(record, state="failed", reason=reason)
                self._refused(self.records[index], error)
            else:
                self.records[index] = replace(record, state="loaded", reason="")

    def _refused(self, record: PluginRecord, error: BaseException) -> None:
        if self._strict:
            raise PluginError(f"plugin {record.name} cannot be loaded: {error!r}") from error
        log.warning("plugin %s was not loaded: %s", record.name, record.reason)

    def find(self, record: PluginRecord) -> None:
        """Import a plugin, and add the hooks that it specifies."""
        module = importlib.import_module(record.target)
        if "register_hooks" in implementations_in(module):
            for hooks in self._hook_modules(module, record):
                self.manager.add_hookspecs(hooks)
                self.specifications |= specifications_in(hooks, record.name)
        self._modules[record.name] = module

    def _hook_modules(self, module: ModuleType, record: PluginRecord) -> list[ModuleType]:
        """Return the modules with a plugin's own hooks, after a check."""
        returned = module.register_hooks()
        wrong = mismatch(returned, list[ModuleType])
        if wrong:
            raise PluginError(f"register_hooks returned {wrong}")
        for hooks in returned:
            specified = specifications_in(hooks, record.name)
            if not specified:
                raise PluginError(
                    f"register_hooks: {hooks.__name__} has no function marked @hookspec"
                )
            for name in specified.keys() & self.specifications.keys():
                other = self.specifications[name].plugin
                raise PluginError(
                    f"register_hooks: the hook {name} is already specified by plugin {other}"
                )
            for specification in specified.values():
                specification.result  # noqa: B018 - raises for an annotation it cannot resolve
        return list(returned)

    def register(self, record: PluginRecord) -> None:
        """Check a plugin's functions against the known hooks, and register them."""
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
            f"{record.target} implements an unknown hook, {hook}. Correct its name, install the "
            "plugin that specifies it, or mark it @hookimpl(optionalhook=True) if it may be "
            f"absent. Known hooks: {sorted(self.specifications)}"
        )


def _one_line(error: BaseException) -> str:
    """Return an error's type and message in one line; pluggy's messages have several."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
