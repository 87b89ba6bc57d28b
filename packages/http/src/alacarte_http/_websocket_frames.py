"""websockets' sans-I/O protocol, and its undocumented behaviour that this package uses."""

from __future__ import annotations

import logging

from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State
from websockets.utils import accept_key

__all__ = ["Frame", "FrameProtocol", "Opcode", "State", "accept_key"]

# websockets logs each connection's end at INFO, and each frame at DEBUG.
_log = logging.getLogger("alacarte.http.websocket")
_log.setLevel(logging.ERROR)


class FrameProtocol(Protocol):
    """The server side of one WebSocket, with a rule of RFC 6455 that websockets does not follow.

    Args:
        max_size: Maximum size of a message in bytes.
    """

    def __init__(self, max_size: int | None) -> None:
        super().__init__(Side.SERVER, max_size=max_size, logger=_log)

    @property
    def violation_close(self) -> Close | None:
        """The close that was sent because the client violated the protocol, None without that."""
        return None if self.parser_exc is None else self.close_sent

    @property
    def received_close(self) -> Close | None:
        """The client's close, None before it arrives."""
        return self.close_rcvd

    @property
    def awaits_close(self) -> bool:
        """Whether a close was sent and the client's close has not arrived."""
        return self.close_sent is not None and self.close_rcvd is None

    def recv_frame(self, frame: Frame) -> None:
        """Check and take a frame. Called by the parser of `websockets`."""
        if frame.opcode is Opcode.CLOSE:
            # A close in the middle of a fragmented message is valid (section 5.5.1). Reset the size
            # of the message so far, by its current name and that of websockets 13.
            self.current_size = self.cur_size = None
        super().recv_frame(frame)
