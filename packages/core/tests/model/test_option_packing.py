"""Plugins' options of deployments: declared, merged, refused, packed, and in the version."""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Callable
from typing import Any

import pydantic
import pytest

from alacarte import _plugins
from alacarte import plugins as process_plugins
from alacarte._model.deployment import Deployment, deployment
from alacarte._model.graph import build_application
from alacarte._plugins import PluginRecord, Plugins
from alacarte._section_values import SectionValues
from alacarte.errors import ConfigError, PluginError
from alacarte.hookspecs import hookimpl
from alacarte.types import ConfigSection, DeploymentId, DeploymentInfo, UserCode


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class CacheOptions(Strict):
    """An option with values of its own."""

    ttl_s: float = pydantic.Field(gt=0)
    size: int = 10


class Priority(pydantic.RootModel[int]):
    """An option that is one number."""

    model_config = pydantic.ConfigDict(frozen=True)


class ScorerOptions(Strict):
    """An option with code of the user's."""

    score: str | Callable[..., Any] | UserCode = "len"


def prepare_scorer(subject: str, options: ScorerOptions) -> ScorerOptions:
    """Replace a name by the function it stands for."""
    if options.score == "wrong":
        raise ConfigError(f"{subject}: no such scorer.")
    if options.score == "broken":
        raise KeyError("broken")
    return ScorerOptions(score=len) if options.score == "len" else options


SECTIONS = [
    ConfigSection("cache", "options_of_tests:CacheOptions", scope="deployment"),
    ConfigSection("cache", "options_of_tests:CacheOptions"),
    ConfigSection(
        "priority",
        "options_of_tests:Priority",
        scope="deployment",
        keyword="priority_class",
        change="new_version",
    ),
    ConfigSection(
        "scorer",
        "options_of_tests:ScorerOptions",
        scope="deployment",
        change="new_version",
        prepare="options_of_tests:prepare_scorer",
    ),
]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plugins]:
    """Make this process's plugins: core, and one that gives sections."""

    def load(*sections: ConfigSection) -> Plugins:
        module = types.ModuleType("options_of_tests")

        @hookimpl
        def register_config() -> list[ConfigSection]:
            return list(sections)

        for value in (CacheOptions, Priority, ScorerOptions, prepare_scorer, register_config):
            setattr(module, value.__name__, value)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        core = [record for record in _plugins.discover() if record.name == "core"]
        loaded = _plugins.load([*core, PluginRecord("o", "options_of_tests")], strict=True)
        monkeypatch.setattr(process_plugins, "load_plugins", lambda: loaded)
        return loaded

    return load


@pytest.fixture(autouse=True)
def plugins(load: Callable[..., Plugins]) -> Plugins:
    return load(*SECTIONS)


class Model:
    pass


def make(**options: Any) -> Deployment:
    return deployment(name="m", **options)(Model)


def spec(**options: Any) -> Any:
    [built] = build_application(make(**options).bind(), name="a", route_prefix=None).deployments
    return built


def test_an_option_is_validated_by_its_sections_model():
    """Values are those of the model, and core's own options stay what they are."""
    made = make(cache={"ttl_s": "5"}, priority_class=3, num_replicas=2)
    assert made.plugin_options == {"cache": CacheOptions(ttl_s=5.0), "priority": Priority(3)}
    assert made.num_replicas == 2
    assert make(cache=CacheOptions(ttl_s=1)).plugin_options["cache"] == CacheOptions(ttl_s=1)
    assert make(num_replicas=2).plugin_options == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache": {"ttl_s": 0}}, "m: cache.ttl_s=0 must be greater than 0"),
        ({"cache": {"ttl_s": 1, "x": 1}}, "m: cache.x is not an option; allowed: ttl_s, size"),
        (
            {"cache": 5},
            "m: cache=5 must be a valid dictionary or instance of CacheOptions",
        ),
        ({"priority_class": "high"}, "m: priority_class='high' must be a valid integer"),
    ],
)
def test_a_refusal_names_deployment_option_value_and_rule(
    options: dict[str, Any], message: str
) -> None:
    """The error for a refused value has one line, as for core's options."""
    with pytest.raises(ConfigError) as caught:
        make(**options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_an_unknown_option_lists_those_of_plugins():
    """The error for an unknown option lists the options of plugins."""
    with pytest.raises(
        TypeError, match=r"m: cach is not an option \(did you mean cache\?\); allowed: name"
    ):
        make(cach={"ttl_s": 5})


def test_an_option_of_a_package_that_is_missing_names_the_package(monkeypatch):
    """The error names the package to install."""
    monkeypatch.setattr("alacarte._plugins.FIRST_PARTY_OPTIONS", frozenset({"batch"}))
    with pytest.raises(PluginError, match="m: the option batch .* alacarte-batching"):
        make(batch={})


def test_a_plugin_may_provide_an_option_that_core_lacks(load):
    """An option of Ray Serve's that core lacks is accepted where a plugin provides it."""
    with pytest.raises(ConfigError, match="logging_config is not supported yet"):
        make(logging_config={"ttl_s": 1})
    load(
        ConfigSection(
            "log", "options_of_tests:CacheOptions", scope="deployment", keyword="logging_config"
        )
    )
    assert make(logging_config={"ttl_s": 1}).plugin_options["log"] == CacheOptions(ttl_s=1)


@pytest.mark.parametrize("keyword", ["num_replicas", "version", "other"])
def test_a_keyword_has_one_meaning(load, keyword):
    """A section may not take an option of core's, or of another section."""
    load(
        ConfigSection("other", "options_of_tests:CacheOptions", scope="deployment"),
        ConfigSection("mine", "options_of_tests:CacheOptions", scope="deployment", keyword=keyword),
    )
    with pytest.raises(PluginError, match=f"'mine' makes {keyword} an option"):
        make(anything=1)


def test_options_replaces_an_option_as_a_whole():
    """`options` replaces an option as a whole, None unsets it, and the original is unchanged."""
    first = make(cache={"ttl_s": 5, "size": 3})
    second = first.options(cache={"ttl_s": 6})
    assert second.plugin_options["cache"] == CacheOptions(ttl_s=6, size=10)
    assert second.options(num_replicas=2).plugin_options == second.plugin_options
    assert second.options(cache=None).plugin_options == {}
    assert first.plugin_options["cache"] == CacheOptions(ttl_s=5, size=3)


def test_a_dict_that_changes_later_changes_no_deployment():
    """Options are copied when they are given."""
    given = {"ttl_s": 5}
    made = make(cache=given)
    given["ttl_s"] = 6
    assert made.options(num_replicas=2).plugin_options["cache"] == CacheOptions(ttl_s=5)


def test_options_reach_plugins_in_other_processes(plugins):
    """Options are sent as plain values, and a plugin reads its section's model."""
    values = pickle.loads(pickle.dumps(spec(cache={"ttl_s": 5}).options))
    assert values == {"cache": {"ttl_s": 5.0}}
    sections = SectionValues(plugins, values, scope="deployment")
    info = DeploymentInfo(DeploymentId("a", "m"), "1", sections)
    assert info.options("cache") == CacheOptions(ttl_s=5)
    assert info.options("cache") is info.options("cache")
    assert info.options("priority") is None
    with pytest.raises(ConfigError, match="provides the deployment section 'nothing'"):
        info.options("nothing")
    assert (info.application, info.name, str(info)) == ("a", "m", "a#m")


def test_only_an_option_that_asks_for_it_makes_a_new_version():
    """A change that running processes take over replaces no replica."""
    plain = spec()
    assert spec(cache={"ttl_s": 5}).version == plain.version
    assert spec(priority_class=1).version != plain.version
    assert spec(priority_class=1).version == spec(priority_class=1).version
    assert spec(priority_class=1).version != spec(priority_class=2).version


def test_code_in_an_option_travels_as_bytes():
    """The controller unpickles no code of the user's, and the version follows the code."""

    def mine(text):
        return 1

    def other(text):
        return 2

    packed = spec(scorer={"score": mine}).options["scorer"]["score"]
    assert isinstance(packed, UserCode)
    assert packed.name.endswith("mine")
    assert pickle.loads(packed.code)("x") == 1
    assert spec(scorer={"score": mine}).version != spec(scorer={"score": other}).version


def test_a_section_prepares_its_model_when_the_application_is_built():
    """`prepare` runs in the driver; its ConfigError passes, and other errors name the section."""
    packed = spec(scorer={"score": "len"}).options["scorer"]["score"]
    assert pickle.loads(packed.code) is len
    with pytest.raises(ConfigError, match="m: no such scorer"):
        spec(scorer={"score": "wrong"})
    with pytest.raises(ConfigError, match="m: scorer could not be prepared: KeyError: 'broken'"):
        spec(scorer={"score": "broken"})


def test_code_that_does_not_pickle_is_refused_with_its_name():
    """The error names the function, not the pickler's inside."""
    import threading

    lock = threading.Lock()

    def mine(text):
        return lock

    with pytest.raises(ConfigError, match="mine, the value of an option, cannot be sent"):
        spec(scorer={"score": mine})
