"""Every error alacarte raises, and what each one means to the person who gets it.

All derive from `ServeError`. They carry plain attributes, pickle with them, and know no
HTTP: which status code an error becomes is the business of the package that speaks HTTP.
Exceptions raised by user code are not wrapped: callers get the user's own type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = [
    "BackPressureError",
    "ConfigError",
    "ConflictError",
    "DeadlineExceededError",
    "DeployError",
    "DeployTimeoutError",
    "DeploymentUnavailableError",
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
]


class ServeError(Exception):
    """Anything alacarte itself raises."""

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


class PluginError(ServeError):
    """A plugin is missing, broken, of another version than expected, or in conflict."""


class NotFoundError(ServeError, LookupError):
    """No application, deployment or method has that name."""


class DeployError(ServeError, RuntimeError):
    """An application could not be brought up; the message starts at the user's own frame."""


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

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} was changed by somebody else meanwhile; try again."


class RequestError(ServeError):
    """One request failed for a reason that lies outside of the user's code."""


@dataclass(eq=False)
class InvalidRequestError(RequestError, ValueError):
    """A request says something that no request may say, and would fail again unchanged.

    Attributes:
        deployment: Which deployment refuses it, as `application#deployment`.
        reason: What is wrong, and what is allowed. HTTP clients are told it.
    """

    deployment: str
    reason: str

    def __str__(self) -> str:
        return f"{self.deployment}: {self.reason}"


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

    deployment: str
    timeout_s: float

    def __str__(self) -> str:
        return f"{self.deployment}: no reply within {self.timeout_s:.3g} s."


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


@dataclass(eq=False)
class DeploymentUnavailableError(RequestError):
    """A deployment has failed for good or was deleted: no replica will come.

    Attributes:
        deployment: As `application#deployment`.
        reason: Why, in a sentence.
    """

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

    request_id: str

    def __str__(self) -> str:
        return f"request {self.request_id} was cancelled by its caller."


@dataclass(eq=False)
class RemoteError(RequestError):
    """User code raised an exception that could not travel here as itself.

    Attributes:
        type_name: Qualified name of the exception's class where it was raised.
        message: `str()` of the exception.
        traceback: The formatted traceback, the user's frames included.
    """

    type_name: str
    message: str
    traceback: str

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}\n\n{self.traceback}"


class InternalError(ServeError):
    """A bug in alacarte. Please report it with the traceback."""
