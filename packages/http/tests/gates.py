"""The gate at which a test's handlers wait; each test has a fresh one."""

from __future__ import annotations

from alacarte.testing import Gate

__all__ = ["GATE", "WAIT_S", "Gate"]

WAIT_S = 20
"""How long a test waits for an event that must come soon, in seconds."""

GATE = Gate()
