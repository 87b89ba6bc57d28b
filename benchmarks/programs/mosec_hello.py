"""Mosec answering a short text: one worker, bytes in and out, no JSON, no batching.

Mosec sends POST requests to workers and answers GET by itself, so this one is measured with a
POST of five bytes.
"""

from __future__ import annotations

from mosec import Server, Worker


class Hello(Worker):
    resp_mime_type = "text/plain"

    def deserialize(self, data):
        return data

    def forward(self, data):
        return b"hello"

    def serialize(self, data):
        return data


if __name__ == "__main__":
    server = Server()  # address, port and log level come from MOSEC_* variables
    server.append_worker(Hello, num=1)
    server.run()
