"""Route matching."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte.types import Call, DeploymentId, Reply, Route, Service
from alacarte_http._proxy.route_index import RouteIndex

TARGET = DeploymentId("app", "d")


def route(prefix: str, *, exact: bool = False) -> Route:
    return Route(prefix, prefix, {TARGET: 1.0}, exact=exact)


async def answer(call: Call) -> Reply:
    return Reply((b"",))


def index_of(*routes: Route) -> RouteIndex:
    return RouteIndex(routes, lambda route: answer, lambda route: answer)


def match(index: RouteIndex, path: str) -> Route | None:
    way = index.match(path)
    return None if way is None else way.route


def naive(routes: list[Route], path: str) -> Route | None:
    """Check every route: an exact one first, then the longest prefix at a segment boundary."""
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
    """The index finds the same route as a search of all routes."""
    routes = [route(prefix, exact=exact) for prefix, exact in table.items()]
    assert match(index_of(*routes), path) is naive(routes, path)


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
    """A prefix matches at segment boundaries, the longest wins, and "/" matches the rest."""
    index = index_of(route("/"), route("/a"), route("/a/b"))
    assert match(index, path).prefix == expected


def test_no_route():
    """Without "/", a path without a prefix has no route."""
    index = index_of(route("/a"))
    assert index.match("/b") is None
    assert index.match("/") is None
    assert index_of().match("/") is None


def test_exact():
    """An exact route matches its path only, and precedes a prefix of the same length."""
    index = index_of(route("/a", exact=True), route("/a"), route("/b", exact=True))
    assert match(index, "/a").exact
    assert not match(index, "/a/").exact
    assert index.match("/b/") is None
    assert index.match("/b/c") is None
    assert len(index) == len(index.routes) == 3


def test_hostile_paths():
    """A path of 30,000 slashes takes as many lookups as the deepest prefix has segments."""
    index = index_of(route("/a"), route("/a/b/c/d/e"), route("/x", exact=True))
    looked_up = []

    class Prefixes(dict):
        def get(self, prefix):
            looked_up.append(prefix)
            return super().get(prefix)

    index._prefixes = Prefixes(index._prefixes)
    assert match(index, "/a" + "/" * 30_000).prefix == "/a"
    assert len(looked_up) == 5
    assert max(map(len, looked_up)) < 10


def test_routes_without_a_path():
    """A route without a path matches none and gets no service."""
    asked = []

    def service(route: Route) -> Service:
        asked.append(route.name)
        return answer

    handles_only = Route("", "b", {TARGET: 1.0}, name="b", exact=True)
    index = RouteIndex([route("/"), handles_only], service, service)
    assert match(index, "").prefix == "/"
    assert len(index) == 1
    assert "b" not in asked


def test_one_service_for_each_route():
    """The index creates one service per route, which each path of the route returns."""
    asked = []

    def service(route: Route) -> Service:
        asked.append(route.prefix)
        return partial(answer)

    index = RouteIndex([route("/a"), route("/b", exact=True)], service, service)
    assert sorted(asked) == ["/a", "/a", "/b", "/b"]
    assert index.match("/a/1").http is index.match("/a/2").http
    assert index.match("/a").http is not index.match("/a").websocket
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("methods", "allowed"),
    [
        (None, None),
        ({"GET"}, {"GET", "HEAD"}),
        ({"POST", "GET"}, {"GET", "HEAD", "POST"}),
        ({"POST"}, {"POST"}),
        (set(), set()),
    ],
)
def test_methods(methods, allowed):
    """Allowed methods are those listed, and HEAD with GET."""
    methods = None if methods is None else frozenset(methods)
    index = index_of(Route("/", "app", {TARGET: 1.0}, methods))
    assert index.match("/").methods == allowed
