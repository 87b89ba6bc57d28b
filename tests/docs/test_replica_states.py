"""The page "How it works" shows the states of a replica as the code has them."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT, blocks

from alacarte._control.lifecycle import TRANSITIONS, ReplicaEvent
from alacarte.status import ReplicaState

PAGE = ROOT / "docs" / "how-it-works.md"
Transition = tuple[ReplicaState, ReplicaEvent, ReplicaState]
ALL = {(state, event, after) for (state, event), after in TRANSITIONS.items()}


def transition(state: str, event: str, after: str) -> Transition:
    return ReplicaState[state], ReplicaEvent[event.upper()], ReplicaState[after]


def test_table_has_each_transition():
    """The table is the code's, row by row."""
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| (\w+).* \| `([A-Z_]+)` \|$", PAGE.read_text("utf-8"), re.M
    )
    assert {transition(*row) for row in rows} == ALL
    assert len(rows) == len(ALL)


def test_picture_has_the_transitions_of_a_healthy_life():
    """The picture leaves out what the page says it leaves out, and nothing else."""
    [picture] = [block.text for block in blocks(PAGE) if block.language == "{diagram} states"]
    arrows = re.findall(r"^(\w+) -> (\w+): (\w+)$", picture, re.M)
    drawn = {transition(state, event, after) for state, after, event in arrows}
    ends = {ReplicaEvent.DIED, ReplicaEvent.DRAIN, ReplicaEvent.FAILED}
    running = ReplicaState.RUNNING
    drain = (running, ReplicaEvent.DRAIN, ReplicaState.STOPPING)
    assert drawn == {
        each for each in ALL if each == drain or (each[1] not in ends and each[0] is not each[2])
    }
