"""Handle calls inside a replica: one at a time, and in windows of 32."""

from __future__ import annotations

from program import drive, serve


@serve.deployment(max_ongoing_requests=100)
class Echo:
    async def __call__(self, value):
        return value


@serve.deployment(max_ongoing_requests=100)
class Driver:
    def __init__(self, echo):
        self.echo = echo

    async def one_at_a_time(self, seconds):
        import time

        calls, began = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds:
            if await self.echo.remote(calls) != calls:
                raise AssertionError("an echo came back changed")
            calls += 1
        return {"handle_1_per_s": calls / elapsed, "seconds": elapsed}

    async def windows_of_32(self, seconds):
        import asyncio
        import time

        calls, began = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds:
            window = range(calls, calls + 32)
            if await asyncio.gather(*[self.echo.remote(i) for i in window]) != list(window):
                raise AssertionError("an echo came back changed")
            calls += 32
        return {"handle_32_per_s": calls / elapsed, "seconds": elapsed}


if __name__ == "__main__":
    drive(Driver.bind(Echo.bind()))
