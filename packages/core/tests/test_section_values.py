"""Configuration: where values come from, who wins, and what a mistake looks like."""

from __future__ import annotations

import sys
import types

import pydantic
import pytest

from alacarte import _plugins
from alacarte._plugins import PluginRecord, Plugins
from alacarte._section_values import SectionValues, keyword_of, resolve
from alacarte.config import ClusterOptions
from alacarte.errors import ConfigError, PluginError
from alacarte.hookspecs import hookimpl
from alacarte.types import ConfigSection


class CacheOptions(pydantic.BaseModel):
    """A section of a stranger's."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    size: int = pydantic.Field(10, ge=1)
    policy: str = "lru"
    shares: dict[str, int] = {}
    hosts: list[str] | None = None


REST = {"shares": {}, "hosts": None}


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    module = types.ModuleType("cache_of_tests")
    module.CacheOptions = CacheOptions  # type: ignore[attr-defined]

    @hookimpl
    def register_config() -> list[ConfigSection]:
        return [ConfigSection("cache", "cache_of_tests:CacheOptions")]

    module.register_config = register_config  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    core = [record for record in _plugins.discover() if record.name == "core"]
    return _plugins.load([*core, PluginRecord("cache", "cache_of_tests")], strict=True)


def test_defaults(plugins: Plugins):
    """Every section is there, as plain values."""
    found = resolve(plugins, {}, {})
    assert found["cache"] == {"size": 10, "policy": "lru", **REST}
    assert found["cluster"] == ClusterOptions().model_dump()


def test_the_environment_wins_over_defaults(plugins: Plugins):
    """`ALACARTE_<SECTION>__<FIELD>`, as text; other names are nobody's business."""
    environment = {
        "ALACARTE_CACHE__SIZE": "20",
        "ALACARTE_CACHE": "x",
        "ALACARTE_CLUSTER": "local",
        "ALACARTE_CACHED__SIZE": "30",
        "CACHE__SIZE": "40",
    }
    assert resolve(plugins, {}, environment)["cache"] == {"size": 20, "policy": "lru", **REST}


def test_objects_and_arrays_come_from_the_environment_as_json(plugins: Plugins):
    """A field of strings gets the text as it is."""
    environment = {
        "ALACARTE_CACHE__SHARES": ' {"a": 1}',
        "ALACARTE_CACHE__HOSTS": '["x", "y"]',
        "ALACARTE_CACHE__POLICY": "{lru}",
    }
    found = resolve(plugins, {}, environment)["cache"]
    assert (found["shares"], found["hosts"], found["policy"]) == ({"a": 1}, ["x", "y"], "{lru}")


def test_json_that_is_none_names_the_variable_and_not_its_value(plugins: Plugins):
    """The value may be a secret."""
    with pytest.raises(ConfigError, match="ALACARTE_CACHE__SHARES is not JSON") as caught:
        resolve(plugins, {}, {"ALACARTE_CACHE__SHARES": "{'hidden': 1}"})
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("given", [{"size": 30}, CacheOptions(size=30)])
def test_arguments_win_over_the_environment(plugins: Plugins, given: object):
    """A dict or the section's model, and only for the fields that are set in it."""
    environment = {"ALACARTE_CACHE__SIZE": "20", "ALACARTE_CACHE__POLICY": "fifo"}
    found = resolve(plugins, {"cache_options": given}, environment)
    assert found["cache"] == {"size": 30, "policy": "fifo", **REST}


def test_a_default_that_was_written_out_wins_too(plugins: Plugins):
    """What the user says is said, even where it equals the default."""
    environment = {"ALACARTE_CACHE__SIZE": "20"}
    found = resolve(plugins, {"cache_options": CacheOptions(size=10)}, environment)
    assert found["cache"]["size"] == 10


def test_none_is_not_given(plugins: Plugins):
    """`http_options=None` stands for nothing said, whether or not the package is there."""
    found = resolve(plugins, {"cache_options": None, "http_options": None}, {})
    assert found["cache"]["size"] == 10


def test_a_section_of_a_package_that_is_not_installed(plugins: Plugins):
    """The error says what to install; one that nobody gives says so."""
    told = r"serve\.start\(http_options=.*pip install alacarte-http"
    with pytest.raises(PluginError, match=told):
        resolve(plugins, {"http_options": {"port": 1}}, {})
    with pytest.raises(PluginError, match="no installed plugin provides 'typo_options'"):
        resolve(plugins, {"typo_options": {}}, {})


@pytest.mark.parametrize(
    ("given", "environment", "told"),
    [
        (
            {"sise": 3},
            {},
            r"cache_options: sise is not an option; allowed: size, policy, shares",
        ),
        ({"size": 0}, {}, r"cache_options: size=0 must be greater than or equal to 1"),
        ({"size": "many"}, {}, r"cache_options: size='many' must be a valid integer"),
        ({}, {"ALACARTE_CACHE__SIZE": "x"}, r"cache_options: size='x'"),
        (
            {},
            {"ALACARTE_CACHE__SISE": "3"},
            r"sise is not an option; allowed: size, policy, shares",
        ),
        (7, {}, r"cache_options must be a dict or the section's model, not 7"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    plugins: Plugins, given: object, environment: dict[str, str], told: str
):
    """The argument, the field and the value come first; for a misspelt field, what there is."""
    with pytest.raises(ConfigError, match=told) as caught:
        resolve(plugins, {"cache_options": given}, environment)
    assert "\n" not in str(caught.value)


def test_the_argument_of_a_section():
    """`<name>_options`, unless the section says otherwise."""
    assert keyword_of(ConfigSection("cache", "m:C")) == "cache_options"
    assert keyword_of(ConfigSection("cache", "m:C", keyword="caching")) == "caching"


def test_sections_of_a_running_instance(plugins: Plugins):
    """Other processes build a section's model from plain values, once, when asked."""
    config = SectionValues(plugins, {"cache": {"size": 3}})
    assert config.section("cache") == CacheOptions(size=3)
    assert config.section("cache") is config.section("cache")
    with pytest.raises(ConfigError, match=r"section 'http'; there are \['cache', 'cluster'\]"):
        config.section("http")


def test_the_foreground_has_defaults_of_its_own(plugins: Plugins):
    """A section may have other defaults where somebody watches; all that is chosen wins."""
    plugins.config_sections["cache"] = ConfigSection(
        "cache", "cache_of_tests:CacheOptions", foreground={"policy": "shown"}
    )

    def policy(given: dict[str, str], environment: dict[str, str], *, foreground: bool) -> str:
        options = {"cache_options": given}
        found = resolve(plugins, options, environment, foreground=foreground)
        return str(found["cache"]["policy"])

    assert policy({}, {}, foreground=False) == "lru"
    assert policy({}, {}, foreground=True) == "shown"
    assert policy({}, {"ALACARTE_CACHE__POLICY": "fifo"}, foreground=True) == "fifo"
    assert policy({"policy": "lfu"}, {}, foreground=True) == "lfu"
