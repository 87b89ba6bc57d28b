"""Errors of alacarte.

All derive from `ServeError`. They carry plain attributes and pickle with them. Each has a
protocol-neutral `code`, which the package for HTTP, gRPC or another protocol maps to its status.
Exceptions of user code are not wrapped: callers get the user's own exception type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

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
    """Protocol-neutral error codes, with gRPC's names."""

    INVALID_ARGUMENT = "invalid_argument"
    """The request is invalid, and would fail again unchanged."""
    UNAUTHENTICATED = "unauthenticated"
    """The request lacks valid credentials."""
    PERMISSION_DENIED = "permission_denied"
    """The caller is known, but lacks the permission."""
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    RESOURCE_EXHAUSTED = "resource_exhausted"
    """A quota, a rate limit or a queue is full; the same request may succeed later."""
    FAILED_PRECONDITION = "failed_precondition"
    """The system is not in the state that the request requires."""
    ABORTED = "aborted"
    """A concurrent change came first; read and change the resource again."""
    UNIMPLEMENTED = "unimplemented"
    UNAVAILABLE = "unavailable"
    """The service cannot answer now; the same request may succeed later."""
    DEADLINE_EXCEEDED = "deadline_exceeded"
    CANCELLED = "cancelled"
    INTERNAL = "internal"
    """A bug in alacarte, a plugin or user code."""


class ServeError(Exception):
    """The base class of all errors of alacarte.

    A subclass may set `code`, for the class or for one error.

    Attributes:
        code: The kind of failure.
    """

    code: ErrorCode = ErrorCode.INTERNAL

    def __reduce__(self) -> tuple[object, ...]:
        # Exception's own reduction replays positional arguments only, and loses attributes
        # that were given by keyword.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(
    kind: type[ServeError], args: tuple[object, ...], state: dict[str, object]
) -> ServeError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


RayServeException = ServeError
"""Ray Serve's name of the base error, for programs that migrate."""


class ConfigError(ServeError, ValueError):
    """An option, a name or a configuration value is invalid."""

    code = ErrorCode.INVALID_ARGUMENT


class PluginError(ServeError):
    """A plugin is missing, fails, has an unexpected version, or conflicts with another plugin."""


class NotFoundError(ServeError, LookupError):
    """No application, deployment or method has the given name."""

    code = ErrorCode.NOT_FOUND


class DeployError(ServeError, RuntimeError):
    """An application failed to start; the message begins with the frame of the user's code."""

    code = ErrorCode.FAILED_PRECONDITION


@dataclass(eq=False)
class DeployTimeoutError(DeployError, TimeoutError):
    """An application is not running within the `timeout_s` of `serve.run`.

    The application stays deployed and continues to start. Run it again with other options, or
    delete it.

    Attributes:
        applications: Names of the applications that are not running.
        timeout_s: The timeout in seconds.
        waiting: The reason why each deployment waits, by `application#deployment`.
        causes: Known causes, such as failed starts.
    """

    code = ErrorCode.DEADLINE_EXCEEDED

    applications: tuple[str, ...]
    timeout_s: float
    waiting: dict[str, str]
    causes: tuple[str, ...] = ()

    def __new__(cls, *args: object, **kwargs: object) -> DeployTimeoutError:
        """Create the error as a `TimeoutError`, whose instances are larger than RuntimeError's."""
        return TimeoutError.__new__(cls)

    def __str__(self) -> str:
        names = " and ".join(map(repr, self.applications))
        is_single = len(self.applications) == 1
        head = f"application {names} is" if is_single else f"applications {names} are"
        waiting = [f"{deployment}: {text}" for deployment, text in self.waiting.items()]
        remain = (
            "It stays deployed and continues to start. serve.delete() removes it."
            if is_single
            else "They stay deployed and continue to start. serve.delete() removes them."
        )
        return "\n".join(
            [
                f"{head} not running after {self.timeout_s:g} s.",
                *waiting,
                *self.causes,
                remain,
            ]
        )


@dataclass(eq=False)
class ConflictError(ServeError):
    """Another program has changed a resource since this program read the resource.

    The change was not applied: read the resource again, and repeat the change.

    Attributes:
        kind: The kind of the resource.
        name: The name of the resource.
    """

    code = ErrorCode.ABORTED

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} was changed by another program; try again."


class RequestError(ServeError):
    """A request failed for a reason outside of the user's code.

    Every ingress answers clients by the error's `code` and `client_message`, even when the error
    comes from another process. A plugin's subclass sets both, for the class or for one error.

    Attributes:
        client_message: The text for clients; "" for the protocol's standard text of the code.
    """

    client_message: str = ""


@dataclass(eq=False)
class InvalidRequestError(RequestError, ValueError):
    """A request is invalid, and would fail again unchanged.

    Attributes:
        deployment: The deployment that refuses the request, as `application#deployment`.
        reason: The invalid part, and the allowed values. Clients get this text.
    """

    code = ErrorCode.INVALID_ARGUMENT

    deployment: str
    reason: str

    def __str__(self) -> str:
        return f"{self.deployment}: {self.reason}"

    @property
    def client_message(self) -> str:  # type: ignore[override]  # a property here
        """The reason."""
        return self.reason


@dataclass(eq=False)
class BackPressureError(RequestError):
    """The queue of a deployment is full, or a routing policy shed the request.

    Attributes:
        deployment: The overloaded deployment, as `application#deployment`.
        queued: Requests queued in this process when the request arrived.
        limit: `max_queued_requests` of the deployment.
        retry_after_s: Seconds after which the client may retry.
        reason: The reason to refuse a request while the queue is not full, or "".
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
    """The deadline of a request passed before its reply began.

    Attributes:
        deployment: The called deployment, as `application#deployment`.
        timeout_s: The timeout of the request, in seconds.
    """

    code = ErrorCode.DEADLINE_EXCEEDED

    deployment: str
    timeout_s: float

    def __str__(self) -> str:
        return f"{self.deployment}: no reply within {self.timeout_s:.3g} s."

    @property
    def client_message(self) -> str:  # type: ignore[override]  # a property here
        """The timeout."""
        return f"The application did not answer within {self.timeout_s:.3g} s."


@dataclass(eq=False)
class ReplicaUnavailableError(RequestError):
    """A replica was lost after it may have started the request.

    Only an idempotent request (`Call.idempotent`) is retried at another replica.

    Attributes:
        deployment: The called deployment, as `application#deployment`.
        replica: The id of the last replica.
        reason: The observed failure of the replica.
        attempts: Number of replicas that the request was sent to.
    """

    code = ErrorCode.UNAVAILABLE

    deployment: str
    replica: str
    reason: str
    attempts: int = 1

    def __str__(self) -> str:
        attempts = (
            "The request may have run, and was not retried."
            if self.attempts == 1
            else f"The request was sent {self.attempts} times, and may have run as often."
        )
        return (
            f"{self.deployment}: replica {self.replica} was lost during the request "
            f"({self.reason}). {attempts}"
        )

    @property
    def client_message(self) -> str:  # type: ignore[override]  # a property here
        """Whether the request was retried."""
        retried = "was not retried" if self.attempts == 1 else "was retried without success"
        return f"The replica of this request was lost. The request may have run, and {retried}."


@dataclass(eq=False)
class DeploymentUnavailableError(RequestError):
    """A deployment has failed for good or was deleted, so no replica will start.

    Attributes:
        deployment: The called deployment, as `application#deployment`.
        reason: The reason, as a sentence.
    """

    code = ErrorCode.UNAVAILABLE
    client_message = "The application is unavailable: it failed to start or was deleted."

    deployment: str
    reason: str

    def __str__(self) -> str:
        return f"{self.deployment} is unavailable: {self.reason}"


@dataclass(eq=False)
class RequestCancelledError(RequestError):
    """The caller cancelled the request, for example with `DeploymentResponse.cancel()`.

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
    """An exception of another process that cannot be unpickled in this process.

    Stands for an exception of user code, or for a plugin's `RequestError` with its code and
    attributes.

    Attributes:
        type_name: Qualified name of the exception's class.
        message: `str()` of the exception.
        traceback: The formatted traceback, with the user's frames.
        code: Code of the `RequestError`; `INTERNAL` for an exception of user code.
        client_message: Message of the `RequestError`; "" for an exception of user code.
        attributes: JSON-able attributes of the `RequestError`, by name.
    """

    type_name: str
    message: str
    traceback: str
    code: ErrorCode = ErrorCode.INTERNAL
    client_message: str = ""
    attributes: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}\n\n{self.traceback}"


class InternalError(ServeError):
    """A bug in alacarte. Please report it with the traceback."""


def request_code(error: BaseException) -> ErrorCode:
    """Return the code with which an ingress answers a request that failed with `error`.

    The code of a `RequestError`; `INTERNAL` for any other error, such as a `ConfigError` in user
    code, which clients of the application cannot fix.
    """
    return error.code if isinstance(error, RequestError) else ErrorCode.INTERNAL
