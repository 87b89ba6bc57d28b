from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte_cli.render import as_yaml, table

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.dictionaries(st.text(min_size=1), inner, max_size=4)
        | st.lists(SCALARS | st.dictionaries(st.text(min_size=1), inner, max_size=3), max_size=3)
    ),
)


def test_a_table_has_aligned_columns() -> None:
    """A table has two spaces between columns, none at the ends of lines, no empty columns."""
    rows = [("NAME", "", "STATE"), ("a", "", "loaded"), ("longer", "", "x")]
    assert table(rows).splitlines() == ["NAME    STATE", "a       loaded", "longer  x"]


def test_no_rows_are_no_text() -> None:
    """An empty table is empty."""
    assert table([]) == ""


def test_yaml_is_plain_where_it_can_be() -> None:
    """YAML has words, URLs and numbers without quotes, and several lines as a block."""
    value = {"status": "RUNNING", "url": "http://a:8000", "empty": {}, "why": "one\n  two"}
    assert as_yaml({"app": value, "count": 2}).splitlines() == [
        "app:",
        "  status: RUNNING",
        "  url: http://a:8000",
        "  empty: {}",
        "  why: |-",
        "    one",
        "      two",
        "count: 2",
    ]


@pytest.mark.parametrize("text", ["", "true", "12", "a: b", "# x", "- y", "1e3", "x #y", "~", "="])
def test_strings_that_yaml_would_misread_are_quoted(text: str) -> None:
    """YAML quotes strings that readers could take for other types."""
    assert as_yaml({"key": text}) == f'key: "{text}"'


@given(st.dictionaries(st.text(min_size=1), VALUES, max_size=4))
def test_any_yaml_reader_reads_it_back(value: dict[str, Any]) -> None:
    """PyYAML reads any rendered values back unchanged."""
    yaml = pytest.importorskip("yaml")
    assert (yaml.safe_load(as_yaml(value)) or {}) == value
