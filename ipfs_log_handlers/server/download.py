"""Answer `/api/download`: the records that match, as a file that is sent while it is read."""

from __future__ import annotations

import asyncio
import csv
import io
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from ipfs_log_handlers.server.answers import as_text, refusal_of
from ipfs_log_handlers.server.parameters import FILTER, Chosen, choice_of, chosen_of, known_only
from ipfs_log_handlers.server.work import Reading, StoppedError, Work

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Dataset

__all__ = ["MAX_DOWNLOADED", "routes"]

MAX_DOWNLOADED: Final = 1_000_000
"""Records of one file."""
_CHUNK_BYTES: Final = 256 * 1024
"""Bytes that are sent at once."""
_CLIENT_S: Final = 30.0
"""Seconds in which a client must take what is sent."""
_log: Final = logging.getLogger("ipfs_log_handlers.server")
_TYPES: Final = {"jsonl": "application/x-ndjson", "csv": "text/csv"}


def routes(work: Work) -> list[web.RouteDef]:
    """Return the route.

    Args:
        work: reads the records. A file may take long: it must be the work of nothing else.
    """

    async def download(request: web.Request) -> web.StreamResponse:
        known_only(request, *FILTER, "format", "order")
        chosen = chosen_of(request)
        form = choice_of(request, "format", tuple(_TYPES), "jsonl")
        order = choice_of(request, "order", ("oldest", "newest"), "oldest")
        answer = web.StreamResponse(
            headers={
                "Content-Type": f"{_TYPES[form]}; charset=utf-8",
                "Content-Disposition": f'attachment; filename="records.{form}"',
            }
        )
        loop = asyncio.get_running_loop()

        async def send(data: bytes) -> None:
            if not answer.prepared:
                await answer.prepare(request)
            await asyncio.wait_for(answer.write(data), _CLIENT_S)

        def read(reading: Reading) -> None:
            for data in _chunks(reading, chosen, form, newest_first=order == "newest"):
                _wait(asyncio.run_coroutine_threadsafe(send(data), loop), reading)

        try:
            await work.run(read, seconds=None)
        except Exception as error:
            if not answer.prepared:
                raise
            is_fault = refusal_of(error) is None and not isinstance(error, asyncio.TimeoutError)
            if not is_fault and not isinstance(error, (StoppedError, ConnectionError)):
                _log.warning("a download ended before its file was whole: %s", str(error) or type(error).__name__)
            # The status is sent: only a connection that ends too early tells the client.
            if request.transport is not None:
                request.transport.abort()
            if is_fault:
                raise
            return answer
        if not answer.prepared:
            await answer.prepare(request)
        await answer.write_eof()
        return answer

    return [web.get("/api/download", download, allow_head=False)]


def _wait(sent: Future[None], reading: Reading) -> None:
    """Wait until a chunk is sent, or nobody waits for the reading any more."""
    done = threading.Event()
    sent.add_done_callback(lambda _: done.set())
    while not done.wait(0.2):
        if reading.stopped.is_set():
            sent.cancel()
            raise StoppedError
    sent.result()


def _chunks(reading: Reading, chosen: Chosen, form: str, *, newest_first: bool) -> Iterator[bytes]:
    dataset = chosen.of(reading.dataset)
    if newest_first:
        dataset = dataset.reverse()
    held: list[bytes] = []
    size = 0
    for row in _rows(reading, dataset, form):
        held.append(row)
        size += len(row)
        if size >= _CHUNK_BYTES:
            reading.check()
            yield b"".join(held)
            held.clear()
            size = 0
    yield b"".join(held)


def _rows(reading: Reading, dataset: Dataset, form: str) -> Iterator[bytes]:
    from ipfs_log_handlers.api import csv_rows, json_line

    records = iter(dataset)
    kept = islice(records, MAX_DOWNLOADED)
    rows = csv_rows(kept, None) if form == "csv" else map(json_line, kept)
    return chain(rows, _rest(reading, records, form))


def _rest(reading: Reading, records: Iterator[object], form: str) -> Iterator[bytes]:
    """Yield a line if batches could not be read, and a last line if records were left out."""
    is_truncated = next(records, None) is not None
    gaps = reading.gaps()
    if gaps:
        yield _line("gaps", gaps, form)
    if is_truncated:
        yield _line("truncated", True, form)


def _line(name: str, value: Any, form: str) -> bytes:
    """Return a line that is no record; in CSV a row of its own form."""
    if form == "jsonl":
        return as_text({name: value}).encode() + b"\n"
    row = io.StringIO()
    csv.writer(row).writerow([name] if value is True else [name, as_text(value)])
    return row.getvalue().encode()
