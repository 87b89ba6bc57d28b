from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from alacarte.errors import ConfigError, DeployError
from alacarte_cli.failure import format_error, user_frame
from alacarte_cli.import_path import ImportPath

Write = Callable[..., Path]


def raised(app_dir: Path, name: str) -> BaseException:
    with pytest.raises(BaseException) as caught:
        ImportPath(name, "app").load(app_dir)
    # Without this function's own frame, which would be the user's as well as theirs is.
    return caught.value.with_traceback(caught.tb.tb_next)


def test_the_reason_comes_first_then_the_users_own_line(
    module: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's error has three lines: the reason, file and function, and the source."""
    app_dir = module("fails_app", "def load():\n    raise ValueError('no weights')\nload()")
    monkeypatch.chdir(app_dir)
    assert format_error(raised(app_dir, "fails_app")).splitlines() == [
        "error: ValueError: no weights",
        "  fails_app.py:2 in load",
        "    raise ValueError('no weights')",
    ]


def test_library_frames_below_the_users_are_passed_over(module: Write) -> None:
    """A failure inside the standard library is shown at the user's call."""
    app_dir = module("json_app", "import json\n\njson.loads('{')")
    frame = user_frame(raised(app_dir, "json_app"))
    assert frame is not None
    assert (frame.path, frame.line, frame.source) == (
        app_dir / "json_app.py", 3, "json.loads('{')",
    )  # fmt: skip


def test_an_installed_application_is_the_users_own(module: Write) -> None:
    """Of packages in site-packages, only the one that alacarte called counts as the user's."""
    app_dir = module("site-packages.shop_lib", "def half(n):\n    return n / 0")
    module("site-packages.shop_app", "import shop_lib\n\nshop_lib.half(1)")
    frame = user_frame(raised(app_dir / "site-packages", "shop_app"))
    assert frame is not None
    assert (frame.path.name, frame.line) == ("shop_app.py", 3)


def test_a_library_below_an_error_of_ours_is_not_blamed(module: Write) -> None:
    """An error from a library of alacarte's, such as a port in use, has no line of the user's."""
    app_dir = module("site-packages.listen_lib", "raise OSError('address in use')")
    error = ConfigError("port 8000 is in use")
    error.__cause__ = raised(app_dir / "site-packages", "listen_lib")
    assert format_error(error) == "error: port 8000 is in use"


def test_a_syntax_error_shows_the_line_that_has_it(module: Write) -> None:
    """The frame is where the mistake is, which never ran."""
    app_dir = module("syntax_app", "a = 1\nb = = 2\n")
    frame = user_frame(raised(app_dir, "syntax_app"))
    assert frame is not None
    assert (frame.path.name, frame.line, frame.source) == ("syntax_app.py", 2, "b = = 2")


def test_our_errors_show_without_their_class_name() -> None:
    """alacarte's own errors are shown without a frame."""
    try:
        ImportPath.parse("nonsense")
    except ConfigError as error:
        text = format_error(error)
    assert text.startswith("error: 'nonsense' is not an import path")
    assert "import_path.py" not in text


def test_a_traceback_from_another_process_is_shortened() -> None:
    """A deploy error's message holds it as text: the reason, then the user's deepest line."""
    error = DeployError(
        "default#Model: JSONDecodeError: Expecting value\n"
        "Traceback (most recent call last):\n"
        '  File "/home/u/app.py", line 11, in __init__\n'
        "    self.load()\n"
        '  File "/home/u/app.py", line 13, in load\n'
        "    json.loads('')\n"
        f'  File "{json.__file__}", line 346, in loads\n'
        "    return _default_decoder.decode(s)\n"
        "           ^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
        "json.decoder.JSONDecodeError: Expecting value"
    )
    assert format_error(error).splitlines() == [
        "error: default#Model: JSONDecodeError: Expecting value",
        "  /home/u/app.py:13 in load",
        "    json.loads('')",
    ]


def test_a_deploy_error_without_traceback_speaks_for_itself() -> None:
    """The message is shown unchanged, up to an empty line."""
    error = DeployError("app.py:3 in __init__: ValueError: no weights\n\nand details")
    error.__cause__ = ValueError("no weights")
    assert format_error(error) == "error: app.py:3 in __init__: ValueError: no weights"


def test_the_cause_is_searched_where_the_error_has_no_frame_of_the_users(module: Write) -> None:
    """An error of alacarte's with a user's error as its cause has the user's line."""
    app_dir = module("cause_app", "1 / 0")
    error = ConfigError("cannot be built")
    error.__cause__ = raised(app_dir, "cause_app")
    assert format_error(error).startswith("error: cannot be built\n  ")
    assert format_error(error).endswith("1 / 0")


def test_full_shows_the_whole_traceback(module: Write) -> None:
    """With `--traceback`, the whole traceback is shown."""
    app_dir = module("whole_app", "1 / 0")
    text = format_error(raised(app_dir, "whole_app"), full=True)
    assert text.startswith("Traceback (most recent call last):")
    assert text.endswith("ZeroDivisionError: division by zero")


def test_an_exception_without_message_is_its_class() -> None:
    """An error without a message has no trailing colon."""
    assert format_error(KeyError()) == "error: KeyError"
