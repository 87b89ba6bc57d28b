"""Small integers streamed from one deployment to another through a handle."""

from __future__ import annotations

from program import drive, serve


@serve.deployment(max_ongoing_requests=100)
class Source:
    async def __call__(self, number):
        for item in range(number):
            yield item


@serve.deployment(max_ongoing_requests=100)
class Driver:
    def __init__(self, source):
        self.source = source.options(stream=True)

    async def consume(self, seconds):
        import time

        items, per_stream, began = 0, 1000, time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds:
            expected = 0
            async for item in self.source.remote(per_stream):
                if item != expected:
                    raise AssertionError("a stream came out of order")
                expected += 1
            if expected != per_stream:
                raise AssertionError(f"a stream ended after {expected} items")
            items += expected
        return {"stream_items_per_s": items / elapsed, "seconds": elapsed}


if __name__ == "__main__":
    drive(Driver.bind(Source.bind()))
