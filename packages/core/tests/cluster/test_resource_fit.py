"""What an actor lacks, told from its needs and what is free on the nodes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte._cluster.resource_fit import FreeNode, Group, Need, exceeded, matches, shortfall

SMALL = FreeNode("small", {"CPU": 1}, {"zone": "a"})
LARGE = FreeNode("large", {"CPU": 4, "GPU": 2}, {"zone": "b"})


def test_room():
    """Nothing is missing where one node has all that is needed."""
    assert shortfall([Need({"CPU": 4, "GPU": 0.5})], [SMALL, LARGE]) == {}
    assert shortfall([Need({})], [SMALL]) == {}


def test_what_the_best_node_lacks():
    """Told is what the node lacks that lacks least, with what is needed and what it has."""
    assert shortfall([Need({"CPU": 8, "GPU": 1})], [SMALL, LARGE]) == {"CPU": (8, 4)}
    assert shortfall([Need({"CPU": 2})], [SMALL]) == {"CPU": (2, 1)}
    assert shortfall([Need({"tpu": 1})], [SMALL, LARGE]) == {"tpu": (1, 0)}


def test_two_nodes_do_not_add_up():
    """Room for one actor is room on one node."""
    assert shortfall([Need({"CPU": 5})], [SMALL, LARGE]) == {"CPU": (5, 4)}


def test_nodes_that_do_not_fit():
    """A node of other labels, or another one than the one asked for, is no room."""
    wanted = Need({"CPU": 1}, ({"zone": "c"},))
    assert shortfall([wanted], [SMALL, LARGE]) == {"node with zone=c": (1, 0)}
    either = Need({"CPU": 2}, ({"zone": "c"}, {"zone": "b"}))
    assert shortfall([either], [SMALL, LARGE]) == {}
    assert shortfall([Need({"CPU": 1}, (), "gone")], [SMALL]) == {"node gone": (1, 0)}
    assert shortfall([Need({"CPU": 1})], []) == {"node": (1, 0)}


def test_bundles_share_what_there_is():
    """What one bundle takes, the next one cannot have."""
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
    """Labels match as Ray says they do: equal, not equal, among and not among."""
    assert matches(selector, {"zone": "a"}) is matching


amounts = st.dictionaries(st.sampled_from("abc"), st.integers(0, 5).map(float))


@given(amounts, st.lists(amounts, max_size=4))
def test_room_is_a_node_that_has_all(need: dict[str, float], free: list[dict[str, float]]):
    """Of one need, nothing is missing exactly when some node has all of it."""
    nodes = [FreeNode(str(index), each) for index, each in enumerate(free)]
    room = any(all(each.get(name, 0) >= much for name, much in need.items()) for each in free)
    found = shortfall([Need(need)], nodes)
    assert (found == {}) is room
    assert all(needed > has for needed, has in found.values())


def test_all_that_is_asked_for_against_all_there_is():
    """Each replica may fit while all together do not; then the sums are told."""
    one = Group([Need({"CPU": 1})], 3)
    assert exceeded({"a": one}, [SMALL, LARGE]) == ({}, {})
    assert exceeded({"a": one, "b": one}, [SMALL, LARGE]) == ({}, {"CPU": (6, 5)})
    assert exceeded({"a": one, "b": Group([Need({"CPU": 1})], 0)}, [SMALL, LARGE]) == ({}, {})
    assert exceeded({}, [SMALL]) == ({}, {})


def test_what_fits_on_no_node():
    """Nodes do not add up for one actor: told is what no node has, with the most there is."""
    large = Group([Need({"CPU": 5})], 1)
    assert exceeded({"a": large}, [SMALL, LARGE]) == ({"a": {"CPU": (5, 4)}}, {})
    labelled = Group([Need({"CPU": 1}, ({"zone": "c"},))], 1)
    assert exceeded({"a": labelled}, [SMALL, LARGE])[0] == {"a": {"node with zone=c": (1, 0)}}
    bundles = [Need({"CPU": 2}), Need({"CPU": 2})]
    assert exceeded({"a": Group(bundles, 1)}, [LARGE]) == ({}, {})
    apart, _ = exceeded({"a": Group(bundles, 1, apart=True)}, [LARGE])
    assert apart == {"a": {"node (bundle 1)": (1, 0)}}
    assert exceeded({"a": Group([], 1)}, []) == ({}, {})
