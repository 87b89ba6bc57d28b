"""Resources that actors lack, from their needs and the nodes' free resources."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte._cluster.resource_fit import FreeNode, Group, Need, find_excess, matches, shortfall

SMALL = FreeNode("small", {"CPU": 1}, {"zone": "a"})
LARGE = FreeNode("large", {"CPU": 4, "GPU": 2}, {"zone": "b"})


def test_room():
    """Nothing is missing where one node has all resources of a need."""
    assert shortfall([Need({"CPU": 4, "GPU": 0.5})], [SMALL, LARGE]) == {}
    assert shortfall([Need({})], [SMALL]) == {}


def test_what_the_best_node_lacks():
    """The shortfall is that of the node that lacks least: the need, and the node's amount."""
    assert shortfall([Need({"CPU": 8, "GPU": 1})], [SMALL, LARGE]) == {"CPU": (8, 4)}
    assert shortfall([Need({"CPU": 2})], [SMALL]) == {"CPU": (2, 1)}
    assert shortfall([Need({"tpu": 1})], [SMALL, LARGE]) == {"tpu": (1, 0)}


def test_two_nodes_do_not_add_up():
    """The free resources of two nodes do not add up for one actor."""
    assert shortfall([Need({"CPU": 5})], [SMALL, LARGE]) == {"CPU": (5, 4)}


def test_nodes_that_do_not_fit():
    """A node with other labels, or with another id than the need's, does not count."""
    wanted = Need({"CPU": 1}, ({"zone": "c"},))
    assert shortfall([wanted], [SMALL, LARGE]) == {"node with zone=c": (1, 0)}
    either = Need({"CPU": 2}, ({"zone": "c"}, {"zone": "b"}))
    assert shortfall([either], [SMALL, LARGE]) == {}
    assert shortfall([Need({"CPU": 1}, (), "gone")], [SMALL]) == {"node gone": (1, 0)}
    assert shortfall([Need({"CPU": 1})], []) == {"node": (1, 0)}


def test_bundles_share_free_resources():
    """Resources that one bundle takes are not free for the next."""
    two = [Need({"CPU": 2}), Need({"CPU": 2})]
    assert shortfall(two, [LARGE]) == {}
    assert shortfall([*two, Need({"CPU": 2})], [SMALL, LARGE]) == {"CPU (bundle 2)": (2, 1)}


def test_bundles_on_one_node():
    """STRICT_PACK needs the sum on one node."""
    bundles = [Need({"CPU": 1}), Need({"CPU": 4})]
    assert shortfall(bundles, [SMALL, LARGE]) == {}
    assert shortfall(bundles, [SMALL, LARGE], together=True) == {"CPU": (5, 4)}


def test_bundles_on_different_nodes():
    """STRICT_SPREAD needs as many nodes as there are bundles."""
    bundles = [Need({"CPU": 1}), Need({"CPU": 1}), Need({"CPU": 1})]
    assert shortfall(bundles, [LARGE]) == {}
    assert shortfall(bundles, [SMALL, LARGE], apart=True) == {"node (bundle 2)": (1, 0)}


@pytest.mark.parametrize(
    ("selector", "matching"),
    [
        ({}, True),
        ({"zone": "a"}, True),
        ({"zone": "b"}, False),
        ({"zone": "!b"}, True),
        ({"zone": "!a"}, False),
        ({"zone": "in(a, b)"}, True),
        ({"zone": "in(b,c)"}, False),
        ({"zone": "!in(b,c)"}, True),
        ({"zone": "!in(a,c)"}, False),
        ({"other": "a"}, False),
        ({"other": "!a"}, True),
        ({"zone": "a", "other": "a"}, False),
    ],
)
def test_label_selectors(selector: dict[str, str], matching: bool):
    """Labels match as in Ray: equal, not equal, among and not among."""
    assert matches(selector, {"zone": "a"}) is matching


amounts = st.dictionaries(st.sampled_from("abc"), st.integers(0, 5).map(float))


@given(amounts, st.lists(amounts, max_size=4))
def test_room_is_a_node_that_has_all(need: dict[str, float], free: list[dict[str, float]]):
    """Nothing is missing for one need exactly when some node has all of its resources."""
    nodes = [FreeNode(str(index), each) for index, each in enumerate(free)]
    room = any(all(each.get(name, 0) >= much for name, much in need.items()) for each in free)
    found = shortfall([Need(need)], nodes)
    assert (found == {}) is room
    assert all(needed > has for needed, has in found.values())


def test_all_requests_against_the_total():
    """Where each replica fits but all together do not, the excess holds the sums."""
    one = Group([Need({"CPU": 1})], 3)
    assert find_excess({"a": one}, [SMALL, LARGE]) == ({}, {})
    assert find_excess({"a": one, "b": one}, [SMALL, LARGE]) == ({}, {"CPU": (6, 5)})
    assert find_excess({"a": one, "b": Group([Need({"CPU": 1})], 0)}, [SMALL, LARGE]) == ({}, {})
    assert find_excess({}, [SMALL]) == ({}, {})


def test_what_fits_on_no_node():
    """An actor that fits on no node exceeds the largest node, not the sum of the nodes."""
    large = Group([Need({"CPU": 5})], 1)
    assert find_excess({"a": large}, [SMALL, LARGE]) == ({"a": {"CPU": (5, 4)}}, {})
    labelled = Group([Need({"CPU": 1}, ({"zone": "c"},))], 1)
    assert find_excess({"a": labelled}, [SMALL, LARGE])[0] == {"a": {"node with zone=c": (1, 0)}}
    bundles = [Need({"CPU": 2}), Need({"CPU": 2})]
    assert find_excess({"a": Group(bundles, 1)}, [LARGE]) == ({}, {})
    apart, _ = find_excess({"a": Group(bundles, 1, apart=True)}, [LARGE])
    assert apart == {"a": {"node (bundle 1)": (1, 0)}}
    assert find_excess({"a": Group([], 1)}, []) == ({}, {})
