from __future__ import annotations

import pickle
from typing import Any

import pytest

from alacarte import serve, user_code
from alacarte._model.deployment_spec import DeploymentSpec
from alacarte._model.graph import build_application
from alacarte.errors import ConfigError
from alacarte.types import UserCode
from alacarte_autoscaling._policy_packing import split_policy
from alacarte_autoscaling.config import AutoscalingConfig, AutoscalingPolicy


def half(context: Any) -> float:
    return context.total_num_requests / 2


class Times:
    def __init__(self, factor: int = 1) -> None:
        self.factor = factor

    def __call__(self, context: Any) -> float:
        return self.factor * context.total_num_requests


def spec_of(policy: Any, **kwargs: Any) -> DeploymentSpec:
    @serve.deployment(
        autoscaling_config={"policy": {"policy_function": policy, "policy_kwargs": kwargs}}
    )
    class D:
        pass

    return build_application(D.bind(), name="app", route_prefix=None).deployments[0]


def policy_of(spec: DeploymentSpec) -> dict[str, Any]:
    policy: dict[str, Any] = spec.scaling["autoscaling"]["policy"]
    return policy


def code_of(spec: DeploymentSpec) -> UserCode:
    code = policy_of(spec)["policy_function"]
    assert isinstance(code, UserCode)
    return code


def loaded(spec: DeploymentSpec) -> Any:
    return user_code.load(code_of(spec), "a policy")


@pytest.mark.parametrize("policy", [half, Times, Times(3), lambda context: 4])
def test_the_users_code_travels_as_bytes(policy: Any):
    """The controller gets the policy's name and code as bytes, which it does not load."""
    spec = spec_of(policy)
    assert ":" in code_of(spec).name
    arrived = loaded(pickle.loads(pickle.dumps(spec)))
    assert callable(arrived)
    assert type(arrived).__name__ == type(policy).__name__


def test_arguments_stay_in_the_config():
    """`policy_kwargs` are plain values, which the controller can compare."""
    spec = spec_of(Times, factor=5)
    assert policy_of(spec)["policy_kwargs"] == {"factor": 5}


@pytest.mark.parametrize("path", ["statistics:mean", "statistics.mean"])
def test_an_import_path_is_imported_here(path: str):
    """An import path is imported in the driver, so a misspelling fails at once."""
    import statistics

    spec = spec_of(path)
    assert loaded(spec) is statistics.mean
    assert code_of(spec).name == "statistics:mean"


def test_a_name_stays_a_name():
    """A plugin's policy, or no policy, needs no code."""
    assert policy_of(spec_of("default"))["policy_function"] == "default"
    plain = serve.deployment(Times).bind()
    [spec] = build_application(plain, name="app", route_prefix=None).deployments
    assert spec.scaling == {}


def test_the_version_is_not_the_policys():
    """Another policy restarts no replica."""
    assert spec_of(half).version == spec_of(Times).version


@pytest.mark.parametrize(
    ("policy", "kwargs", "message"),
    [
        ("nowhere.at:all", {}, r"D: policy_function='nowhere.at:all' cannot be imported"),
        ("statistics:nothing", {}, "has no attribute 'nothing'"),
        ("statistics:__name__", {}, "must be a function or a class"),
        (half, {"factor": 2}, "policy_kwargs are arguments of a class"),
    ],
)
def test_what_is_no_policy_is_refused(policy: Any, kwargs: dict[str, Any], message: str):
    """An invalid import path fails in the driver, with the deployment's name."""
    with pytest.raises(ConfigError, match=message):
        spec_of(policy, **kwargs)


def test_what_does_not_pickle_is_refused():
    """An invalid policy fails in the driver, with the reason."""
    import threading

    lock = threading.Lock()

    def locked(context: Any) -> int:
        with lock:
            return 1

    with pytest.raises(ConfigError, match="locked, the value of an option, cannot be sent .*lock"):
        spec_of(locked)


def test_values_are_checked():
    """The policy's type and its arguments are validated."""
    with pytest.raises(ConfigError, match="policy_kwargs"):
        spec_of(Times, factor=object())
    with pytest.raises(ConfigError, match="policy_function"):
        spec_of(5)


def test_a_config_is_split():
    """The stored and shown option has the policy's name without code."""
    config = AutoscalingConfig(max_replicas=3)
    assert split_policy(config) == (config, None)
    code = UserCode("m:f", b"code")
    named, found = split_policy(
        config.model_copy(update={"policy": AutoscalingPolicy(policy_function=code)})
    )
    assert found is code
    assert named.policy.policy_function == "m:f"


def test_the_option_stays_in_the_controller():
    """Replicas and callers do not get the option, so its changes do not reach them."""
    spec = spec_of(half)
    assert spec.options == {}
    assert set(spec.all_options) == {"autoscaling"}
