"""Store of answers by cache key. Pure."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from .config import CacheOptions

__all__ = ["AnswerStore"]


class AnswerStore:
    """A bounded store of answers with a limited lifetime.

    Args:
        options: Lifetime, number and size of answers.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, options: CacheOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._clock = clock
        self._answers: OrderedDict[Hashable, tuple[float, bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, question: Hashable) -> bytes | None:
        """Return the answer to a question, None without a fresh answer."""
        found = self._answers.get(question)
        if found is None:
            return None
        expires, answer = found
        if self._clock() >= expires:
            del self._answers[question]
            return None
        self._answers.move_to_end(question)
        return answer

    def keep(self, question: Hashable, answer: bytes) -> None:
        """Add an answer; evict the least recently used answer from a full store."""
        if len(answer) > self._options.max_answer_bytes:
            return
        self._answers[question] = (self._clock() + self._options.ttl_s, answer)
        self._answers.move_to_end(question)
        if len(self._answers) > self._options.max_answers:
            self._answers.popitem(last=False)
