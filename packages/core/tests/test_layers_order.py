"""The order of layers: by stage, then by plugin name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte import _core_plugin
from alacarte.errors import PluginError
from alacarte.layers import STAGES, order_layers, order_stages
from alacarte.types import LayerStage, StagedLayer


def layer(name):
    def wrap(service):
        return service

    wrap.__name__ = name
    return wrap


def names(staged):
    return [each.layer.__name__ for each in staged]


def test_an_authentication_stands_outside_a_cache_whatever_its_name():
    """The stage precedes the name of the plugin."""
    given = [
        ("acache", StagedLayer("cache", layer("cache"))),
        ("zauth", StagedLayer("authentication", layer("auth"))),
    ]
    assert names(order_layers(given, STAGES)) == ["auth", "cache"]


def test_layers_without_a_stage_are_innermost_by_plugin_name():
    """A layer without a stage is innermost, as with the stage ""."""
    given = [
        ("b", layer("b")),
        ("a", StagedLayer("", layer("a"))),
        ("c", StagedLayer("observation", layer("c"))),
    ]
    assert names(order_layers(given, STAGES)) == ["c", "a", "b"]


@given(st.permutations(range(8)))
def test_the_order_does_not_depend_on_the_order_of_asking(order):
    """The order depends on stages and plugin names only."""
    all_layers = [
        (f"p{n}", StagedLayer([*STAGES, ""][n % 5], layer(f"{n % 5}{n}"))) for n in range(8)
    ]
    ordered = names(order_layers([all_layers[place] for place in order], STAGES))
    assert ordered == sorted(ordered)


def test_an_unknown_stage_is_refused_with_the_plugins_name():
    """An unknown stage is refused, with the plugin's name."""
    with pytest.raises(
        PluginError, match="plugin p returned a layer with the unknown stage 'chache'"
    ):
        order_layers([("p", StagedLayer("chache", layer("x")))], STAGES)


def test_added_stages_follow_their_neighbours():
    """A stage may follow an added stage; stages with equal `after` are ordered by name."""
    added = [
        LayerStage("b", after="limits"),
        LayerStage("a", after="limits"),
        LayerStage("c", after="a"),
    ]
    assert order_stages(added) == (
        "authentication", "limits", "a", "c", "b", "cache", "observation",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (LayerStage("x", after="nothing"), "'x' after 'nothing'"),
        (LayerStage("x", after="x"), "'x' after 'x'"),
        (LayerStage("cache", after="limits"), "'cache' exists already"),
    ],
)
def test_a_stage_that_has_no_place_is_refused(stage, words):
    """The error names the stage."""
    with pytest.raises(PluginError, match=words):
        order_stages([stage])


def test_deadlines_are_kept_inside_of_what_observes():
    """Deadlines are inside of observation, so observers see calls that exceed them."""
    assert order_stages(_core_plugin.register_layer_stages()) == (*STAGES, "deadline")
