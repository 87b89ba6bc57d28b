"""Records of installed plugins, from the metadata of distributions. Imports no plugin."""

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
    """A plugin and the state of its loading.

    Attributes:
        name: Name of the entry point.
        target: Module of the plugin's hooks.
        distribution: Distribution of the plugin, "" when loaded by module name.
        version: Version of the distribution, "" when unknown.
        state: `found`, `loaded`, `disabled` or `failed`.
        reason: Why the plugin is not loaded, "" when it is.
    """

    name: str
    target: str
    distribution: str = ""
    version: str = ""
    state: Literal["found", "loaded", "disabled", "failed"] = "found"
    reason: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        """Name, target and version, which must be the same in every process of an instance."""
        return (self.name, self.target, self.version)

    @property
    def origin(self) -> str:
        """The distribution, or the module of a plugin without distribution."""
        return self.distribution or self.target


def discover() -> list[PluginRecord]:
    """Return every installed plugin, sorted by name, without importing any.

    `ALACARTE_PLUGINS` lists further modules to load as plugins, separated by commas.
    `ALACARTE_DISABLE_PLUGINS` lists plugins, or whole distributions, not to load. A plugin whose
    distribution requires another version of an installed plugin's distribution has failed.
    """
    # Read once: each access to a distribution's name or version reads its metadata again.
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
        f"installed. Install a matching version of {record.distribution}."
    )
    return replace(record, state="failed", reason=reason)


def _key(distribution: str) -> str:
    return distribution.lower().replace("_", "-").replace(".", "-")


def check_same(mine: Sequence[PluginRecord], theirs: Sequence[PluginRecord]) -> None:
    """Raise PluginError unless both processes run the same plugins in the same versions."""
    here, there = {record.identity for record in mine}, {record.identity for record in theirs}
    if here == there:
        return

    def listed(only: set[tuple[str, str, str]]) -> str:
        return ", ".join(f"{name} {version}" for name, _, version in sorted(only)) or "none"

    raise PluginError(
        "this process and the process that started the instance run different plugins: "
        f"only here {listed(here - there)}; only there {listed(there - here)}. "
        "Install the same versions on every node."
    )


def installed(records: Iterable[PluginRecord]) -> list[PluginRecord]:
    """Return the records with the versions that are installed here, without missing plugins."""
    found = []
    for record in records:
        try:
            version = metadata.version(record.distribution) if record.distribution else ""
        except metadata.PackageNotFoundError:
            continue
        found.append(replace(record, version=version))
    return found


def clashing_names(records: Iterable[PluginRecord]) -> dict[str, str]:
    """Return the names of several enabled plugins each, with an error message for each name."""
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
    """Return the names of the plugins that must be loaded.

    Args:
        names: Names that a program requires, besides `ALACARTE_REQUIRED_PLUGINS`.
    """
    return sorted({*names, *names_in("ALACARTE_REQUIRED_PLUGINS")})


def names_in(variable: str) -> set[str]:
    """Return the names in an environment variable, separated by commas."""
    return {name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()}
