"""Log lines of replicas show their replica and request."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from alacarte import _logging
from alacarte._logging import configure_actor_logging, name_process
from alacarte.context import ReplicaContext, current_call, current_replica
from alacarte.types import Call, DeploymentId

HERE = ReplicaContext(DeploymentId("shop", "Model"), "shop#Model#9c0d")
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"


@contextlib.contextmanager
def logs(*, own_process: bool = True) -> Iterator[io.StringIO]:
    """The output of an actor, with Python's default logging instead of pytest's handlers."""
    root, written = logging.getLogger(), io.StringIO()
    handlers, root.handlers = root.handlers, []
    factory, last = logging.getLogRecordFactory(), logging.lastResort
    try:
        with contextlib.redirect_stderr(written):
            configure_actor_logging(own_process=own_process)
            yield written
    finally:
        root.handlers = handlers
        logging.setLogRecordFactory(factory)
        logging.lastResort = last
        _logging._process = None


def in_replica(request_id: str = "") -> Any:
    current_replica.set(HERE)
    if request_id:
        current_call.set(Call("python", (b"",), request_id=request_id))


@pytest.fixture(autouse=True)
def _no_context() -> Iterator[None]:
    yield
    current_replica.set(None)
    current_call.set(None)


def test_a_line_of_a_users_logger():
    """A line has level, time, deployment, replica, request, logger and message."""
    with logs() as written:
        in_replica("req-1")
        logging.getLogger("shop.model").warning("%d left", 3)
        assert re.fullmatch(
            rf"WARNING {TIME} shop#Model#9c0d req-1 shop.model -- 3 left\n", written.getvalue()
        )


def test_a_traceback_follows_its_line():
    """A traceback follows its line; outside of a request the line has a dash."""
    with logs() as written:
        in_replica()
        try:
            raise ValueError("no")
        except ValueError:
            logging.getLogger("shop.model").exception("failed")
        first, *rest = written.getvalue().splitlines()
        assert first.endswith("shop#Model#9c0d - shop.model -- failed")
        assert (rest[0], rest[-1]) == ("Traceback (most recent call last):", "ValueError: no")


def test_levels_are_the_loggers_own(monkeypatch: pytest.MonkeyPatch):
    """A logger with a lower level logs more; other loggers log warnings, as in Python."""
    with logs() as written:
        in_replica()
        talkative = logging.getLogger("shop.talkative")
        monkeypatch.setattr(talkative, "level", logging.INFO)
        talkative.info("said")
        logging.getLogger("shop.silent").info("not said")
        assert "shop.talkative -- said" in written.getvalue()
        assert "not said" not in written.getvalue()


def test_the_users_configuration_counts():
    """`basicConfig` of user code works, and its format may use replica and request."""
    with logs() as written:
        in_replica("req-1")
        level = logging.getLogger().level
        logging.basicConfig(
            level=logging.INFO, format="%(serve_request_id)s|%(message)s", stream=written
        )
        try:
            logging.getLogger("shop.model").info("hello", extra={"request_id": "the user's"})
        finally:
            logging.getLogger().setLevel(level)
        assert written.getvalue() == "req-1|hello\n"


def test_the_users_own_threads():
    """On Ray, the lines of user threads name the replica of the process."""
    with logs() as written:
        name_process(HERE)
        thread = threading.Thread(target=lambda: logging.getLogger("shop").warning("from a thread"))
        thread.start()
        thread.join()
        assert "shop#Model#9c0d - shop -- from a thread" in written.getvalue()


def test_a_process_without_a_replica():
    """Lines of the controller and of proxies have level, time and logger."""
    with logs() as written:
        logging.getLogger("alacarte.controller").warning("waits")
        assert re.fullmatch(rf"WARNING {TIME} alacarte.controller -- waits\n", written.getvalue())


def test_the_program_on_the_local_cluster():
    """Lines of the program itself are unchanged; lines of its replicas show the replica."""
    with logs(own_process=False) as written:
        logging.getLogger("main").warning("bare")
        logging.getLogger("main").info("not shown")
        in_replica("req-1")
        logging.getLogger("main").warning("named")
        bare, named = written.getvalue().splitlines()
        assert bare == "bare"
        assert named.endswith("shop#Model#9c0d req-1 main -- named")


def test_twice_is_once():
    """Configuring each actor of the local cluster creates one record factory."""
    with logs(own_process=False):
        configure_actor_logging(own_process=False)
        first = logging.getLogRecordFactory()
        configure_actor_logging(own_process=False)
        assert logging.getLogRecordFactory() is first
