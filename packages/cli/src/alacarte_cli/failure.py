"""Error messages for users: the reason of an exception, then the user's own line of code."""

from __future__ import annotations

import linecache
import re
import sysconfig
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from alacarte.errors import DeployError, ServeError

__all__ = ["Frame", "format_error", "user_frame"]

TRACEBACK = re.escape("Traceback (most recent call last):")
PRINTED_FRAME = re.compile(r'^ *File "(.+)", line (\d+), in (.+)(?:\n {4,}(.+))?$', re.MULTILINE)


@dataclass(frozen=True)
class Frame:
    """A line of code in a traceback."""

    package: str
    path: Path
    line: int
    function: str
    source: str

    def __str__(self) -> str:
        """Return two lines: the location, with a path relative to the directory, and the source."""
        here = Path.cwd()
        path = self.path.relative_to(here) if self.path.is_relative_to(here) else self.path
        where = f"  {path}:{self.line}"
        if self.function and self.function != "<module>":
            where += f" in {self.function}"
        return f"{where}\n    {self.source}" if self.source else where


def format_error(error: BaseException, *, full: bool = False) -> str:
    """Return the reason and the user's own line of code, or the whole traceback when `full`."""
    if full:
        return "".join(traceback.format_exception(error)).rstrip()
    lines = [f"error: {_reason(error)}"]
    frame = user_frame(error)
    if frame is not None:
        lines.append(str(frame))
    lines += [f"note: {note}" for note in getattr(error, "__notes__", ())]
    return "\n".join(lines)


def user_frame(error: BaseException, *, installed: bool = True) -> Frame | None:
    """Return the innermost frame of user code in an error or its causes; None without any.

    User code is all code outside of alacarte, the standard library and site-packages. An
    `installed` application is the package in site-packages that alacarte called first. A
    `DeployError` has the traceback of another process in its message.
    """
    if isinstance(error, DeployError):
        printed = list(_printed(str(error)))
        own = [each for each in printed if not _in_library(each.path)] or printed[:1]
        return own[-1] if own else None
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return Frame("", Path(error.filename), error.lineno, "", (error.text or "").strip())
    # An error of alacarte's may come from a library that alacarte called, not an application.
    installed = installed and not isinstance(error, ServeError)
    frames = list(_foreign(error))
    first = frames[0].package if frames and installed else None
    own = [each for each in frames if each.package == first or not _in_site_packages(each.path)]
    if own:
        return own[-1]
    deeper = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None if deeper is None else user_frame(deeper, installed=installed)


def _reason(error: BaseException) -> str:
    """Return the message up to an empty line or a traceback; the rest is details."""
    message = re.split(rf"\n\n|\n{TRACEBACK}", str(error).strip())[0]
    if isinstance(error, ServeError):
        return message or type(error).__name__
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _printed(text: str) -> Iterator[Frame]:
    """Yield the frames of a printed traceback, outermost first."""
    for path, line, function, source in PRINTED_FRAME.findall(text):
        yield Frame("", Path(path), int(line), function, source)


def _foreign(error: BaseException) -> Iterator[Frame]:
    """Yield the frames outside of alacarte and the standard library, outermost first."""
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        path = Path(code.co_filename)
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        # alacarte, and first-party packages, whose names all begin so.
        if package == "alacarte" or package.startswith("alacarte_"):
            continue
        if _in_library(path) and not _in_site_packages(path):
            continue
        if not code.co_filename.startswith("<"):
            source = linecache.getline(code.co_filename, line, frame.f_globals).strip()
            yield Frame(package, path, line, code.co_qualname, source)


def _in_library(path: Path) -> bool:
    return path.is_relative_to(sysconfig.get_path("stdlib")) or _in_site_packages(path)


def _in_site_packages(path: Path) -> bool:
    return "site-packages" in path.parts or "dist-packages" in path.parts
