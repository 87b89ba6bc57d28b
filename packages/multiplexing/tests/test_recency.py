"""Which model goes to make room, against a list that says the same in a plainer way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alacarte_multiplexing._recency import Recency


class Thing:
    def __init__(self, name: str, *, in_use: bool = False) -> None:
        self.name = name
        self.in_use = in_use


STEPS = st.lists(st.tuples(st.sampled_from("abcdefg"), st.booleans()), max_size=60)


@given(limit=st.integers(-1, 5).filter(bool), steps=STEPS)
def test_the_one_asked_for_longest_ago_of_the_idle_goes(
    limit: int, steps: list[tuple[str, bool]]
) -> None:
    """The least recently used idle value is evicted, or of all values if none is idle."""
    recency: Recency[Thing] = Recency(limit)
    plain: list[Thing] = []
    for name, in_use in steps:
        held = next((thing for thing in plain if thing.name == name), None)
        assert recency.touch(name) is held
        if held is not None:
            held.in_use = in_use
            plain.remove(held)
            plain.append(held)
            continue
        expected = None
        if 0 <= limit <= len(plain):
            expected = next((thing for thing in plain if not thing.in_use), plain[0])
            plain.remove(expected)
        assert recency.make_room() is expected
        plain.append(Thing(name, in_use=in_use))
        recency.add(name, plain[-1])
        assert list(recency) == [thing.name for thing in plain]
        assert limit < 0 or len(recency) <= limit
    assert recency.clear() == plain
    assert len(recency) == 0
