"""Pickle code by value together with its place: file, lines and their text.

cloudpickle from 3.1.3 on replaces the file name of all code by "<dynamic-code>", and no version
of it sends the source. Tracebacks in a replica name the user's file and show the user's line all
the same, also for notebook cells, which no file holds, and on nodes that do not have the file.
"""

from __future__ import annotations

import io
import linecache
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any, Protocol

import cloudpickle

__all__ = ["CodePickler", "Sink", "dumps"]

_MAX_FILES = 1000
"""Files whose text a process remembers for others; each run of a notebook cell is one."""


class Sink(Protocol):
    """Where a pickle goes."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""


class CodePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's pickler, but for code objects, whose place and source it keeps."""

    def __init__(self, file: Sink, buffer_callback: Callable[[Any], Any] | None = None) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)
        self._covered: dict[str, list[range]] = {}

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, CodeType):
            return _make_code, (self._source(obj), *_arguments(obj))
        if isinstance(obj, FunctionType):
            # Code in archives: the module's loader has the text, and only now it is at hand.
            linecache.lazycache(obj.__code__.co_filename, obj.__globals__)
        return super().reducer_override(obj)

    def _source(self, code: CodeType) -> str:
        """Return the source of `code`; nothing if it is unknown, or sent with the code around."""
        place = range(code.co_firstlineno, _last_line(code) + 1)
        covered = self._covered.setdefault(code.co_filename, [])
        if any(place.start in other and place.stop <= other.stop for other in covered):
            return ""
        covered.append(place)
        return "".join(linecache.getlines(code.co_filename)[place.start - 1 : place.stop - 1])


def dumps(value: Any, buffer_callback: Callable[[Any], Any] | None = None) -> bytes:
    """Pickle `value` as `cloudpickle.dumps` does, with the place of its code."""
    file = io.BytesIO()
    CodePickler(file, buffer_callback).dump(value)
    return file.getvalue()


def _arguments(code: CodeType) -> tuple[Any, ...]:
    """Return the arguments of `CodeType`, as they have been since Python 3.11."""
    return (
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_nlocals,
        code.co_stacksize,
        code.co_flags,
        code.co_code,
        code.co_consts,
        code.co_names,
        code.co_varnames,
        code.co_filename,
        code.co_name,
        code.co_qualname,
        code.co_firstlineno,
        code.co_linetable,
        code.co_exceptiontable,
        code.co_freevars,
        code.co_cellvars,
    )


def _last_line(code: CodeType) -> int:
    """Return the last line of `code` and of all code inside of it."""
    ends = [end or start or 0 for start, end, _, _ in code.co_positions()]
    inner = [_last_line(const) for const in code.co_consts if isinstance(const, CodeType)]
    return max([code.co_firstlineno, *ends, *inner])


def _make_code(source: str, *arguments: Any) -> CodeType:
    """Return the code object, and make its source known to tracebacks of this process."""
    code = CodeType(*arguments)
    if source:
        _remember(code.co_filename, code.co_firstlineno, source.splitlines(keepends=True))
    return code


_remembered: dict[str, None] = {}
"""Files whose text came with code; the one longest unused first."""


def _remember(file: str, first_line: int, lines: list[str]) -> None:
    """Let `linecache` give `lines` of `file`, unless it reads the same from the file itself."""
    known = linecache.getlines(file)
    place = slice(first_line - 1, first_line - 1 + len(lines))
    if known[place] == lines:
        return
    text = known + ["\n"] * (first_line - 1 - len(known))
    text[place] = lines
    # Without a time of change, linecache keeps an entry whatever the disk says.
    linecache.cache[file] = (sum(map(len, text)), None, text, file)
    _remembered.pop(file, None)
    _remembered[file] = None
    if len(_remembered) > _MAX_FILES:
        oldest = next(iter(_remembered))
        del _remembered[oldest]
        linecache.cache.pop(oldest, None)
