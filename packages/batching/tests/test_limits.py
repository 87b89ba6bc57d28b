from __future__ import annotations

import pytest

from alacarte_batching._limits import Limits


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("max_batch_size", 0, ValueError),
        ("max_batch_size", -3, ValueError),
        ("max_batch_size", 1.5, TypeError),
        ("max_batch_size", "10", TypeError),
        ("max_batch_size", None, TypeError),
        ("max_batch_size", True, TypeError),
        ("batch_wait_timeout_s", -0.1, ValueError),
        ("batch_wait_timeout_s", float("nan"), ValueError),
        ("batch_wait_timeout_s", float("inf"), ValueError),
        ("batch_wait_timeout_s", "1", TypeError),
        ("batch_wait_timeout_s", None, TypeError),
        ("max_concurrent_batches", 0, ValueError),
        ("max_concurrent_batches", 2.5, TypeError),
    ],
)
def test_bad_value_is_refused(option: str, value: object, error: type[Exception]) -> None:
    """A value of the wrong type or out of range is an error with option, value and range."""
    with pytest.raises(error, match="or more") as caught:
        Limits(**{option: value})  # type: ignore[arg-type]
    assert option in str(caught.value)
    assert repr(value) in str(caught.value)


def test_whole_float_is_a_count() -> None:
    """A count may be written as a float without a fraction, as some formats do."""
    assert Limits(max_batch_size=4.0).max_batch_size == 4


def test_refused_change_changes_nothing() -> None:
    """A setter that refuses a value keeps the old one."""
    limits = Limits(max_batch_size=4, batch_wait_timeout_s=1)
    with pytest.raises(ValueError, match="max_batch_size"):
        limits.set_max_batch_size(0)
    with pytest.raises(TypeError, match="batch_wait_timeout_s"):
        limits.set_batch_wait_timeout_s("soon")  # type: ignore[arg-type]
    assert limits.get_max_batch_size() == 4
    assert limits.get_batch_wait_timeout_s() == 1
