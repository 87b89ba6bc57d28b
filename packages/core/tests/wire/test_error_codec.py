"""Errors as bytes: the user's own type if it pickles, otherwise a `RemoteError`."""

import asyncio
import dataclasses
import inspect
import json
import sys
import threading
import traceback

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alacarte import errors
from alacarte._wire import error_codec
from alacarte._wire.error_codec import (
    RemoteTraceback,
    encode_error,
    rebuild_error,
    unpickle_error,
    user_traceback,
)
from alacarte._wire.frames import FrameError
from alacarte.errors import (
    ConfigError,
    ErrorCode,
    InternalError,
    RemoteError,
    RequestError,
    ServeError,
    request_code,
)

OURS = sorted(
    {
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, ServeError)
    },
    key=lambda kind: kind.__name__,
)
SAMPLES = {
    "str": "text",
    "int": 3,
    "float": 1.5,
    "tuple[str, ...]": ("a", "b"),
    "dict[str, str]": {"a": "b"},
    "Mapping[str, object]": {"a": "b"},
    "ErrorCode": ErrorCode.NOT_FOUND,
}


class Plain(Exception):
    pass


class Detailed(LookupError):
    def __init__(self, message, *, code):
        super().__init__(message)
        self.code = code

    def __reduce__(self):
        return _detailed, (self.args[0], self.code)


def _detailed(message, code):
    return Detailed(message, code=code)


class KeywordOnly(Exception):
    """Does not load from its own pickle, as so many."""

    def __init__(self, *, code):
        super().__init__(f"code {code}")


class Locked(Exception):
    def __init__(self):
        super().__init__("locked")
        self.lock = threading.Lock()


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError("no")

    def __reduce__(self):
        raise ValueError("no")


class Deadly(Exception):
    """Ends the program in each of its methods."""

    def __init__(self, raises):
        self.raises = raises

    def __str__(self):
        raise self.raises(4)

    __repr__ = __reduce__ = __str__


class Fatal(BaseException):
    def __str__(self):
        raise SystemExit(5)


class Rigid(Exception):
    """Refuses to have attributes set, as a frozen dataclass does."""

    def __setattr__(self, name, value):
        raise AttributeError(name)


class MyServeError(ServeError):
    pass


def raised(error):
    """Return an error with a traceback, by raising and catching it."""
    try:
        raise error
    except BaseException as caught:
        return caught


def crossed(error, decode_error=unpickle_error):
    return decode_error(encode_error(error))


@pytest.fixture
def no_pickle(monkeypatch):
    """Nothing may be unpickled during the test."""
    unpickled = []
    monkeypatch.setattr(error_codec.pickle, "loads", unpickled.append)
    yield
    assert unpickled == []


# --- users' errors ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        Plain("bad", 3, None),
        ValueError("x"),
        KeyError("k"),
        OSError(2, "gone"),
        Detailed("m", code=7),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_users_error_keeps_its_type(error):
    """The caller catches the user's own class, with its arguments and attributes."""
    got = crossed(raised(error))
    assert type(got) is type(error)
    assert got.args == error.args
    assert got.__dict__ == error.__dict__
    assert str(got) == str(error)


def test_the_cause_is_the_traceback_over_there():
    """The copy shows where the original was raised, as its cause."""
    got = crossed(raised(Plain("bad")))
    assert isinstance(got.__cause__, RemoteTraceback)
    assert "in raised" in got.__cause__.text
    assert got.__cause__.text.rstrip().endswith("Plain: bad")
    assert "in raised" in "".join(traceback.format_exception(got))


def test_the_traceback_has_causes_and_notes():
    """The traceback contains the error's causes and notes."""
    try:
        try:
            raise KeyError("first")
        except KeyError as first:
            raise Plain("second") from first
    except Plain as error:
        error.add_note("think of this")
        got = crossed(error)
    assert "KeyError: 'first'" in got.__cause__.text
    assert got.__notes__ == ["think of this"]


def test_an_error_of_main_travels_by_value(monkeypatch):
    """An exception class of the user's `__main__` arrives though `__main__` is another here."""
    main = sys.modules["__main__"]
    kind = type("MainError", (Exception,), {"__module__": "__main__"})
    monkeypatch.setattr(main, "MainError", kind, raising=False)
    message = encode_error(raised(kind("x")))
    monkeypatch.delattr(main, "MainError")
    got = unpickle_error(message)
    assert type(got).__name__ == "MainError"
    assert got.args == ("x",)


@pytest.mark.parametrize(
    "error", [KeywordOnly(code=1), Locked()], ids=lambda error: type(error).__name__
)
def test_an_error_that_does_not_pickle(error):
    """An error that does not pickle becomes a RemoteError with type, message and traceback."""
    got = crossed(raised(error))
    assert type(got) is RemoteError
    assert got.type_name == f"{__name__}.{type(error).__name__}"
    assert got.message == str(error)
    assert "in raised" in got.traceback


def test_without_unpickling():
    """A process that unpickles nothing gets the same account of a user's error."""
    got = crossed(raised(Plain("bad")), rebuild_error)
    assert type(got) is RemoteError
    assert (got.type_name, got.message) == (f"{__name__}.Plain", "bad")
    assert "in raised" in got.traceback


@pytest.mark.parametrize("raises", [ImportError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_error_that_does_not_unpickle_here(monkeypatch, raises):
    """An error whose class is unknown or fails here becomes a RemoteError."""
    message = encode_error(raised(Plain("bad")))

    def fail(data):
        raise raises("no such module")

    monkeypatch.setattr(error_codec.pickle, "loads", fail)
    assert type(unpickle_error(message)) is RemoteError


def test_a_pickle_of_another_value(monkeypatch):
    """A pickle of a value that is no exception becomes a RemoteError."""
    message = encode_error(raised(Plain("bad")))
    monkeypatch.setattr(error_codec.pickle, "loads", lambda data: "no error")
    assert type(unpickle_error(message)) is RemoteError


def test_an_error_that_forbids_attributes():
    """The cause is set even on an error whose class refuses attributes."""
    got = crossed(raised(Rigid("x")))
    assert type(got) is Rigid
    assert isinstance(got.__cause__, RemoteTraceback)


def test_stop_iteration():
    """StopIteration cannot be raised out of a future: its account can."""
    got = crossed(raised(StopIteration(3)))
    assert type(got) is RemoteError
    assert got.type_name == "builtins.StopIteration"


# --- encoding never fails ---------------------------------------------------------------


def circular():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "error",
    [
        Unspeakable(),
        ServeError(Unspeakable()),
        ServeError(circular()),
        ServeError({(1, 2): 3}),
        ConfigError(b"bytes", object()),
        ValueError("\udc80 is half a character"),
        ServeError("\udc80 is half a character"),
        ExceptionGroup("several", [ValueError(1), Plain(2)]),
        SystemExit(3),
        Deadly(SystemExit),
        Deadly(KeyboardInterrupt),
        Deadly(GeneratorExit),
        Deadly(asyncio.CancelledError),
        Fatal(),
        ServeError(Deadly(SystemExit)),
        ExceptionGroup("g", [Deadly(SystemExit)]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_can_be_sent(error):
    """Any exception can be sent, and arrives as an exception."""
    message = encode_error(raised(error))
    for decode_error in (unpickle_error, rebuild_error):
        got = decode_error(message)
        assert isinstance(got, type(error) | RemoteError)
        str(got)


def test_endless_text_is_cut():
    """A message of megabytes does not travel in the structure."""
    got = crossed(raised(Plain("x" * 10_000_000)), rebuild_error)
    assert len(got.message) == 64 * 1024
    assert len(got.traceback) <= 64 * 1024


@settings(max_examples=100)
@given(st.text(), st.one_of(st.integers(), st.text(), st.binary(), st.lists(st.floats())))
def test_any_text(message, detail):
    """Any string arrives unchanged."""
    got = crossed(Plain(message, detail))
    assert type(got) is Plain
    assert repr(got.args) == repr((message, detail))
    assert crossed(Plain(message), rebuild_error).message == message


@pytest.mark.parametrize("error", [Plain("\U0001f600" * 9999), ServeError("x" * 99_999)])
def test_a_brief_account(error, no_pickle):
    """With `brief`, every error fits one small frame, as type, message and traceback."""
    message = encode_error(raised(error), brief=True)
    assert len(message) <= 1 << 16
    got = unpickle_error(message)
    assert type(got) is RemoteError
    assert str(error).startswith(got.message)
    assert got.message


# --- our own ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_core_errors_are_rebuilt_without_unpickling(kind, no_pickle):
    """Every error of core arrives as itself, without unpickling."""
    if dataclasses.is_dataclass(kind):
        error = kind(**{field.name: SAMPLES[field.type] for field in dataclasses.fields(kind)})
    else:
        error = kind("something happened", 3)
    error.__dict__["detail"] = ["more"]
    for decode_error in (unpickle_error, rebuild_error):
        got = crossed(raised(error), decode_error)
        assert type(got) is kind
        assert str(got) == str(error)
        assert got.args == error.args
        assert got.__dict__ == error.__dict__


@pytest.mark.parametrize("applications", [None, "shop", 3])
def test_a_core_error_with_a_users_attributes(applications):
    """The error becomes a RemoteError, and does not close the shared connection."""
    raised = errors.DeployTimeoutError(applications, 1.0, {})
    for read in (rebuild_error, unpickle_error):
        told = read(encode_error(raised))
        assert isinstance(told, RemoteError | errors.DeployTimeoutError)


def test_internal_errors_show_their_traceback():
    """An InternalError shows its traceback."""
    assert "in raised" in crossed(raised(InternalError("oops")), rebuild_error).__cause__.text


def test_a_subclass_is_its_packages_own():
    """An error that a plugin derives from core's travels as a user's error does."""
    assert type(crossed(raised(MyServeError("x")))) is MyServeError
    assert type(crossed(raised(MyServeError("x")), rebuild_error)) is RemoteError


def test_a_user_class_of_the_same_name():
    """A user's class named ConfigError does not become core's ConfigError."""
    kind = type("ConfigError", (Exception,), {"__module__": "somewhere"})
    assert type(crossed(raised(kind("x")), rebuild_error)) is RemoteError


# --- tracebacks -------------------------------------------------------------------------


def test_a_traceback_begins_at_the_user():
    """The frames of alacarte on the way to the user's code are left out."""
    scope = {"__name__": "alacarte._somewhere"}
    exec("def inside(function):\n    return function()", scope)  # noqa: S102

    def theirs():
        raise Plain("bad")

    try:
        scope["inside"](theirs)
    except Plain as error:
        frames = error.__traceback__.tb_next  # without this test's own
        text = user_traceback(error.with_traceback(frames))
    assert "in theirs" in text
    assert "in inside" not in text


def test_an_internal_error_keeps_its_last_frame():
    """A traceback that has only alacarte's frames keeps the last one."""
    scope = {"__name__": "alacarte._somewhere"}
    exec("def inside():\n    raise ValueError('ours')", scope)  # noqa: S102
    try:
        scope["inside"]()
    except ValueError as error:
        text = user_traceback(error.with_traceback(error.__traceback__.tb_next))
    assert "in inside" in text


# --- unreadable -------------------------------------------------------------------------


@pytest.mark.parametrize("structure", [[], "x", None, {}, {"ours": []}, {"ours": "ConfigError"}])
def test_a_structure_that_is_none(structure, no_pickle):
    """A malformed structure raises FrameError, which closes the connection."""
    text = json.dumps(structure).encode()
    with pytest.raises(FrameError):
        unpickle_error(len(text).to_bytes(4, "little") + text)


@settings(max_examples=100)
@given(st.binary(max_size=40))
def test_any_bytes(data):
    """Arbitrary bytes are a FrameError."""
    with pytest.raises(FrameError):
        unpickle_error(data)


class OverQuota(RequestError):
    """A plugin's error: with a class attribute, one of its own, and one that JSON cannot hold."""

    code = ErrorCode.RESOURCE_EXHAUSTED
    client_message = "Too many requests."
    status = 429

    def __init__(self, tenant):
        super().__init__(f"{tenant} is over its quota")
        self.tenant = tenant
        self.lock = threading.Lock()


def test_a_plugins_error_keeps_its_code(no_pickle):
    """The code and client message of a plugin's error arrive without unpickling."""
    got = crossed(raised(OverQuota("a")), rebuild_error)
    assert type(got) is RemoteError
    assert request_code(got) is ErrorCode.RESOURCE_EXHAUSTED
    assert got.client_message == "Too many requests."
    assert (got.attributes["status"], got.attributes["tenant"]) == (429, "a")
    assert "lock" not in got.attributes
    again = crossed(raised(got), rebuild_error)  # through another process
    assert (again.code, again.attributes) == (got.code, got.attributes)
    assert again.code is ErrorCode.RESOURCE_EXHAUSTED


def test_a_plugins_error_may_break_in_every_way():
    """A code that is none, and properties that raise, leave an internal error."""

    class Broken(OverQuota):
        @property
        def client_message(self):
            raise ValueError("no")

    got = crossed(raised(Broken("a")), rebuild_error)
    assert (request_code(got), got.client_message) == (ErrorCode.INTERNAL, "")
    wrong = OverQuota("a")
    wrong.code = "nonsense"
    assert request_code(crossed(raised(wrong), rebuild_error)) is ErrorCode.INTERNAL


@pytest.mark.parametrize("kind", OURS)
def test_only_errors_of_a_request_have_a_code_for_clients(kind):
    """A client of an application gets no details of a mistake in its code."""
    error = kind.__new__(kind)
    expected = kind.code if issubclass(kind, RequestError) else ErrorCode.INTERNAL
    assert request_code(error) is expected
    assert isinstance(kind.code, ErrorCode)
