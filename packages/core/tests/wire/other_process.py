"""A replica, a caller, or both, in a process of their own: `python -m wire.other_process`."""

import asyncio
import sys

from alacarte._wire.caller_connection import connect
from alacarte._wire.error_codec import unpickle_error
from alacarte._wire.listener import Listener
from alacarte.types import Address, Reply

from .support import HERE, MAX_MESSAGE, PATIENCE_S, REPLICA_ID, SECRET, Desk, start

SIZE = 1_000_000


async def serve(path):
    """Answer each call with a long reply."""

    async def service(call):
        return Reply((b"x" * SIZE,))

    desk = Desk(service, 100)
    desk.listener = Listener(desk, REPLICA_ID, SECRET, max_message=MAX_MESSAGE, metadata=dict)
    await desk.listener.listen_unix(path)
    return desk


async def long_reply(path, calls):
    """Return a connection and a reply: the first in shared memory, or the last of so many."""
    connection = await connect(
        Address(path, HERE),
        REPLICA_ID,
        SECRET,
        host_id=HERE,
        max_message=MAX_MESSAGE,
        decode_error=unpickle_error,
    )
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(calls):  # the proof is given meanwhile
            reply = await start(connection, streaming=True).reply
            assert reply.payload[0] == b"x" * SIZE
            if isinstance(reply.payload[0], memoryview):
                break
    return connection, reply


async def main(role, path):
    if role != "caller":
        desk = await serve(path)
    if role != "replica":
        connection, reply = await long_reply(path, 20 if role == "both" else 1000)
        print(type(reply.payload[0]).__name__, flush=True)
    else:
        print("listening", flush=True)
    if role != "both":
        await asyncio.Event().wait()  # until it is killed
    del reply
    connection.close()
    desk.listener.close()
    await desk.listener.wait_closed()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
