"""Options of deployments that callers get, and the limit for their size."""

from __future__ import annotations

from typing import Any

import pytest

from alacarte._model.caller_options import (
    MAX_CALLER_OPTIONS_BYTES,
    caller_options,
    check_caller_options,
)
from alacarte._model.deployment_spec import DeploymentSpec
from alacarte._model.sizes import check_size
from alacarte.config import DeploymentConfig
from alacarte.errors import ConfigError
from alacarte.types import ConfigSection, DeploymentId, UserCode

SECTIONS = {
    "cache": ConfigSection("cache", "a:B", scope="deployment"),
    "inner": ConfigSection("inner", "a:B", scope="deployment", visible_to="replicas"),
}
CODE = UserCode("shop:key", b"code")


def spec(**options: Any) -> DeploymentSpec:
    me = DeploymentId("a", "x")
    return DeploymentSpec(me, "v1", b"", b"", False, DeploymentConfig(), options=options)


@pytest.mark.parametrize("wrap", [list, tuple, set, frozenset, lambda codes: {"k": codes[0]}])
def test_callers_see_no_code(wrap: Any):
    """Callers' options have no code at any depth; the spec keeps the code."""
    given = spec(cache={"keys": wrap([CODE]), "ttl_s": 5})
    bare = CODE.without_code()
    assert caller_options(given, SECTIONS) == {"cache": {"keys": wrap([bare]), "ttl_s": 5}}
    assert (bare.code, bare.digest) == (b"", CODE.digest)
    assert given.options["cache"]["keys"] == wrap([CODE])


def test_callers_do_not_get_options_of_replicas_alone():
    """Callers get no option with `visible_to="replicas"`, but options of unknown sections."""
    given = spec(cache=1, inner=2, other=3)
    assert caller_options(given, SECTIONS) == {"cache": 1, "other": 3}


def test_options_that_callers_see_are_small():
    """The error names the deployment, the section, and the limit; code does not count."""
    large = "x" * MAX_CALLER_OPTIONS_BYTES
    code = UserCode("shop:key", large.encode())
    check_caller_options(spec(cache=code, inner=large), SECTIONS)
    with pytest.raises(ConfigError, match=r"a#x: .* take 64.1 KiB, 64.0 KiB of them .* 'cache'"):
        check_caller_options(spec(cache=large, other="x" * 99), SECTIONS)


def test_code_in_options_counts_as_the_deployments_code():
    """Code in options counts for the size limit of a deployment's code."""
    given = spec(cache=UserCode("shop:key", b"x" * 2 * 1024**2))
    check_size(given, 2 * 1024**2)
    with pytest.raises(ConfigError, match=r"2.0 MiB, most of it the code; the limit is 1.0 MiB"):
        check_size(given, 1024**2)
