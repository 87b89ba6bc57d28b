"""Fingerprints of routes."""

from __future__ import annotations

from alacarte.types import DeploymentId, Route

A, B = DeploymentId("a", "A"), DeploymentId("b", "B")


def test_a_fingerprint_changes_with_all_that_decides_where_calls_go():
    """The fingerprint depends on weights, shadows and versions, not on their order."""
    base = Route("/s", "a", {A: 0.5, B: 0.5}, name="s")
    assert base.fingerprint == Route("/s", "a", {B: 0.5, A: 0.5}, name="s").fingerprint
    others = [
        Route("/s", "a", {A: 0.6, B: 0.4}, name="s"),
        Route("/s", "a", {A: 0.5, B: 0.5}, name="s", shadows={A: 0.1}),
        Route("/s", "a", {A: 0.5, B: 0.5}, name="s", versions={A: "2"}),
        Route("/t", "a", {A: 0.5, B: 0.5}, name="s"),
        Route("/s", "a", {A: 0.5, B: 0.5}, name="t"),
    ]
    assert len({each.fingerprint for each in [base, *others]}) == 6
