"""R28: time that is up. `python -m tests.faults.deadlines`"""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass

from tests.faults.figures import Figure, at_most, exactly, main, percentile
from tests.faults.serving import Server, serving

__all__ = ["WISHES", "Timed", "ask", "scenario"]

LIMIT_S = 1.0
"""For `request_timeout_s`."""
WISHES = {"0": 504, "-1": 504, "1e9": 504, "inf": 504, "nan": 400, "soon": 400, "0.3": 504}
"""What a client may wish for a call that takes 1.5 s, and how it is answered."""


@dataclass(frozen=True)
class Timed:
    """A response and the time it took."""

    status: int
    took_s: float


def ask(server: Server, path: str, wish: str) -> Timed:
    """Ask with a time limit of the client's own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.connect()
    began = time.monotonic()
    connection.request("GET", path, headers={"x-request-timeout-seconds": wish})
    response = connection.getresponse()
    response.read()
    connection.close()
    return Timed(response.status, time.monotonic() - began)


def scenario(cluster: str) -> list[Figure]:
    """A client with 300 ms, and a chain of three that takes 200 ms each."""
    figures = []
    with serving(cluster, request_timeout_s=LIMIT_S) as server:
        found = [ask(server, "/chain?0.2,0.2,0.2", "0.3") for _ in range(50)]
        begun = [started for started, _ in server.gauge()]
        off = [abs(each.took_s - 0.3) * 1000 for each in found]
        figures += [
            exactly("answered 504", sum(each.status == 504 for each in found), 50),
            at_most("off 300 ms, worst of 50", max(off), 20, "ms"),
            Figure("median", percentile(off, 0.5), "ms"),
            Figure("begun at link 1", begun[0]),
            Figure("begun at link 2", begun[1]),
            exactly("begun at link 3", begun[2], 0),
            exactly("still running", server.running, 0),
        ]
        for wish, status in WISHES.items():
            answer = ask(server, "/chain?0,0,1.5", wish)
            figures.append(exactly(f"header {wish!r}: status", answer.status, status))
            if status == 504:
                figures.append(at_most("after", answer.took_s, LIMIT_S + 0.05, "s"))
    return figures


if __name__ == "__main__":
    main(scenario)
