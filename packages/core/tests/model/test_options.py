"""Options: every refusal names the deployment, the option, the value and what is allowed."""

import pytest

from alacarte import _plugins
from alacarte import plugins as process_plugins
from alacarte._model.deployment import deployment
from alacarte._model.options import ALLOWED, UNSUPPORTED, DeploymentOptions
from alacarte._plugins import FIRST_PARTY_OPTIONS
from alacarte.config import DeploymentConfig
from alacarte.errors import ConfigError, PluginError


class Resize:
    pass


def make(**options):
    return deployment(name="resize", **options)(Resize)


def refusal(**options):
    with pytest.raises(ConfigError) as caught:
        make(**options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"max_ongoing_requests": 0},
            "resize: max_ongoing_requests=0 must be greater than or equal to 1",
        ),
        (
            {"max_ongoing_requests": None},
            "resize: max_ongoing_requests=None must be a valid integer",
        ),
        ({"num_replicas": 0}, "resize: num_replicas=0 must be greater than or equal to 1"),
        ({"num_replicas": "many"}, "resize: num_replicas='many' must be a number or \"auto\""),
        (
            {"max_queued_requests": 0},
            "resize: max_queued_requests=0 must be -1 (no bound) or at least 1",
        ),
        (
            {"max_replicas_per_node": 101},
            "resize: max_replicas_per_node=101 must be less than or equal to 100",
        ),
        (
            {"graceful_shutdown_timeout_s": -1},
            "resize: graceful_shutdown_timeout_s=-1 must be greater than or equal to 0",
        ),
        (
            {"health_check_period_s": 0},
            "resize: health_check_period_s=0 must be greater than 0",
        ),
        (
            {"user_config": {1, 2}},
            (
                "resize: user_config={1, 2} must be JSON-able: "
                "Object of type set is not JSON serializable"
            ),
        ),
        (
            {"ray_actor_options": {"num_gpus": -1}},
            "resize: ray_actor_options.num_gpus=-1 must be greater than or equal to 0",
        ),
        (
            {"ray_actor_options": {"num_cpu": 1}},
            (
                "resize: ray_actor_options.num_cpu is not an option; allowed: num_cpus, "
                "num_gpus, memory, resources, accelerator_type, runtime_env, label_selector, "
                "fallback_strategy"
            ),
        ),
        (
            {"ray_actor_options": {"num_gpus": 1.5}},
            "resize: ray_actor_options.num_gpus=1.5 must be at most 1, or a whole number",
        ),
        (
            {"ray_actor_options": {"resources": {"tpu": 0.00001}}},
            "resize: ray_actor_options.resources.tpu=1e-05 must be 0 or at least 0.0001",
        ),
        (
            {"ray_actor_options": {"resources": {"GPU": 1}}},
            (
                "resize: ray_actor_options.resources={'GPU': 1} must hold custom resources only: "
                "GPU is the option num_gpus"
            ),
        ),
        (
            {"placement": "tight"},
            "resize: placement='tight' must be 'spread' or 'pack'",
        ),
        (
            {"placement_group_strategy": "PACK"},
            "resize: placement_group_strategy requires placement_group_bundles",
        ),
        (
            {"placement_group_bundle_label_selector": [{"zone": "a"}]},
            "resize: placement_group_bundle_label_selector requires placement_group_bundles",
        ),
        (
            {"placement_group_bundles": [{"CPU": 1}], "placement_group_strategy": "LOOSE"},
            (
                "resize: placement_group_strategy='LOOSE' must be 'PACK', 'SPREAD', 'STRICT_PACK' "
                "or 'STRICT_SPREAD'"
            ),
        ),
        (
            {"placement_group_bundles": [{"CPU": 1}, {"GPU": 0}]},
            (
                "resize: placement_group_bundles=[{'CPU': 1}, {'GPU': 0}] must reserve "
                "resources in every bundle; bundle 1 is empty"
            ),
        ),
        (
            {"placement_group_bundles": [{"CPU": 1}], "max_replicas_per_node": 2},
            (
                "resize: max_replicas_per_node and placement_group_bundles exclude each other; "
                "limit the replicas per node with a custom resource in the first bundle"
            ),
        ),
        (
            {
                "placement_group_bundles": [{"CPU": 1}] * 3,
                "placement_group_bundle_label_selector": [{"zone": "a"}, {"zone": "b"}],
            },
            (
                "resize: placement_group_bundle_label_selector holds 2 selectors for 3 bundles; "
                "give one for all, or one for each"
            ),
        ),
        (
            {
                "placement_group_bundles": [{"CPU": 1}, {"GPU": 4}],
                "ray_actor_options": {"num_gpus": 1},
            },
            (
                "resize: ray_actor_options reserves GPU=1, but the replica runs in the first of "
                "placement_group_bundles, which has 0; lower the option (num_cpus is 1 by "
                "default), or enlarge the bundle"
            ),
        ),
        (
            {"version": "v1"},
            "resize: version is not an option; alacarte derives it from code and arguments",
        ),
    ],
)
def test_refused_values(options, message):
    """A value that is not allowed is refused in one line that says what is."""
    assert refusal(**options) == message


@pytest.mark.parametrize("option", ["num_replicas", "max_ongoing_requests", "max_queued_requests"])
def test_numbers_as_text(option):
    """Numbers may be strings, as from the command line: `num_replicas=3`."""
    given = make(**{option: "3", "health_check_period_s": "0.5", "max_surge_percent": "50"})
    assert getattr(given.config, option) == 3
    assert (given.config.health_check_period_s, given.config.max_surge_percent) == (0.5, 50)
    assert getattr(given.options(**{option: "4"}).config, option) == 4


def test_numbers_as_text_inside_of_options():
    """Numbers in actor options may be strings, too."""
    given = make(ray_actor_options={"num_cpus": "0.5"})
    assert given.config.ray_actor_options.num_cpus == 0.5


@pytest.mark.parametrize("text", ["1.5", "", "nan", "inf", "Auto", "three"])
def test_text_that_is_no_number_of_replicas(text):
    """The refusal says what is allowed."""
    assert refusal(num_replicas=text) == (
        f'resize: num_replicas={text!r} must be a number or "auto"'
    )


def test_several_wrong_values_are_all_named():
    """One error lists everything that is wrong."""
    message = refusal(max_ongoing_requests=0, health_check_period_s=-1)
    assert "max_ongoing_requests=0" in message
    assert "health_check_period_s=-1" in message


def test_long_values_are_shortened():
    """A large value does not fill the screen."""
    assert len(refusal(user_config={"key": {*range(10_000)}})) < 200


def test_config_error_is_a_value_error():
    """Programs written for Ray Serve catch ValueError."""
    with pytest.raises(ValueError, match="num_replicas=0"):
        make(num_replicas=0)


@pytest.mark.parametrize("option", UNSUPPORTED)
def test_unsupported_options_are_refused(option):
    """An option of Ray Serve's that alacarte lacks is refused by name, never ignored."""
    message = refusal(**{option: {"anything": 1}})
    assert message.startswith(f"resize: {option} is not supported yet; ")
    assert "allowed: name, num_replicas, " in message
    with pytest.raises(ConfigError, match=option):
        make().options(**{option: 1})


@pytest.mark.parametrize("option", UNSUPPORTED)
def test_unsupported_options_may_be_none(option):
    """An unsupported option may be None, Ray Serve's default."""
    assert repr(make(**{option: None})) == repr(make())


def test_custom_routers_are_pointed_to_policies():
    """The error for Ray Serve's router option names `routing_policy`."""
    assert "routing_policy" in refusal(request_router_config={})


def test_unknown_option():
    """An unknown option raises a TypeError that lists the allowed options."""
    with pytest.raises(TypeError, match=r"not an option \(did you mean num_replicas\?\); allowed"):
        make(replicas=2)
    with pytest.raises(TypeError, match="resize: lifespan is not an option; allowed: name, num_"):
        make(lifespan=2)
    with pytest.raises(TypeError, match="replicas is not an option"):
        make().options(replicas=2)


def test_every_config_field_is_an_option():
    """Options and config do not drift apart."""
    assert set(ALLOWED) - {"name"} == set(DeploymentConfig.model_fields)


@pytest.mark.parametrize("name", ["a#b", ""])
def test_bad_names(name):
    """A name must not be empty nor contain the separator of ids."""
    with pytest.raises(ConfigError, match="deployment name .*must not (be empty|contain)"):
        deployment(name=name)(Resize)


@pytest.mark.parametrize("name", [5, None])
def test_name_must_be_a_string(name):
    """Other types are a TypeError."""
    with pytest.raises(TypeError, match="name must be a string"):
        deployment(name=name)(Resize)


def test_num_replicas_none_is_unset():
    """None leaves the number as it was."""
    assert make(num_replicas=None).num_replicas == 1
    assert make(num_replicas=3).options(num_replicas=None).num_replicas == 3


def test_none_options_of_the_actor_are_unset():
    """`ray_actor_options=None` is Ray Serve's default."""
    assert make(ray_actor_options=None).ray_actor_options == {"num_cpus": 1.0}


def test_routing_policy_is_ours():
    """The option Ray Serve lacks is accepted."""
    config = make(routing_policy="sticky").config
    assert (config.policy_name, config.policy_parameters) == ("sticky", {})


def test_routing_policy_with_parameters():
    """A dict has the policy's name and its parameters."""
    config = make(routing_policy={"name": "sticky", "size": 3}).config
    assert (config.policy_name, config.policy_parameters) == ("sticky", {"size": 3})
    assert 'must be a name, or a dict with the policy\'s "name"' in refusal(
        routing_policy={"size": 3}
    )
    assert "JSON-able" in refusal(routing_policy={"name": "sticky", "size": object()})


def test_one_label_selector_is_for_all_bundles():
    """One selector stands for every bundle; without any, there is none."""
    bundles = [{"CPU": 1}, {"CPU": 2}]
    one = make(
        placement_group_bundles=bundles, placement_group_bundle_label_selector=[{"zone": "a"}]
    )
    assert one.config.bundle_labels == ({"zone": "a"}, {"zone": "a"})
    assert make(placement_group_bundles=bundles).config.bundle_labels == ()


def test_the_needs_of_a_replica():
    """A replica's needs have Ray's names of resources, without zeros."""
    options = {"num_cpus": 0, "num_gpus": 0.5, "memory": 7, "resources": {"tpu": 2, "x": 0}}
    needs = make(ray_actor_options=options).config.ray_actor_options.needs
    assert needs == {"GPU": 0.5, "memory": 7, "tpu": 2}
    assert make().config.ray_actor_options.needs == {"CPU": 1}


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"num_replicas": "auto"}, 'num_replicas="auto"'),
        ({"autoscaling_config": {"max_replicas": 3}}, "the option autoscaling_config"),
        ({"num_replicas": "auto", "autoscaling_config": {}}, "the option autoscaling_config"),
    ],
)
def test_without_autoscaling_the_package_is_named(monkeypatch, options, what):
    """Without an autoscaling plugin, the error names the package to install."""
    core = [record for record in _plugins.discover() if record.name == "core"]
    only_core = _plugins.load(core)
    monkeypatch.setattr(process_plugins, "load_plugins", lambda: only_core)
    with pytest.raises(PluginError) as caught:
        make(**options)
    assert str(caught.value).startswith(f"resize: {what} needs the package")
    assert "pip install alacarte-autoscaling" in str(caught.value)


def test_the_typed_signature_has_first_party_options():
    """The typed options are core's and the first-party packages'."""
    typed = frozenset(DeploymentOptions.__annotations__)
    assert typed - {*ALLOWED} == FIRST_PARTY_OPTIONS
