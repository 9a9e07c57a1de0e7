"""A small HTTP gateway over blocks in memory, which may lie, stall, cut, redirect, or be busy."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.cid import Cid

Answer = Callable[[BaseHTTPRequestHandler, Cid, bytes], bool]
"""Answers in place of the gateway; returns whether it did."""


def blocks_of(home: Path) -> dict[Cid, bytes]:
    """Return every block in the batches of a home."""
    blocks: dict[Cid, bytes] = {}
    for path in home.rglob("*.car"):
        blocks |= blocks_in(path)
    return blocks


def blocks_in(path: Path) -> dict[Cid, bytes]:
    """Return every block of a CAR file."""
    with path.open("rb") as stream:
        return dict(car.Reader(stream))


class Served:
    """What a running gateway has seen."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[str] = []
        self.now = 0
        """Requests that have no answer yet."""
        self.most_at_once = 0


@contextlib.contextmanager
def gateway(
    blocks: Mapping[Cid, bytes],
    *,
    names: Mapping[str, str] | None = None,
    answer: Answer | None = None,
) -> Iterator[Served]:
    """Run a gateway within the block.

    Args:
        blocks: the blocks.
        names: the CID to which each name leads.
        answer: answers in place of the gateway.
    """
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            text, _, query = self.path.removeprefix("/ipfs/").partition("?")
            text = (names or {}).get(text.removeprefix("/ipns/"), text)
            with lock:
                served.asked.append(text)
                served.now += 1
                served.most_at_once = max(served.most_at_once, served.now)
            try:
                cid = Cid.parse(text)
                assert query == "format=raw"
                block = blocks.get(cid)  # a test may put it in while this answer is written
                if answer is not None and answer(self, cid, block or b""):
                    return
                self.send_response(404 if block is None else 200)
                self.send_header("Content-Length", str(len(block or b"")))
                self.end_headers()
                self.wfile.write(block or b"")
            finally:
                with lock:
                    served.now -= 1

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        served = Served(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
