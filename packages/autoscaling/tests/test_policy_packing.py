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
    """The config that the controller unpickles holds a name; the code is loaded elsewhere."""
    spec = spec_of(policy)
    assert ":" in code_of(spec).name
    arrived = loaded(pickle.loads(pickle.dumps(spec)))
    assert callable(arrived)
    assert type(arrived).__name__ == type(policy).__name__


def test_arguments_stay_in_the_config():
    """`policy_kwargs` are plain values, which the controller may compare."""
    spec = spec_of(Times, factor=5)
    assert policy_of(spec)["policy_kwargs"] == {"factor": 5}


@pytest.mark.parametrize("path", ["statistics:mean", "statistics.mean"])
def test_an_import_path_is_imported_here(path: str):
    """With a colon or dots only; what it names is sent, so a misspelling is found at once."""
    import statistics

    spec = spec_of(path)
    assert loaded(spec) is statistics.mean
    assert code_of(spec).name == "statistics:mean"


def test_a_name_stays_a_name():
    """What a plugin gives needs no code; nor does what does not scale."""
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
    """In the user's program, naming the deployment."""
    with pytest.raises(ConfigError, match=message):
        spec_of(policy, **kwargs)


def test_what_does_not_pickle_is_refused():
    """With the reason, in the user's program."""
    import threading

    lock = threading.Lock()

    def locked(context: Any) -> int:
        with lock:
            return 1

    with pytest.raises(ConfigError, match="locked, which is given .* cannot be sent .*lock"):
        spec_of(locked)


def test_values_are_checked():
    """Like all options: kind of the policy, and arguments that are JSON-able."""
    with pytest.raises(ConfigError, match="policy_kwargs"):
        spec_of(Times, factor=object())
    with pytest.raises(ConfigError, match="policy_function"):
        spec_of(5)


def test_a_config_is_split():
    """What is compared, stored and shown holds the policy's name; the code is apart."""
    config = AutoscalingConfig(max_replicas=3)
    assert split_policy(config) == (config, None)
    code = UserCode("m:f", b"code")
    named, found = split_policy(
        config.model_copy(update={"policy": AutoscalingPolicy(policy_function=code)})
    )
    assert found is code
    assert named.policy.policy_function == "m:f"


def test_the_option_stays_in_the_controller():
    """Neither replicas nor callers get the option, so a change of it reaches none of them."""
    spec = spec_of(half)
    assert spec.options == {}
    assert set(spec.all_options) == {"autoscaling"}
