"""Versions that a distribution's metadata requires, against those that are installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from alacarte._plugins import load
from alacarte._plugins.requirements import satisfies, unmet_requirement

Install = Callable[..., Path]


@pytest.mark.parametrize(
    ("version", "specifiers", "met"),
    [
        ("0.1.0", ">=0.1,<0.2", True),
        ("0.2.0", ">=0.1,<0.2", False),
        ("0.2.0rc1", "<0.2", False),
        ("0.2.0.dev3", ">=0.2", False),
        ("0.1", "==0.1.0", True),
        ("0.1.5", "==0.1.*", True),
        ("0.10", "==0.1.*", False),
        ("0.1.5", "!=0.1.*", False),
        ("1.4.5", "~=1.4.2", True),
        ("1.5", "~=1.4.2", False),
        ("2.0", "~=1.4", False),
        ("1.9", "~=1.4", True),
        ("1.0.post1", ">1.0", True),
        ("1.0+local", "<=1.0", True),
        ("0.10.0", ">0.9", True),
        ("1.0", "", True),
        ("1.0", ">=1!2", True),  # an epoch: left to the installer
    ],
)
def test_specifiers(version: str, specifiers: str, met: bool):
    """Operators, pre-releases and prefixes are checked; unknown forms count as met."""
    assert satisfies(version, specifiers) is met


def test_specifiers_agree_with_the_installers():
    """Wherever `packaging` is installed, every pair of version and specifier has its verdict."""
    specifiers = pytest.importorskip("packaging.specifiers")
    versions = [
        "0.1",
        "0.1.0",
        "0.1.1",
        "0.2.0.dev1",
        "0.2a1",
        "0.2rc1",
        "0.2",
        "0.2.1",
        "0.10",
        "1",
    ]
    for operator in (">=", "<=", ">", "<", "==", "!=", "~="):
        for wanted in ("0.1.0", "0.2", "0.2.1"):
            expected = specifiers.SpecifierSet(operator + wanted, prereleases=True)
            for version in versions:
                verdict = satisfies(version, operator + wanted)
                assert verdict == expected.contains(version), (version, operator, wanted)


def test_requirements():
    """The first unmet requirement is found; extras and other platforms do not count."""
    versions = {"alacarte-core": "0.2.0"}
    assert unmet_requirement(["httpx>=9", "alacarte-core>=0.1"], versions) is None
    assert unmet_requirement(["alacarte-core<0.2; extra == 'old'"], versions) is None
    assert unmet_requirement(["Alacarte_Core[x] (>=0.1,<0.2)"], versions) == (
        "Alacarte_Core[x] (>=0.1,<0.2)",
        "0.2.0",
    )


def test_a_plugin_for_another_version_is_not_imported(install: Install):
    """A plugin for another version fails, with the requirement and the installed version."""
    install("host", "from alacarte.hookspecs import hookimpl", version="0.2.0")
    install("guest", "raise RuntimeError('imported')", requires="host>=0.1,<0.2")
    guest, host = load().records
    assert (guest.state, host.state) == ("failed", "loaded")
    assert "guest 1.0 requires host>=0.1,<0.2, but 0.2.0 is installed" in guest.reason
