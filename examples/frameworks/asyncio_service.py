"""An asyncio service: a line of text is an order, and each is logged on the event loop's own thread.

    IPFS_LOGS_HOME=/var/lib/shop/logs python asyncio_service.py 8000

A logging call costs the loop one write to a file; batches are signed and shipped on a thread of their own.
"""

from __future__ import annotations

import asyncio
import logging
import logging.config
import signal
import sys

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"ipfs": {"class": "ipfs_log_handlers.IPFSHandler", "subsystem": "logs"}},
    "root": {"handlers": ["ipfs"], "level": "INFO"},
}

log = logging.getLogger("shop")


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each line, and log it."""
    async for line in reader:
        log.info("order placed", extra={"number": int(line)})
        writer.write(b"placed\n")
        await writer.drain()
    writer.close()


async def main(port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncio.start_server(serve, "127.0.0.1", port)
    log.info("listening")
    await stop.wait()
    server.close()
    log.info("stopped")


if __name__ == "__main__":
    logging.config.dictConfig(LOGGING)
    asyncio.run(main(int(sys.argv[1])))
