"""Sends or takes one very large body, and checks that all of it has arrived.

Standard library only.
"""

from __future__ import annotations

import argparse
import http.client
import json
import time
from collections.abc import Iterator

HOST = "127.0.0.1"
PART_BYTES = 256 * 1024
NAP_BYTES = 10_000_000
TIMEOUT_S = 60


def parts(size: int) -> Iterator[bytes]:
    """Give a body of `size` bytes in parts."""
    part = b"x" * PART_BYTES
    while size > 0:
        yield part[:size]
        size -= PART_BYTES


def upload(connection: http.client.HTTPConnection, size: int, pause_s: float) -> int:
    """Send a body to a handler that pauses before it reads; return the size it saw."""
    headers = {"Content-Length": str(size)}
    connection.request("POST", f"/upload?pause_s={pause_s}", parts(size), headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    if answer.status != 200:
        raise AssertionError(f"an upload was answered {answer.status}: {text[:200]}")
    return int(text)


def download(
    connection: http.client.HTTPConnection, size: int, pause_s: float, nap_s: float
) -> int:
    """Take a body after a pause, with a nap now and then; return its size."""
    connection.request("GET", f"/download?bytes={size}")
    answer = connection.getresponse()
    if answer.status != 200:
        raise AssertionError(f"a download was answered {answer.status}")
    time.sleep(pause_s)
    buffer = memoryview(bytearray(PART_BYTES))
    taken, rested = 0, 0
    while count := answer.readinto(buffer):
        taken += count
        if nap_s and taken - rested >= NAP_BYTES:
            time.sleep(nap_s)
            rested = taken
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--way", choices=("upload", "download"), required=True)
    parser.add_argument("--bytes", type=int, required=True)
    parser.add_argument("--pause-s", type=float, default=0)
    parser.add_argument("--nap-s", type=float, default=0, help="after each 10 MB of a download")
    options = parser.parse_args()
    connection = http.client.HTTPConnection(HOST, options.port, timeout=TIMEOUT_S)
    began = time.perf_counter()
    if options.way == "upload":
        size = upload(connection, options.bytes, options.pause_s)
    else:
        size = download(connection, options.bytes, options.pause_s, options.nap_s)
    seconds = time.perf_counter() - began
    if size != options.bytes:
        raise AssertionError(f"{size} bytes arrived of {options.bytes}")
    print(json.dumps({"bench": {"seconds": seconds}}))


if __name__ == "__main__":
    main()
