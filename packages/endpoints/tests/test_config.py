from __future__ import annotations

import pickle
from typing import Any

import pytest

from alacarte.errors import ConfigError
from alacarte_endpoints import BackendConfig
from alacarte_endpoints.config import read_config


def test_defaults() -> None:
    """The defaults are one replica, no batches and no wait, as in old programs."""
    config = BackendConfig()
    assert config.num_replicas == 1
    assert config.max_batch_size is None
    assert config.batch_wait_timeout == 0
    assert config.max_concurrent_queries is None
    assert config.user_config is None


@pytest.mark.parametrize(
    ("options", "is_async", "expected"),
    [
        ({}, False, 8),
        ({}, True, 100),
        ({"max_batch_size": 10}, False, 20),
        ({"max_batch_size": 10}, True, 100),
        ({"max_batch_size": 80}, True, 160),
        ({"max_concurrent_queries": 3, "max_batch_size": 10}, False, 3),
        ({"max_concurrent_queries": 3}, True, 3),
    ],
)
def test_concurrent_queries(options: dict[str, Any], is_async: bool, expected: int) -> None:
    """The default limit of concurrent requests depends on the code and the batch size."""
    config = BackendConfig(**options)
    assert config.concurrent_queries(is_async=is_async) == expected
    assert config.deployment_options(is_async=is_async)["max_ongoing_requests"] == expected


def test_merging_keeps_what_is_not_given() -> None:
    """Only the given options change, including a given None."""
    before = BackendConfig(num_replicas=3, max_batch_size=4, max_concurrent_queries=7)
    after = before.merged(BackendConfig(max_concurrent_queries=None, batch_wait_timeout=0.5))
    assert after == BackendConfig(num_replicas=3, max_batch_size=4, batch_wait_timeout=0.5)


def test_the_rest_goes_to_the_deployment() -> None:
    """Batch options are settings of replicas; all others are options of the deployment."""
    config = BackendConfig(
        num_replicas=2,
        max_batch_size=4,
        batch_wait_timeout=0.5,
        user_config={"a": 1},
        experimental_graceful_shutdown_timeout_s=3,
    )
    options = config.deployment_options(is_async=False)
    assert options == {
        "num_replicas": 2,
        "max_ongoing_requests": 8,
        "graceful_shutdown_wait_loop_s": 2.0,
        "graceful_shutdown_timeout_s": 3.0,
        "user_config": {
            "max_batch_size": 4,
            "batch_wait_timeout_s": 0.5,
            "user_config": {"a": 1},
        },
    }


def test_a_config_is_read() -> None:
    """Options are a dict, a BackendConfig or None."""
    assert read_config("b", None) == BackendConfig()
    assert read_config("b", {"num_replicas": 2}) == BackendConfig(num_replicas=2)
    given = BackendConfig(num_replicas=2)
    assert read_config("b", given) is given
    assert pickle.loads(pickle.dumps(given)) == given


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"replicas": 2}, "backend 'b': replicas is not an option; allowed: num_replicas, "),
        ({"num_replicas": 0}, "backend 'b': num_replicas=0 must be greater than or equal to 1"),
        ({"max_concurrent_queries": 0}, "max_concurrent_queries=0 must be greater"),
        ({"user_config": {"x": float("nan")}}, "must be JSON-able"),
        ({"batch_wait_timeout": float("inf")}, "batch_wait_timeout=inf must be a finite number"),
        ({"user_config": object()}, "must be JSON-able"),
        ({"internal_metadata": {}}, "internal_metadata is not an option"),
    ],
)
def test_a_bad_option(config: dict[str, Any], message: str) -> None:
    """The error names the backend, the option and the allowed values."""
    with pytest.raises(ConfigError, match=message):
        read_config("b", config)


def test_what_is_no_config() -> None:
    """Options of another type are a TypeError, as in Ray Serve."""
    with pytest.raises(TypeError, match="backend 'b': config must be a dict"):
        read_config("b", 3)
