"""Routes: which one a path takes, and which of its targets."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte.types import DeploymentId, Route
from alacarte_http._proxy.routes import RouteIndex, choose_target

TARGET = DeploymentId("app", "d")


def route(prefix: str, *, exact: bool = False) -> Route:
    return Route(prefix, prefix, {TARGET: 1.0}, exact=exact)


def naive(routes: list[Route], path: str) -> Route | None:
    """Look at every route: an exact one first, then the longest prefix that ends at a segment."""
    for each in routes:
        if each.exact and each.prefix == path:
            return each
    found = [
        each
        for each in routes
        if not each.exact
        and (each.prefix == "/" or path == each.prefix or path.startswith(each.prefix + "/"))
    ]
    return max(found, key=lambda each: len(each.prefix), default=None)


segments = st.sampled_from(["a", "b", "ab", "", ".", "%2F", "é"])
paths = st.lists(segments, max_size=6).map(lambda parts: "/" + "/".join(parts))
prefixes = (
    st.lists(segments, max_size=4)
    .map(lambda parts: "/" + "/".join(parts))
    .map(lambda prefix: prefix.rstrip("/") or "/")
)


@given(st.dictionaries(prefixes, st.booleans(), max_size=8), paths)
def test_matching_against_a_naive_model(table, path):
    """Whatever the routes and the path, the index finds what looking at each route finds."""
    routes = [route(prefix, exact=exact) for prefix, exact in table.items()]
    assert RouteIndex(routes).match(path) is naive(routes, path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b"),
        ("/a/b/c", "/a/b"),
        ("/a/bc", "/a"),
        ("/ab", "/"),
        ("/A", "/"),
        ("//a", "/"),
        ("/a//b", "/a"),
        ("", "/"),
        ("*", "/"),
    ],
)
def test_segment_boundaries(path, expected):
    """A prefix ends where a segment ends; the longest wins; "/" takes the rest."""
    index = RouteIndex([route("/"), route("/a"), route("/a/b")])
    assert index.match(path).prefix == expected


def test_no_route():
    """Without "/", what no prefix takes is nobody's."""
    index = RouteIndex([route("/a")])
    assert index.match("/b") is None
    assert index.match("/") is None
    assert RouteIndex([]).match("/") is None


def test_exact():
    """An exact route takes its path alone, and wins over a prefix of the same length."""
    index = RouteIndex([route("/a", exact=True), route("/a"), route("/b", exact=True)])
    assert index.match("/a").exact
    assert not index.match("/a/").exact
    assert index.match("/b/c") is None
    assert len(index) == len(index.routes) == 3


def test_hostile_paths():
    """A path of 30,000 slashes costs no more than a long path must: all of 2,000 in a second."""
    index = RouteIndex([route("/a"), route("/a/b/c/d/e"), route("/x", exact=True)])
    path = "/a" + "/" * 30_000
    began = time.perf_counter()
    for _ in range(2000):
        assert index.match(path).prefix == "/a"
    assert time.perf_counter() - began < 1


@given(st.lists(st.integers(1, 100), min_size=1, max_size=5), st.floats(0, 1, exclude_max=True))
def test_every_draw_has_a_target(weights, draw):
    """The target drawn is the one in whose share of the unit interval the draw falls."""
    names = [DeploymentId("app", str(i)) for i in range(len(weights))]
    shares = {name: weight / sum(weights) for name, weight in zip(names, weights, strict=True)}
    chosen = choose_target(Route("/", "app", shares), lambda: draw)
    begin = sum(list(shares.values())[: names.index(chosen)])
    assert begin - 1e-9 <= draw <= begin + shares[chosen] + 1e-9


def test_weights():
    """Each target is chosen as often as its weight says; one of weight 0 never."""
    a, b, c = (DeploymentId("app", name) for name in "abc")
    split = Route("/", "app", {a: 0.9, c: 0.0, b: 0.1})
    draw = random.Random(7).random
    counts = Counter(choose_target(split, draw) for _ in range(10_000))
    assert counts[a] / 10_000 == pytest.approx(0.9, abs=0.02)
    assert counts[b] / 10_000 == pytest.approx(0.1, abs=0.02)
    assert counts[c] == 0


def test_rounding():
    """Where weights sum to a little less than 1, the rest of the interval is the last one's."""
    third = Route("/", "app", {DeploymentId("app", name): 0.333 for name in "abc"})
    assert choose_target(third, lambda: 0.9999).name == "c"
