"""Check installed versions against the requirements of a distribution's metadata. Pure.

Implements the part of PEP 440 and PEP 508 that these requirements use, because importing
`packaging` would slow down every process. A requirement in another form counts as met: the
installer has checked it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

__all__ = ["satisfies", "unmet_requirement"]

_REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:\[[^]]*\])?\s*\(?([^;()]*)\)?\s*(?:;(.*))?")
_CLAUSE = re.compile(r"(~=|==|!=|<=|>=|<|>)\s*([\w.*+!-]+)")
_VERSION = re.compile(r"v?(\d+(?:\.\d+)*)[-_.]?(?:(dev|a|b|rc|post)[-_.]?(\d*))?(?:\+.*)?")
_PHASES = {"dev": -4, "a": -3, "b": -2, "rc": -1, None: 0, "post": 1}


def unmet_requirement(
    requirements: Iterable[str], versions: Mapping[str, str]
) -> tuple[str, str] | None:
    """Return the first requirement that an installed version does not meet, and that version.

    Args:
        requirements: As in `Requires-Dist`: `alacarte-core>=0.1,<0.2`.
        versions: Versions by distribution, in lower case with dashes. Requirements of other
            distributions count as met.
    """
    for requirement in requirements:
        found = _REQUIREMENT.fullmatch(requirement.strip())
        if found is None or found[3]:  # a marker: an extra, or another platform
            continue
        name = found[1].lower().replace("_", "-").replace(".", "-")
        version = versions.get(name)
        if version is not None and not satisfies(version, found[2]):
            return requirement, version
    return None


def satisfies(version: str, specifiers: str) -> bool:
    """Return whether a version meets all of the comma-separated specifiers."""
    return all(_meets(version, *clause) for clause in _CLAUSE.findall(specifiers))


def _meets(version: str, operator: str, wanted: str) -> bool:
    prefix = wanted.endswith(".*")
    have, want = _parsed(version), _parsed(wanted.removesuffix(".*"))
    if have is None or want is None:
        return True
    length = max(len(have[0]), len(want[0]))
    release, limit = (_padded(each[0], length) for each in (have, want))
    left, right = (release, *have[1:]), (limit, *want[1:])
    same = release[: len(want[0])] == want[0] if prefix else left == right
    match operator:
        case "==":
            return same
        case "!=":
            return not same
        case ">=":
            return left >= right
        case "<=":
            return left <= right
        case ">":
            return left > right
        case "<":
            # PEP 440 excludes the pre-release 0.2.0rc1 from <0.2.
            return left < right and not (release == limit and have[1] < 0 <= want[1])
    kept = len(want[0]) - 1  # ~=
    return left >= right and release[:kept] == want[0][:kept]


def _parsed(version: str) -> tuple[tuple[int, ...], int, int] | None:
    found = _VERSION.fullmatch(version.strip().lower())
    if found is None:
        return None
    release = tuple(int(part) for part in found[1].split("."))
    return release, _PHASES[found[2]], int(found[3] or 0)


def _padded(release: tuple[int, ...], length: int) -> tuple[int, ...]:
    return release + (0,) * (length - len(release))
