"""A 16 MB NumPy array sent to another deployment and back, one at a time.

MB/s counts the array once for each round trip, in units of 10**6 bytes.
"""

from __future__ import annotations

from program import drive, serve


@serve.deployment(max_ongoing_requests=100)
class Echo:
    async def __call__(self, array):
        return array


@serve.deployment(max_ongoing_requests=100)
class Driver:
    def __init__(self, echo):
        self.echo = echo

    async def echo_arrays(self, seconds):
        import time

        import numpy

        array = numpy.arange(2_000_000, dtype=numpy.float64)
        trips, began = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds:
            array[0] = array[-1] = trips  # what comes back has to be what was sent this time
            back = await self.echo.remote(array)
            if back.shape != array.shape or back[0] != trips or back[-1] != trips:
                raise AssertionError("an array came back changed")
            trips += 1
        return {"numpy_mb_per_s": trips * array.nbytes / 1e6 / elapsed, "seconds": elapsed}


if __name__ == "__main__":
    drive(Driver.bind(Echo.bind()))
