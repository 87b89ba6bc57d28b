"""The response to each error, without internal details."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from alacarte import serve
from alacarte._wire.error_codec import encode_error, rebuild_error
from alacarte.errors import (
    BackPressureError,
    ConfigError,
    DeadlineExceededError,
    DeploymentUnavailableError,
    ErrorCode,
    InternalError,
    InvalidRequestError,
    NotFoundError,
    RemoteError,
    ReplicaUnavailableError,
    RequestCancelledError,
    RequestError,
    ServeError,
)
from alacarte_http._local_response import STATUS_BY_CODE, error_response


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (BackPressureError("secret#d", 9, 8, 0.2), 503, {b"retry-after": b"1"}),
        (BackPressureError("secret#d", 9, 8, 2.0), 503, {b"retry-after": b"2"}),
        (BackPressureError("secret#d", 9, 8, 2.1), 503, {b"retry-after": b"3"}),
        (BackPressureError("secret#d", 9, 8, -1), 503, {b"retry-after": b"0"}),
        (DeadlineExceededError("secret#d", 2.5), 504, {}),
        (DeploymentUnavailableError("secret#d", "secret reason"), 503, {}),
        (ReplicaUnavailableError("secret#d", "secret", "secret"), 503, {b"retry-safe": b"no"}),
        (ReplicaUnavailableError("secret#d", "secret", "secret", 3), 503, {b"retry-safe": b"no"}),
        (RequestCancelledError("secret"), 503, {}),
        (RemoteError("secret", "secret", "secret"), 500, {}),
        (NotFoundError("secret"), 500, {}),
        (ConfigError("secret"), 500, {}),
        (InternalError("secret"), 500, {}),
        (ServeError("secret"), 500, {}),
        (ValueError("secret"), 500, {}),
        (TimeoutError("secret"), 500, {}),
    ],
)
def test_statuses(error, status, headers):
    """Each error has its status, and none of its contents is in the text."""
    answer = error_response(error)
    assert answer.status == status
    assert dict(answer.headers) == headers
    assert "secret" not in answer.text
    assert answer.text


def test_an_invalid_request_is_explained_to_its_client():
    """An invalid request's error text reaches its client."""
    answer = error_response(InvalidRequestError("secret#d", "the model id is empty"))
    assert (answer.status, answer.text) == (400, "the model id is empty")


def test_a_timeout_says_how_long():
    """A timeout's text names the limit."""
    assert "within 2.5 s" in error_response(DeadlineExceededError("a#d", 2.5)).text


class Unauthenticated(RequestError):
    code = ErrorCode.UNAUTHENTICATED
    client_message = "Send a key."


class TooEarly(RequestError):
    """A plugin's error with its own status."""

    status = 425
    retry_after_s = 1.5

    def __init__(self, **headers: Any) -> None:
        super().__init__("secret")
        self.headers = headers


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_a_status(code: ErrorCode):
    """A plugin's error has its code's status and, without a message, the status's phrase."""
    error = RequestError("secret")
    error.code = code
    answer = error_response(error)
    assert answer.status == STATUS_BY_CODE[code] >= 400
    assert answer.text
    assert "secret" not in answer.text


@pytest.mark.parametrize("crosses", [False, True], ids=["here", "from a replica"])
def test_an_error_of_a_plugin_says_what_clients_get(crosses: bool):
    """Code, message, status and headers of a plugin's error apply, even across processes."""

    def answer(error: RequestError) -> Any:
        return error_response(rebuild_error(encode_error(error)) if crosses else error)

    assert answer(Unauthenticated("secret")) == (401, "Send a key.", ())
    given = answer(TooEarly(vary="cookie"))
    assert given == (425, "Too Early", ((b"vary", b"cookie"), (b"retry-after", b"2")))


@pytest.mark.parametrize("value", ["a\r\nb: c", "\x00", 3, None, "☃"])
def test_headers_that_break_a_response_are_dropped(value: Any):
    """An error of a plugin cannot split a response."""
    assert error_response(TooEarly(vary=value)).headers == ((b"retry-after", b"2"),)


@pytest.mark.parametrize("status", [200, 399, 600, 499, "404", None])
def test_a_status_that_is_no_error_is_ignored(status: Any):
    """If an error's status is not one of an error, its code applies."""
    error = Unauthenticated("secret")
    error.status = status  # type: ignore[attr-defined]
    assert error_response(error).status == 401


@serve.deployment
async def too_early() -> None:
    raise TooEarly(vary="cookie")


def _starlette() -> Starlette:
    async def endpoint(request: Request) -> None:
        raise TooEarly(vary="cookie")

    return Starlette(routes=[Route("/", endpoint)])


@pytest.mark.parametrize("kind", ["handler", "starlette"])
def test_user_code_answers_with_an_error_of_its_own(site: Any, kind: str):
    """A replica's error has its own status even if the proxy cannot import its class."""
    application = too_early if kind == "handler" else serve.deployment(serve.ingress(_starlette)())
    site.run(application.bind())
    answer = site.http.get("/")
    assert (answer.status_code, answer.text) == (425, "Too Early")
    assert (answer.headers["vary"], answer.headers["retry-after"]) == ("cookie", "2")
