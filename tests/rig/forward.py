"""``python -m tests.rig.forward ADDRESS PORT TARGET TARGET_PORT``.

Pass connections on to a pod.

The test clusters have no Services of their own; this stands in for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def main(address: str, port: int, target: str, target_port: int) -> None:
    """Serve until killed."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream, back = await asyncio.open_connection(target, target_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, back), _pump(upstream, writer))
        back.close()
        writer.close()

    server = await asyncio.start_server(accept, address, port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
