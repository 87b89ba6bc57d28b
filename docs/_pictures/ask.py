"""The client of the recording: 50 requests a second until Ctrl-C, then a count of the answers."""

from __future__ import annotations

import asyncio
import collections
import signal

answers: collections.Counter[str] = collections.Counter()
failures: collections.Counter[str] = collections.Counter()
REQUEST = b"GET /?name=Ada HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def ask() -> None:
    """Ask once, and count the first word of the answer."""
    try:
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", 8000)
            writer.write(REQUEST)
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
    except OSError as error:
        failures[repr(error)] += 1
        return
    status = head.split(b" ", 2)[1]
    if status == b"200":
        answers[body.decode().partition(",")[0]] += 1
    else:
        failures[head.partition(b"\r\n")[0].decode()] += 1


async def main() -> None:
    """Send each request when it is due, however slow the answers are."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stopped.set)
    next_at = loop.time()
    async with asyncio.TaskGroup() as requests:
        while not stopped.is_set():
            requests.create_task(ask())
            next_at += 0.02
            await asyncio.sleep(next_at - loop.time())


asyncio.run(main())
words = " + ".join(f"{number:,} {word}" for word, number in sorted(answers.items()))
print(f"{answers.total():,} answers: {words}; {failures.total()} failed")
for failure, number in failures.items():
    print(f"{number:,} times {failure}")
