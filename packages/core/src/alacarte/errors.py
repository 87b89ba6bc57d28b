"""Every error alacarte raises, and what each one means to the person who gets it.

All derive from `ServeError`. They carry plain attributes, pickle with them, and know no protocol:
each has a neutral `code`, which the package that speaks HTTP, gRPC or another protocol maps to its
own status.
Exceptions raised by user code are not wrapped: callers get the user's own type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = [
    "BackPressureError",
    "ConfigError",
    "ConflictError",
    "DeadlineExceededError",
    "DeployError",
    "DeployTimeoutError",
    "DeploymentUnavailableError",
    "ErrorCode",
    "InternalError",
    "InvalidRequestError",
    "NotFoundError",
    "PluginError",
    "RayServeException",
    "RemoteError",
    "ReplicaUnavailableError",
    "RequestCancelledError",
    "RequestError",
    "ServeError",
    "request_code",
]


class ErrorCode(StrEnum):
    """What kind of failure an error is, for every protocol to map. The names are gRPC's."""

    INVALID_ARGUMENT = "invalid_argument"
    """The request is wrong, and would fail again unchanged."""
    UNAUTHENTICATED = "unauthenticated"
    """The request lacks valid credentials."""
    PERMISSION_DENIED = "permission_denied"
    """The caller is known, and not allowed to do this."""
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    RESOURCE_EXHAUSTED = "resource_exhausted"
    """A quota, a rate limit or a queue is full; the same request may succeed later."""
    FAILED_PRECONDITION = "failed_precondition"
    """The system is not in the state that the request requires."""
    ABORTED = "aborted"
    """Another change came in between; repeat the whole read and write."""
    UNIMPLEMENTED = "unimplemented"
    UNAVAILABLE = "unavailable"
    """The service cannot answer now; the same request may succeed later."""
    DEADLINE_EXCEEDED = "deadline_exceeded"
    CANCELLED = "cancelled"
    INTERNAL = "internal"
    """A bug, of the service or of user code."""


class ServeError(Exception):
    """Anything alacarte itself raises.

    A subclass may set `code`, for its class or for one error.

    Attributes:
        code: Which kind of failure this is.
    """

    code: ErrorCode = ErrorCode.INTERNAL

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own reduction replays positional arguments only, and loses attributes
        # that were given by keyword.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[ServeError], args: tuple[Any, ...], state: dict[str, Any]) -> ServeError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


RayServeException = ServeError
"""The name Ray Serve gives its base error, for programs that move over."""


class ConfigError(ServeError, ValueError):
    """An option, a name or a configuration value is not one of those allowed."""

    code = ErrorCode.INVALID_ARGUMENT


class PluginError(ServeError):
    """A plugin is missing, broken, of another version than expected, or in conflict."""


class NotFoundError(ServeError, LookupError):
    """No application, deployment or method has that name."""

    code = ErrorCode.NOT_FOUND


class DeployError(ServeError, RuntimeError):
    """An application could not be brought up; the message starts at the user's own frame."""

    code = ErrorCode.FAILED_PRECONDITION


@dataclass(eq=False)
class DeployTimeoutError(DeployError, TimeoutError):
    """An application does not run after the time that `serve.run` was given.

    It stays deployed and goes on starting. Run it again with other options, or delete it.

    Attributes:
        applications: Those that do not run yet, by name.
        timeout_s: The time given.
        waiting: What each deployment waits for, by `application#deployment`.
        causes: What is wrong, as far as it is known.
    """

    code = ErrorCode.DEADLINE_EXCEEDED

    applications: tuple[str, ...]
    timeout_s: float
    waiting: dict[str, str]
    causes: tuple[str, ...] = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> DeployTimeoutError:
        """Make one as a `TimeoutError`: RuntimeError's way has no room for what that adds."""
        return TimeoutError.__new__(cls)

    def __str__(self) -> str:
        names = " and ".join(map(repr, self.applications))
        one = len(self.applications) == 1
        head = f"application {names} does" if one else f"applications {names} do"
        waiting = [f"{deployment}: {text}" for deployment, text in self.waiting.items()]
        stays = "It stays deployed and goes" if one else "They stay deployed and go"
        return "\n".join(
            [
                f"{head} not run after {self.timeout_s:g} s.",
                *waiting,
                *self.causes,
                f"{stays} on starting; serve.delete() gives up.",
            ]
        )


@dataclass(eq=False)
class ConflictError(ServeError):
    """A resource was changed by somebody else, while its change was being prepared here.

    Nothing has become of the change: read the resource again, and repeat it.

    Attributes:
        kind: Of the resource.
        name: Its name.
    """

    code = ErrorCode.ABORTED

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} was changed by somebody else meanwhile; try again."


class RequestError(ServeError):
    """One request failed for a reason that lies outside of the user's code.

    Every ingress answers a client by the error's `code` and `client_message`, also where the error
    was raised in another process. A plugin's own subclass sets both, for its class or for one
    error.

    Attributes:
        client_message: The text that clients get; "" for the protocol's standard text of the code.
    """

    client_message: str = ""


@dataclass(eq=False)
class InvalidRequestError(RequestError, ValueError):
    """A request says something that no request may say, and would fail again unchanged.

    Attributes:
        deployment: Which deployment refuses it, as `application#deployment`.
        reason: What is wrong, and what is allowed. Clients are told it.
    """

    code = ErrorCode.INVALID_ARGUMENT

    deployment: str
    reason: str

    def __str__(self) -> str:
        return f"{self.deployment}: {self.reason}"

    @property
    def client_message(self) -> str:  # type: ignore[override]  # made of its attributes
        """The reason."""
        return self.reason


@dataclass(eq=False)
class BackPressureError(RequestError):
    """The queue in front of a deployment is full, or a policy shed the request.

    Attributes:
        deployment: Whose queue it was, as `application#deployment`.
        queued: Requests waiting in this process when this one arrived.
        limit: `max_queued_requests` of the deployment.
        retry_after_s: When to try again, in seconds.
        reason: Why it was refused although there was room in the queue, or "".
    """

    code = ErrorCode.RESOURCE_EXHAUSTED
    client_message = "The application is overloaded. Try again later."

    deployment: str
    queued: int
    limit: int
    retry_after_s: float = 1.0
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return f"{self.deployment}: {self.reason}; retry in {self.retry_after_s:g} s."
        return (
            f"{self.deployment}: {self.queued} requests queued, limit {self.limit}; "
            f"retry in {self.retry_after_s:g} s or raise max_queued_requests."
        )

    @property
    def message(self) -> str:
        """Ray Serve's name for `str()` of this error."""
        return str(self)

    @property
    def num_queued_requests(self) -> int:
        """Ray Serve's name for `queued`."""
        return self.queued

    @property
    def max_queued_requests(self) -> int:
        """Ray Serve's name for `limit`."""
        return self.limit


@dataclass(eq=False)
class DeadlineExceededError(RequestError, TimeoutError):
    """The time a request was given ran out before its reply began.

    Attributes:
        deployment: Where the request was going, as `application#deployment`.
        timeout_s: The time it had been given, in seconds.
    """

    code = ErrorCode.DEADLINE_EXCEEDED

    deployment: str
    timeout_s: float

    def __str__(self) -> str:
        return f"{self.deployment}: no reply within {self.timeout_s:.3g} s."

    @property
    def client_message(self) -> str:  # type: ignore[override]  # made of its attributes
        """The time that was given."""
        return f"The application did not answer within {self.timeout_s:.3g} s."


@dataclass(eq=False)
class ReplicaUnavailableError(RequestError):
    """A replica went away after it may have started the request.

    Only a request that may run more than once (`Call.idempotent`) is sent elsewhere then.

    Attributes:
        deployment: As `application#deployment`.
        replica: The replica's id.
        reason: What was seen of it.
        attempts: How many replicas the request was sent to; the last of them is told of here.
    """

    code = ErrorCode.UNAVAILABLE

    deployment: str
    replica: str
    reason: str
    attempts: int = 1

    def __str__(self) -> str:
        sent = (
            "It may have run; it was not sent again."
            if self.attempts == 1
            else f"It was sent {self.attempts} times, and may have run as often."
        )
        return (
            f"{self.deployment}: replica {self.replica} went away during the request "
            f"({self.reason}). {sent}"
        )

    @property
    def client_message(self) -> str:  # type: ignore[override]  # made of its attributes
        """Whether the request may have run, and was sent again."""
        again = "it was not sent again" if self.attempts == 1 else "it was sent again in vain"
        return (
            f"The replica that worked on this request went away. The request may have run; {again}."
        )


@dataclass(eq=False)
class DeploymentUnavailableError(RequestError):
    """A deployment has failed for good or was deleted: no replica will come.

    Attributes:
        deployment: As `application#deployment`.
        reason: Why, in a sentence.
    """

    code = ErrorCode.UNAVAILABLE
    client_message = "The application is unavailable: it failed to start or was deleted."

    deployment: str
    reason: str

    def __str__(self) -> str:
        return f"{self.deployment} is unavailable: {self.reason}"


@dataclass(eq=False)
class RequestCancelledError(RequestError):
    """The caller cancelled this request itself, with `DeploymentResponse.cancel()`.

    Attributes:
        request_id: The id of the request.
    """

    code = ErrorCode.CANCELLED
    client_message = "The request was cancelled by the application."

    request_id: str

    def __str__(self) -> str:
        return f"request {self.request_id} was cancelled by its caller."


@dataclass(eq=False)
class RemoteError(RequestError):
    """An exception that could not travel here as itself.

    One of user code, or a plugin's own `RequestError`, whose code and attributes are kept.

    Attributes:
        type_name: Qualified name of the exception's class where it was raised.
        message: `str()` of the exception.
        traceback: The formatted traceback, the user's frames included.
        code: Of the `RequestError`; `INTERNAL` for an exception of user code.
        client_message: Of the `RequestError`; "" for an exception of user code.
        attributes: Of the `RequestError`, those that JSON can hold, by name.
    """

    type_name: str
    message: str
    traceback: str
    code: ErrorCode = ErrorCode.INTERNAL
    client_message: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}\n\n{self.traceback}"


class InternalError(ServeError):
    """A bug in alacarte. Please report it with the traceback."""


def request_code(error: BaseException) -> ErrorCode:
    """Return the code by which an ingress answers a request that failed with `error`.

    That of a `RequestError`; `INTERNAL` for everything else, such as a `ConfigError` that user code
    has run into: no client of the application can mend it.
    """
    return error.code if isinstance(error, RequestError) else ErrorCode.INTERNAL
