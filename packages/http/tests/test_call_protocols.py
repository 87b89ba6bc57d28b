"""The call protocols of HTTP in a process without user code."""

from __future__ import annotations

import subprocess
import sys

import pytest

from alacarte.errors import ErrorCode
from alacarte.types import Reply
from alacarte_http._call_protocols import HttpCalls, WebSocketCalls
from alacarte_http._head_codec import pack_response
from alacarte_http._websocket.websocket_codec import pack_accept, pack_denial

CODES = {
    200: None,
    404: None,
    499: None,
    500: ErrorCode.INTERNAL,
    501: ErrorCode.UNIMPLEMENTED,
    503: ErrorCode.UNAVAILABLE,
    504: ErrorCode.DEADLINE_EXCEEDED,
}


@pytest.mark.parametrize("status", CODES)
def test_statuses_that_are_failures(status: int):
    """Statuses from 500 on are failures, of responses and of denied handshakes."""
    response = Reply((pack_response(status, ()) + b"body",))
    assert HttpCalls().failure_code(response) is CODES[status]
    denial = Reply((b"".join(pack_denial(status, ())),))
    assert WebSocketCalls().failure_code(denial) is CODES[status]


def test_a_handshake_that_was_accepted():
    """An accepted handshake is not a failure."""
    accepted = Reply((b"".join(pack_accept(None, ())),))
    assert WebSocketCalls().failure_code(accepted) is None


def test_judging_replies_imports_no_code_of_replicas():
    """Classifying replies imports no module that runs user code."""
    program = (
        "import sys; from alacarte_http.hooks import register_protocols; register_protocols(); "
        "print(*(m for m in sys.modules if m.startswith('alacarte_http._replica') or m in "
        "('alacarte_http._websocket.asgi_session', 'starlette', 'fastapi')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
