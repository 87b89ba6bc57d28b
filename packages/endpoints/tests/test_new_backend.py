from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from alacarte import serve
from alacarte.errors import ConfigError
from alacarte_endpoints import BackendConfig, CondaEnv, accept_batch
from alacarte_endpoints._new_backend import new_backend
from alacarte_endpoints.kinds import BackendSpec


def answer(request: Any) -> str:
    return "yes"


@accept_batch
def answers(requests: list[Any]) -> list[str]:
    return ["yes"] * len(requests)


class Model:
    def __init__(self, size: int = 0) -> None:
        self.size = size

    def __call__(self, request: Any) -> int:
        return self.size


class Tunable(Model):
    def reconfigure(self, config: Any) -> None:
        self.size = config


@serve.deployment
def deployed(request: Any) -> None: ...


def make(target: Any, *args: Any, **given: Any) -> BackendSpec:
    tag, options, env = given.pop("tag", "b"), given.pop("options", None), given.pop("env", None)
    return new_backend(tag, target, args, options, BackendConfig(**given), env)


def test_actor_options() -> None:
    """Actor options are the deployment's; the default is one CPU per replica."""
    assert make(answer).deployment.config.ray_actor_options.num_cpus == 1
    options = make(answer, options={"num_cpus": 0.5, "num_gpus": None, "resources": {"x": 1}})
    assert options.deployment.config.ray_actor_options.needs == {"CPU": 0.5, "x": 1.0}


def test_a_conda_environment() -> None:
    """A conda environment is added to the runtime environment."""
    spec = make(answer, env=CondaEnv("torch"), options={"runtime_env": {"env_vars": {"A": "1"}}})
    assert spec.deployment.config.ray_actor_options.runtime_env == {
        "conda": "torch",
        "env_vars": {"A": "1"},
    }
    with pytest.raises(ConfigError, match="exclude each other"):
        make(answer, env=CondaEnv("torch"), options={"runtime_env": {"conda": "jax"}})


def test_the_same_backend_again() -> None:
    """The version depends on code and arguments, not on options."""
    assert make(Model, 1).deployment.version == make(Model, 1, num_replicas=2).deployment.version
    assert make(Model, 1).deployment.version != make(Model, 2).deployment.version


@pytest.mark.parametrize(
    ("target", "args", "given", "message"),
    [
        (3, (), {}, "backend 'b': pass a class or a function, not 3"),
        (Model(), (), {}, "pass a class or a function"),
        (deployed, (), {}, "is a deployment; pass its func_or_class"),
        (answer, (), {"tag": 3}, "a backend's tag must be a string, not 3"),
        (answer, (), {"options": [1]}, "ray_actor_options must be a dict"),
        (answer, (), {"options": {"num_cpus": "2"}}, "num_cpus must be a number, not '2'"),
        (answer, (), {"options": {"memory": True}}, "memory must be a number"),
        (answer, (), {"env": "torch"}, "env must be a serve.CondaEnv, not 'torch'"),
    ],
)
def test_of_the_wrong_kind(
    target: Any, args: tuple[Any, ...], given: dict[str, Any], message: str
) -> None:
    """Arguments of a wrong type are a TypeError with the expected type."""
    with pytest.raises(TypeError, match=message):
        make(target, *args, **given)


@pytest.mark.parametrize(
    ("target", "args", "given", "message"),
    [
        (answer, (1,), {}, "backend 'b': constructor arguments require a class"),
        (answer, (), {"tag": ""}, "a backend's tag must not be empty"),
        (answer, (), {"tag": "a#b"}, 'must not contain "#"'),
        (answer, (), {"max_batch_size": 2}, "max_batch_size=2 needs .* @serve.accept_batch"),
        (answer, (), {"user_config": 1}, "user_config needs a class with a method"),
        (Model, (), {"user_config": 1}, "user_config needs a class with a method"),
        (answer, (), {"options": {"num_cpus": -1}}, "num_cpus=-1 must be greater"),
        (answer, (), {"options": {"lifetime": "detached"}}, "lifetime is not an option"),
        (answer, (), {"options": {"placement_group": None}}, "placement_group is not an option"),
        (Model, (open,), {"options": {"max_restarts": 1}}, "max_restarts is not an option"),
        (Model, ((i for i in ()),), {}, "cannot be sent to replicas"),
    ],
)
def test_not_allowed(
    target: Any, args: tuple[Any, ...], given: dict[str, Any], message: str
) -> None:
    """Invalid values are a ConfigError with the remedy."""
    with pytest.raises(ValueError, match=message) as caught:
        make(target, *args, **given)
    assert isinstance(caught.value, ConfigError)


def test_a_size_of_one_is_no_batch() -> None:
    """Valid combinations of options and code are accepted."""
    make(answer, max_batch_size=1)
    assert make(Tunable, user_config=3).traits.reconfigures


@pytest.mark.skipif(
    importlib.util.find_spec("alacarte_batching") is not None,
    reason="alacarte-batching is installed; nox -s tests runs without",
)
def test_batches_need_their_package(client: Any) -> None:
    """Without alacarte-batching, a batched backend is refused at once."""
    with pytest.raises(ImportError, match="alacarte-batching, which is not installed"):
        client.create_backend("b", answers)
    assert client.list_backends() == {}
