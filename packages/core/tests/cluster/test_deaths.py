"""Causes of an actor's death, from Ray's error messages."""

from __future__ import annotations

import pytest

from alacarte._cluster.deaths import cause_of_death, is_unexplained

HEAD = "The actor died unexpectedly before finishing this task.\n\tclass_name: P\n\tpid: 7\n"
GONE = (
    f"{HEAD}The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR "
    "Worker exit detail: Worker unexpectedly exits with a connection error code 2. End of file. "
    "Some common causes include: (1) the process was killed by the OOM killer"
)
USER_EXIT = (
    f"{HEAD}The actor is dead because its worker process has died. Worker exit type: "
    "INTENDED_USER_EXIT Worker exit detail: Worker exits by a user request."
)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (GONE, "its process ended, and Ray does not know how"),
        (f"{HEAD}The actor is dead because it was killed by `ray.kill`.", "it was killed by `ray"),
        (USER_EXIT, "Worker exits by a user request."),
        ("The actor died because its node has died. Node Id: 1f\n\tmore", "The actor died because"),
        ("", "it died, and Ray gives no reason"),
    ],
)
def test_causes(text: str, cause: str):
    """The cause is the one sentence that states it, without Ray's guesses and internal names."""
    assert cause_of_death(text).startswith(cause)


def test_what_ray_does_not_explain():
    """A death is unexplained where Ray has seen no more than the end of a connection."""
    assert is_unexplained(GONE)
    assert not is_unexplained(f"{HEAD}The actor is dead because it was killed by `ray.kill`.")
