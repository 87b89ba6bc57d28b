"""The plugins that are installed, as their distributions declare them; none is imported here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Literal

from ..errors import PluginError
from ..hookspecs import PROJECT
from .requirements import unmet_requirement

__all__ = [
    "PluginRecord",
    "check_same",
    "clashing_names",
    "discover",
    "installed",
    "names_in",
    "required_plugins",
]


@dataclass(frozen=True)
class PluginRecord:
    """One plugin and what became of it.

    Attributes:
        name: The entry point's name.
        target: The module its hooks are in.
        distribution: The distribution that brought it, "" when loaded by module name.
        version: That distribution's version, "" when unknown.
        state: `found`, `loaded`, `disabled` or `failed`.
        reason: Why it is not loaded, "" when it is.
    """

    name: str
    target: str
    distribution: str = ""
    version: str = ""
    state: Literal["found", "loaded", "disabled", "failed"] = "found"
    reason: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        """What every process of an instance must agree on."""
        return (self.name, self.target, self.version)

    @property
    def origin(self) -> str:
        """The distribution, or the module where no distribution brought it."""
        return self.distribution or self.target


def discover() -> list[PluginRecord]:
    """Return every installed plugin, by name, none of them imported.

    Besides installed distributions, `ALACARTE_PLUGINS` names modules to load as plugins,
    separated by commas. `ALACARTE_DISABLE_PLUGINS` names plugins not to load, or distributions
    none of whose plugins to load. A plugin whose distribution requires another version of an
    installed plugin's distribution is failed already.
    """
    # Each access to a distribution's name or version reads its metadata anew: here it is read once.
    entries = [
        (entry, None if entry.dist is None else entry.dist.metadata)
        for entry in metadata.entry_points(group=PROJECT)
    ]
    versions = {_key(about["Name"]): about["Version"] for _, about in entries if about is not None}
    found = [_record(entry, about, versions) for entry, about in entries]
    found += [PluginRecord(module, module) for module in sorted(names_in("ALACARTE_PLUGINS"))]
    # The same distribution can be seen twice, through two entries of sys.path.
    unique = {(record.name, record.target): record for record in reversed(found)}
    disabled = names_in("ALACARTE_DISABLE_PLUGINS")
    return [
        replace(record, state="disabled", reason="named in ALACARTE_DISABLE_PLUGINS")
        if disabled & {record.name, record.distribution}
        else record
        for record in sorted(unique.values(), key=lambda record: (record.name, record.target))
    ]


def _record(
    entry: metadata.EntryPoint,
    about: metadata.PackageMetadata | None,
    versions: Mapping[str, str],
) -> PluginRecord:
    if about is None:
        return PluginRecord(entry.name, entry.value)
    record = PluginRecord(entry.name, entry.value, about["Name"], about["Version"])
    unmet = unmet_requirement(about.get_all("Requires-Dist") or (), versions)
    if unmet is None:
        return record
    requirement, version = unmet
    reason = (
        f"{record.distribution} {record.version} requires {requirement}, but {version} is "
        f"installed. Install a version of {record.distribution} that fits."
    )
    return replace(record, state="failed", reason=reason)


def _key(distribution: str) -> str:
    return distribution.lower().replace("_", "-").replace(".", "-")


def check_same(mine: Sequence[PluginRecord], theirs: Sequence[PluginRecord]) -> None:
    """Raise PluginError unless both sides run the same plugins in the same versions."""
    here, there = {record.identity for record in mine}, {record.identity for record in theirs}
    if here == there:
        return

    def listed(only: set[tuple[str, str, str]]) -> str:
        return ", ".join(f"{name} {version}" for name, _, version in sorted(only)) or "nothing"

    raise PluginError(
        "this process and the one that started it run different plugins: "
        f"only here {listed(here - there)}; only there {listed(there - here)}. "
        "Install the same versions on every node."
    )


def installed(records: Iterable[PluginRecord]) -> list[PluginRecord]:
    """Return the same records with the versions that this process would load.

    Plugins that are not installed here are left out.
    """
    found = []
    for record in records:
        try:
            version = metadata.version(record.distribution) if record.distribution else ""
        except metadata.PackageNotFoundError:
            continue
        found.append(replace(record, version=version))
    return found


def clashing_names(records: Iterable[PluginRecord]) -> dict[str, str]:
    """Return the names that several plugins have which are to be loaded, and why that cannot be."""
    origins: dict[str, list[str]] = {}
    for record in records:
        if record.state != "disabled":
            origins.setdefault(record.name, []).append(record.origin)
    return {
        name: f"{len(same)} plugins are named {name!r}: {' and '.join(same)}. "
        "Uninstall one, or name its distribution in ALACARTE_DISABLE_PLUGINS."
        for name, same in origins.items()
        if len(same) > 1
    }


def required_plugins(names: Iterable[str] = ()) -> list[str]:
    """Return the names of the plugins without which nothing may be served.

    Args:
        names: Those that a program requires, besides `ALACARTE_REQUIRED_PLUGINS`.
    """
    return sorted({*names, *names_in("ALACARTE_REQUIRED_PLUGINS")})


def names_in(variable: str) -> set[str]:
    """Return the names in an environment variable, separated by commas."""
    return {name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()}
