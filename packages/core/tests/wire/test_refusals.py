"""Strangers cannot fill the log."""

import re

from alacarte._wire.frames import Kind
from alacarte._wire.refusals import MAX_LINES

from .support import ask, echo, frame, on_both_loops, until, warnings_of


@on_both_loops
async def test_a_flood_of_strangers(wire, caplog):
    """The first refusals of a second are logged, the others counted; then it starts again."""
    count = 5 * MAX_LINES
    desk = await wire.listen(echo)
    for _ in range(count):
        peer = await wire.raw(desk)
        peer.send(frame(Kind.PING))
        await peer.closed()
    await until(lambda: _told(warnings_of(caplog)) == count)
    # On a slow machine they come in more than one second.
    lines = warnings_of(caplog)
    rounds = sum("more connections" in line for line in lines)
    assert rounds >= 1
    assert len(lines) <= (rounds + 1) * (MAX_LINES + 1)
    caplog.clear()
    await until(lambda: not desk.listener.refusals._lines)
    peer = await wire.raw(desk)
    peer.send(frame(Kind.PING))
    await peer.closed()
    (line,) = warnings_of(caplog)
    assert line.endswith("a frame of kind 16 before authentication")
    assert await ask(await wire.connect(desk), b"x") == b"x"


def _told(lines: list[str]) -> int:
    """How many connections the lines speak of."""
    more = [re.match(r"closed (\d+) more", line) for line in lines]
    return sum(int(each[1]) if each else 1 for each in more)
