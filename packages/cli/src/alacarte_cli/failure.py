"""What a user is told of an exception: the reason, then their own line of code."""

from __future__ import annotations

import linecache
import re
import sysconfig
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from alacarte.errors import DeployError, ServeError

__all__ = ["Frame", "blame", "told"]

TRACEBACK = re.escape("Traceback (most recent call last):")
PRINTED_FRAME = re.compile(r'^ *File "(.+)", line (\d+), in (.+)(?:\n {4,}(.+))?$', re.MULTILINE)


@dataclass(frozen=True)
class Frame:
    """A line of someone's code that took part in a failure."""

    package: str
    path: Path
    line: int
    function: str
    source: str

    def __str__(self) -> str:
        """Return two lines: where, with the path as short as it goes, and the source."""
        here = Path.cwd()
        path = self.path.relative_to(here) if self.path.is_relative_to(here) else self.path
        where = f"  {path}:{self.line}"
        if self.function and self.function != "<module>":
            where += f" in {self.function}"
        return f"{where}\n    {self.source}" if self.source else where


def told(error: BaseException, *, full: bool = False) -> str:
    """Return what to print: the reason and the user's own line, or everything when `full`."""
    if full:
        return "".join(traceback.format_exception(error)).rstrip()
    lines = [f"error: {_reason(error)}"]
    frame = blame(error)
    if frame is not None:
        lines.append(str(frame))
    lines += [f"note: {note}" for note in getattr(error, "__notes__", ())]
    return "\n".join(lines)


def blame(error: BaseException, *, installed: bool = True) -> Frame | None:
    """Return the deepest frame of the user's own code, or of what it was raised from.

    Own is what is neither ours, nor the standard library's, nor in site-packages; or, where
    the application is `installed` there itself, the package that we called first. What failed
    in another process is known by the traceback printed in the message of a `DeployError`.
    None where no user code took part.
    """
    if isinstance(error, DeployError):
        printed = list(_printed(str(error)))
        own = [each for each in printed if not _in_library(each.path)] or printed[:1]
        return own[-1] if own else None
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return Frame("", Path(error.filename), error.lineno, "", (error.text or "").strip())
    # An error of ours may come from a library that we called, which is nobody's application.
    installed = installed and not isinstance(error, ServeError)
    frames = list(_foreign(error))
    first = frames[0].package if frames and installed else None
    own = [each for each in frames if each.package == first or not _in_site_packages(each.path)]
    if own:
        return own[-1]
    deeper = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None if deeper is None else blame(deeper, installed=installed)


def _reason(error: BaseException) -> str:
    """Return the message up to an empty line or a traceback: what follows are details."""
    message = re.split(rf"\n\n|\n{TRACEBACK}", str(error).strip())[0]
    if isinstance(error, ServeError):
        return message or type(error).__name__
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _printed(text: str) -> Iterator[Frame]:
    """Yield the frames of a traceback that was printed, outermost first."""
    for path, line, function, source in PRINTED_FRAME.findall(text):
        yield Frame("", Path(path), int(line), function, source)


def _foreign(error: BaseException) -> Iterator[Frame]:
    """Yield the frames that are not ours and not the standard library's, outermost first."""
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        path = Path(code.co_filename)
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        # Ours, and by the name they all have our plugins'.
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
