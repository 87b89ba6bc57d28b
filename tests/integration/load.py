"""Load on a schedule: requests leave when they are due, however slow the answers are.

Connections are kept open, nothing is sent twice, and every request is accounted for.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType

from tests.integration.instance import Answer, Client

from alacarte.testing import wait_until

__all__ = ["Load"]


class Load:
    """Requests to one URL, for as long as its block lasts.

    Args:
        url: Of the instance.
        path: What to ask for.
        rate: Requests per second, all workers together.
        workers: Connections; also the most requests under way at a time.
    """

    def __init__(self, url: str, path: str = "/", *, rate: float = 300, workers: int = 8) -> None:
        self.answers: list[Answer] = []
        self._url = url
        self._path = path
        self._rate = rate
        self._turns = itertools.count()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(workers)]

    def __enter__(self) -> Load:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def more(self, count: int, timeout_s: float = 60) -> None:
        """Wait until that many more answers are there."""
        wanted = len(self.answers) + count
        wait_until(lambda: len(self.answers) >= wanted, timeout_s, f"{count} more answers")

    def until(self, condition: Callable[[list[Answer]], object], timeout_s: float = 30) -> None:
        """Wait until the answers so far fulfil a condition."""
        wait_until(lambda: condition(self.answers), timeout_s, "answers as expected")

    @property
    def failures(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status != 200]

    @property
    def bodies(self) -> Counter[str]:
        return Counter(answer.text for answer in self.answers if answer.status == 200)

    def _work(self) -> None:
        client = Client(self._url)
        while not self._ended.is_set():
            due = self._began + next(self._turns) / self._rate
            if self._ended.wait(max(due - time.monotonic(), 0)):
                break
            sent_at = time.monotonic()
            try:
                answer = client.get(self._path)
            except Exception as error:  # whatever it is, it is a lost request
                answer = Answer(0, b"", {}, sent_at, time.monotonic(), repr(error))
            self.answers.append(answer)
        client.close()
