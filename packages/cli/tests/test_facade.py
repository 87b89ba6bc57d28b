from __future__ import annotations

import pytest

from alacarte_cli.facade import facade


@pytest.mark.parametrize(
    "name", ["Application", "Deployment", "attach", "run", "shutdown", "start", "status"]
)
def test_the_real_facade_has_what_commands_call(name: str) -> None:
    """`alacarte.serve` offers every name that the protocol here lists."""
    assert callable(getattr(facade(), name))
