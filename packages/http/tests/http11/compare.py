"""Comparison of a server's behaviour on a stream with the model's."""

from __future__ import annotations

from urllib.parse import unquote

from .edge import EARLY, Answer, Call, Observed
from .model import Request, Step

__all__ = ["compare"]


class _Differs(Exception):
    """The server did something that the model does not allow."""


def compare(steps: list[Step], observed: Observed, behaviour: str, sent: bytes) -> str | None:
    """Return how the server's reading differs from the model's, None where it does not."""
    try:
        _Comparison(observed, behaviour, sent).follow(steps)
    except _Differs as error:
        return str(error)
    return None


class _Comparison:
    def __init__(self, observed: Observed, behaviour: str, sent: bytes) -> None:
        self._observed = observed
        self._early = behaviour == EARLY
        self._sent = sent
        self._calls: list[Call] = list(observed.calls)
        self._answers: list[Answer] = list(observed.answers)
        self._number = 0

    def follow(self, steps: list[Step]) -> None:
        """Compare the observations step by step."""
        self._demand(not self._observed.complaints, "; ".join(self._observed.complaints))
        for index, step in enumerate(steps):
            if self._ends_with(step, f"request {index}"):
                break
        else:
            raise _Differs("the connection goes on behind the last request")  # pragma: no cover
        self._demand(not self._calls, f"the application was called once more: {self._calls}")
        self._demand(not self._answers, f"another answer: {self._answers}")

    def _ends_with(self, step: Step, name: str) -> bool:
        """Compare one step; return whether it must be the last."""
        if self._upgrades(step, name):
            return True
        answer = self._answers[0] if self._answers else None
        if answer is None:
            return self._ends_silently(step, name)
        if answer.call is None and answer.status != 200:
            self._is_refused(step, answer, name)
            return True
        self._answers.pop(0)
        self._is_answered(step, answer, name)
        early = self._early or step.own
        if step.serve:
            if self._observed.closed and not self._answers and not self._calls:
                unread = early and (step.expects or bool(step.refusals))
                if not answer.closes and not unread and step.last is not True:
                    return False  # whether the client has stopped sending
                self._demand(answer.closes or unread, f"{name}: closed, and the client not told")
                self._demand(step.last is not False or unread, f"{name}: closed, and must not be")
                return True
            self._demand(not answer.closes, f"{name}: `connection: close`, and it is open")
            self._demand(step.last is not True, f"{name}: the connection must end")
            return False
        self._demand(early, f"{name}: answered, and must not be: {answer}")
        if not step.wait:
            self._demand(self._observed.closed, f"{name}: the connection must end")
        elif answer.closes or step.last is True:
            self._demand(self._observed.closed, f"{name}: told that it ends, and open")
        elif self._observed.closed:
            self._demand(bool(step.refusals) or step.last is None, f"{name}: closed early")
        return step.wait or self._observed.closed

    def _upgrades(self, step: Step, name: str) -> bool:
        """Whether the connection goes on as a WebSocket at this step."""
        observed = self._observed
        if observed.upgraded is None or len(self._calls) > 1 or self._answers:
            other = step.serve or step.refusals or step.wait or step.silent_end
            self._demand(bool(other), f"{name}: must go on as a WebSocket")
            return False
        if not step.upgrade:
            raise _Differs(f"{name}: went on as a WebSocket")
        call = self._calls.pop(0)
        assert step.request is not None
        self._same(call.request, step.request, name, body=False)
        rest = self._sent[step.end :]
        self._demand(observed.upgraded == rest, f"{name}: the WebSocket got {observed.upgraded!r}")
        return True

    def _is_refused(self, step: Step, answer: Answer, name: str) -> None:
        self._answers.pop(0)
        self._demand(answer.status in step.refusals, f"{name}: refused with {answer.status}")
        self._demand(answer.closes and self._observed.closed, f"{name}: refused, and open")
        if step.bodiless is not None:
            self._demand(answer.bodiless == step.bodiless, f"{name}: bodiless: {answer.bodiless}")
        self._may_have_begun(step, name)

    def _may_have_begun(self, step: Step, name: str) -> None:
        """Accept that the application got a part of an incomplete request."""
        if not self._calls:
            return
        call = self._calls.pop(0)
        if step.request is None:
            raise _Differs(f"{name}: the application was called: {call}")
        self._demand(not call.complete, f"{name}: the application got all of it: {call}")
        self._same(call.request, step.request, name, body=None)

    def _ends_silently(self, step: Step, name: str) -> bool:
        closed = self._observed.closed
        if closed:
            self._demand(step.silent_end, f"{name}: closed without an answer")
        else:
            self._demand(step.wait, f"{name}: open, and no answer")
        self._may_have_begun(step, name)
        return True

    def _is_answered(self, step: Step, answer: Answer, name: str) -> None:
        if answer.call is None:
            self._demand(step.own, f"{name}: the server answered itself")
            return
        self._demand(answer.status == 200, f"{name}: {answer}")
        self._demand(answer.call == self._number, f"{name}: got the answer of call {answer.call}")
        self._number += 1
        call = self._calls.pop(0)
        if step.request is None or step.own:
            raise _Differs(f"{name}: the application answered: {call}")
        self._same(call.request, step.request, name, body=None if self._early else True)
        path = "" if call.path is None else call.path
        self._demand(path == unquote(call.request.path.decode("ascii")), f"{name}: path {path!r}")
        self._demand(answer.bodiless == (step.request.method == b"HEAD"), f"{name}: {answer}")

    def _same(self, got: Request, read: Request, name: str, *, body: bool | None) -> None:
        """Compare two requests; of a body, None compares only the beginning."""
        for part in ("method", "path", "query", "version", "headers"):
            ours, theirs = getattr(got, part), getattr(read, part)
            self._demand(ours == theirs, f"{name}: {part} {ours!r} instead of {theirs!r}")
        if body:
            self._demand(got.body == read.body, f"{name}: body {got.body!r}, not {read.body!r}")
        elif body is None:
            self._demand(read.body.startswith(got.body), f"{name}: body begins {got.body!r}")

    def _demand(self, held: bool, message: str) -> None:
        if not held:
            raise _Differs(message)
