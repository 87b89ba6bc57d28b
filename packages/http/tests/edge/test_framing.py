"""Boundaries of messages, independent of how their bytes are split into reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte_http._edge.framing import MAX_EMPTY_LINES, Framing
from alacarte_http._edge.head_checks import Refusal

HEAD = b"GET /a b HTTP/1.1\r\nA: b\r\n\r\n"
CUTS = st.lists(st.integers(1, len(HEAD) - 1), unique=True).map(sorted)


def reads(data: bytes, cuts: list[int]) -> list[bytes]:
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@given(CUTS, st.binary(max_size=9))
def test_the_end_of_a_head_is_found_in_any_cut(cuts: list[int], after: bytes):
    """A head ends behind the first empty line; further bytes of the same read are left."""
    framing = Framing()
    *first, last = reads(HEAD, cuts)
    for index, read in enumerate(first):
        found = framing.find_end(read, 0) if index else framing.begin(read, 0)
        assert found == len(read)
    found = framing.find_end(last + after, 0) if first else framing.begin(last + after, 0)
    assert found == len(last)


@given(CUTS)
def test_a_line_is_measured_in_any_cut(cuts: list[int]):
    """Length and spaces are the request line's, without its line end and without headers."""
    framing = Framing()
    first, *others = reads(HEAD, cuts)
    framing.begin(first, 0)
    for read in others:
        if framing.is_in_line:
            framing.measure_line(read, 0, len(read))
    assert (framing.line_size, framing.spaces, framing.is_in_line) == (17, 3, False)


@given(st.lists(st.integers(1, 2 * MAX_EMPTY_LINES - 1), unique=True).map(sorted))
def test_empty_lines_are_skipped_in_any_cut(cuts: list[int]):
    """As many empty lines as the limit are skipped; one more is refused."""
    framing = Framing()
    for read in reads(b"\r\n" * MAX_EMPTY_LINES, cuts):
        assert framing.skip_empty_lines(read, 0) == len(read)
    with pytest.raises(Refusal):
        framing.skip_empty_lines(b"\r\n", 0)


@pytest.mark.parametrize("parts", [[b"\n"], [b"\rG"], [b"\r", b"\r"], [b"\r", b"G"], [b"\r\n\n"]])
def test_half_of_an_empty_line_is_refused(parts: list[bytes]):
    """A lone CR or a lone LF before a request is refused."""
    framing = Framing()
    *first, last = parts
    for part in first:
        framing.skip_empty_lines(part, 0)
    with pytest.raises(Refusal):
        framing.skip_empty_lines(last, 0)
