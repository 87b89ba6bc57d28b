"""websockets' rules for frames, without its sockets, with what its documentation leaves out."""

from __future__ import annotations

import logging

from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State
from websockets.utils import accept_key

__all__ = ["Frame", "Frames", "Opcode", "State", "accept_key"]

# It notes every connection's end as information, and each frame for debugging.
_log = logging.getLogger("alacarte.http.websocket")
_log.setLevel(logging.ERROR)


class Frames(Protocol):
    """A server's side of one connection, with a rule of RFC 6455 back that websockets has dropped.

    Args:
        max_size: Bytes of a message that are accepted.
    """

    def __init__(self, max_size: int | None) -> None:
        super().__init__(Side.SERVER, max_size=max_size, logger=_log)

    @property
    def complaint(self) -> Close | None:
        """The close that was sent since the client broke a rule; None if it has broken none."""
        return None if self.parser_exc is None else self.close_sent

    @property
    def received_close(self) -> Close | None:
        """The client's close, None before it has come."""
        return self.close_rcvd

    @property
    def awaits_close(self) -> bool:
        """Whether a close was sent, and the client has not answered it."""
        return self.close_sent is not None and self.close_rcvd is None

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            # A close in the middle of a fragmented message is a close, not an error (5.5.1).
            # The size of the message so far, by its name of today and that of version 13.
            self.current_size = self.cur_size = None
        super().recv_frame(frame)
