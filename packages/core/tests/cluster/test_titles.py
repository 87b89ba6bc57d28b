"""Titles of processes, from the names of their actors."""

from __future__ import annotations

import pytest

from alacarte._cluster.titles import title_of


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("alacarte:controller", "alacarte:controller"),
        ("alacarte:1f2e:replica:shop#Model#9c0d", "alacarte:replica shop#Model"),
        ("alacarte:1f2e:replica:a:b#Model#9c0d", "alacarte:replica a:b#Model"),
        ("alacarte:1f2e:service:http:node7:0:ab12", "alacarte:service http"),
        ("alacarte:1f2e:helpers:ab12", "alacarte:helpers"),
        ("somebody's", "somebody's"),
    ],
)
def test_titles(name: str, title: str):
    """A title has the kind and owner of a process, without ids."""
    assert title_of(name) == title
