"""Mutated streams of requests, which the server reads like an independent model."""

from __future__ import annotations

import re
from typing import Any

import pytest

from alacarte_http._proxy.forwarding import CLIENT_CLOSED_REQUEST, Forwarding

from ..http11 import model
from ..http11.fuzz import run
from ..http11.model import Limits, Step
from ..http11.table import CASES, MAX_BODY, Case

TABLE_LIMITS = Limits(16 * 1024, 64 * 1024, 128, MAX_BODY)


def differences(first: int, count: int) -> list[str]:
    outcome = run(range(first, first + count), max_differences=5)
    return [str(each) for each in outcome.differences]


def test_the_server_reads_as_the_model_does():
    """In 3,000 streams, the application gets exactly the requests that the model reads."""
    assert differences(0, 3000) == []


@pytest.mark.once
@pytest.mark.timeout(900)
def test_the_server_reads_many_streams_as_the_model_does():
    """Server and model agree on 20,000 further streams; `python -m http11` runs more."""
    assert differences(10_000, 20_000) == []


def _allows(step: Step, status: int) -> bool:
    return status in step.refusals or (status == 200 and step.serve)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_model_agrees_with_the_table(case: Case) -> None:
    """The model allows the outcome of each row of the byte table."""
    steps = model.read(case.sent, TABLE_LIMITS, eof=False)
    outcomes = [step for step in steps if step.refusals or step.serve]
    assert len(outcomes) >= len(case.statuses)
    for step, status in zip(outcomes, case.statuses, strict=False):
        assert _allows(step, status), step
    last = outcomes[len(case.statuses) - 1]
    if case.closes:
        assert last.last is not False or last.refusals
    else:
        assert last.last is not True
        assert last.serve
    if case.saw.get("size") is not None:
        assert last.request is not None
        assert len(last.request.body) == case.saw["size"]


def _bare_lf(pattern: Any) -> Any:
    return re.compile(pattern.pattern.replace(rb"\x20-", rb"\n\x20-"))


def _length_wins(headers: Any, version: bytes, faults: model.Faults) -> tuple[int | None, bool]:
    lengths = model.values(headers, b"content-length")
    if lengths and lengths[0].isdigit():
        return int(lengths[0]), False
    return None, bool(model.values(headers, b"transfer-encoding"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FIELD_VALUE", _bare_lf(model.FIELD_VALUE)),
        ("TOKEN", re.compile(rb"[!-9;-~ ]+")),
        ("MAX_EMPTY_LINES", 17),
        ("check_framing", _length_wins),
        ("check_hosts", lambda headers, required, faults: None),
        ("is_last", lambda headers, version: False),
        ("check_websocket", lambda step, headers, has_body: step),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_reader_with_a_fault_is_found(monkeypatch: Any, name: str, value: Any) -> None:
    """A reader that breaks one rule differs from the model within the streams."""
    monkeypatch.setattr(model, name, value)
    assert run(range(3000), max_differences=1).differences


def test_a_proxy_that_ends_no_request_of_a_client_that_left_is_found(monkeypatch: Any) -> None:
    """A proxy that does not end a request of a disconnected client is detected."""
    end = Forwarding._end

    def forgetful(forwarding: Forwarding, status: int) -> None:
        if status != CLIENT_CLOSED_REQUEST:
            end(forwarding, status)

    monkeypatch.setattr(Forwarding, "_end", forgetful)
    [found] = run(range(300), max_differences=1).differences
    assert "are left" in found.difference
