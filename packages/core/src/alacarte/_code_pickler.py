"""Pickler of code objects with their file names, line numbers and source.

cloudpickle 3.1.3 replaces the file name of all code by "<dynamic-code>", and no version of
cloudpickle sends the source. With this pickler, tracebacks in a replica name the user's file and
show the user's line, even for notebook cells and on nodes without the file.
"""

from __future__ import annotations

import io
import linecache
from collections.abc import Callable
from pickle import PickleBuffer
from types import CodeType, FunctionType
from typing import Any, Protocol

import cloudpickle

__all__ = ["CodePickler", "Sink", "dumps"]

_MAX_FILES = 1000
"""Maximum number of received files in `linecache`; each run of a notebook cell is a file."""


class Sink(Protocol):
    """A writable file for the bytes of a pickle."""

    def write(self, data: bytes, /) -> object:
        """Write the next bytes."""


class CodePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's pickler, which also keeps the file names, lines and source of code objects."""

    def __init__(
        self, file: Sink, buffer_callback: Callable[[PickleBuffer], object] | None = None
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)
        self._covered: dict[str, list[range]] = {}

    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, CodeType):
            return _make_code, (self._source(obj), *_arguments(obj))
        if isinstance(obj, FunctionType):
            # For code in archives: the module's loader, found in its globals, has the source.
            linecache.lazycache(obj.__code__.co_filename, obj.__globals__)
        return super().reducer_override(obj)

    def _source(self, code: CodeType) -> str:
        """Return the source of `code`; "" where it is unknown, or sent with enclosing code."""
        lines = range(code.co_firstlineno, _last_line(code) + 1)
        covered = self._covered.setdefault(code.co_filename, [])
        if any(lines.start in other and lines.stop <= other.stop for other in covered):
            return ""
        covered.append(lines)
        return "".join(linecache.getlines(code.co_filename)[lines.start - 1 : lines.stop - 1])


def dumps(value: object, buffer_callback: Callable[[PickleBuffer], object] | None = None) -> bytes:
    """Pickle `value` as `cloudpickle.dumps` does, with file names, lines and source of its code."""
    file = io.BytesIO()
    CodePickler(file, buffer_callback).dump(value)
    return file.getvalue()


def _arguments(code: CodeType) -> tuple[object, ...]:
    """Return the arguments of `CodeType` for a copy of `code`, in the order of Python 3.11."""
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
    """Return the last line of `code`, nested code included."""
    ends = [end or start or 0 for start, end, _, _ in code.co_positions()]
    inner = [_last_line(const) for const in code.co_consts if isinstance(const, CodeType)]
    return max([code.co_firstlineno, *ends, *inner])


def _make_code(source: str, *arguments: Any) -> CodeType:
    """Unpickle a code object, and add its source to `linecache` for tracebacks."""
    code = CodeType(*arguments)
    if source:
        _add_source(code.co_filename, code.co_firstlineno, source.splitlines(keepends=True))
    return code


_received_files: dict[str, None] = {}
"""Names of files with received source, the least recently used first."""


def _add_source(file: str, first_line: int, lines: list[str]) -> None:
    """Add `lines` of `file` to `linecache`, unless the local file has the same lines."""
    known = linecache.getlines(file)
    span = slice(first_line - 1, first_line - 1 + len(lines))
    if known[span] == lines:
        return
    text = known + ["\n"] * (first_line - 1 - len(known))
    text[span] = lines
    # linecache never checks an entry without a modification time against the disk.
    linecache.cache[file] = (sum(map(len, text)), None, text, file)
    _received_files.pop(file, None)
    _received_files[file] = None
    if len(_received_files) > _MAX_FILES:
        oldest = next(iter(_received_files))
        del _received_files[oldest]
        linecache.cache.pop(oldest, None)
