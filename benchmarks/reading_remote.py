"""Read a log from the CID of its head: from a server with latency, and from a real Kubo daemon, by RPC and gateway.

python -m benchmarks.reading_remote HOME        serves the blocks of a home until stdin ends
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from benchmarks.reading_questions import SUBSYSTEM, Sample

__all__ = ["rows"]

_LATENCY_S: Final = 0.005


def _log_of(home: Path) -> Any:
    from ipfs_log_handlers.home.layout import HomeDir
    from ipfs_log_handlers.home.logs import logs_of

    return logs_of(HomeDir(home).subsystem_dir(SUBSYSTEM))[-1]


def _serve(home: Path) -> None:
    """Serve the blocks, each some milliseconds after it was asked for; print the address and the CID of the head.

    Each request comes in one piece, and the server does as little as possible: it shares the machine with the reader.
    """
    log = _log_of(home)
    blocks = {cid.text: block for index in range(log.newest + 1) for cid, block in log.batches.blocks(index)}

    class Answers(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport = cast("asyncio.Transport", transport)

        def data_received(self, data: bytes) -> None:
            block = blocks[data.split(b" ", 2)[1].decode().rpartition("/")[2].partition("?")[0]]
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(block), block)
            asyncio.get_running_loop().call_later(_LATENCY_S, self._transport.write, answer)

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Answers, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        print(json.dumps([f"http://127.0.0.1:{port}", _head_of(home)]), flush=True)
        await asyncio.to_thread(sys.stdin.read)

    asyncio.run(serve())


def _head_of(home: Path) -> str:
    log = _log_of(home)
    return str(log.batches.facts(log.newest).head_cid.text)


def _read(head: str, **place: str) -> Sample:
    """List all batches from the CID of the head on, then read every payload."""
    from ipfs_log_handlers import open_dataset

    with open_dataset(head, **place) as dataset:  # type: ignore[arg-type]
        began = time.perf_counter()
        batches = len(dataset.explain().batches)
        listed = time.perf_counter()
        found = sum(1 for _ in dataset.filter(where={"user": "nobody of this name"}))
        done = time.perf_counter()
    return {"batches": batches, "found": found, "list": listed - began, "read": done - listed}


def _over_latency(scratch: Path, rounds: int) -> list[Sample]:
    command = [sys.executable, "-m", "benchmarks.reading_remote", str(scratch / "home")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        address, head = json.loads(server.stdout.readline())
        samples = [_read(head, gateway=address) for _ in range(rounds)]
        server.stdin.close()
    return samples


def _from_kubo(scratch: Path, rounds: int) -> dict[str, list[Sample]]:
    from ipfs_log_handlers import open_home
    from tests.kubo.build import kubo_binary
    from tests.kubo.daemon import Daemon

    head = _head_of(scratch / "home")
    with Daemon(kubo_binary()) as daemon:
        result = open_home(scratch / "home").ship([daemon.url], timeout=300)
        if result.unshipped:
            raise RuntimeError(f"{result.unshipped} batches were not shipped")
        return {
            "RPC": [_read(head, kubo=daemon.url) for _ in range(rounds)],
            "gateway": [_read(head, gateway=daemon.gateway_url) for _ in range(rounds)],
        }


def _row(what: str, samples: Sequence[Sample]) -> str:
    listed, read = (statistics.median(sample[name] for sample in samples) for name in ("list", "read"))
    return f"| {what} | {listed + read:.2f} s: manifests {listed:.2f}, payloads {read:.2f} |"


def rows(scratch: Path, rounds: int) -> list[str]:
    """Return the rows of the table of `reading.py`."""
    samples = _over_latency(scratch, rounds)
    batches = int(samples[0]["batches"])
    table = [_row(f"{batches} batches over 5 ms of latency, by gateway (≤ 1 s)", samples)]
    return table + [
        _row(f"{batches} batches of a real Kubo, by {how}", found)
        for how, found in _from_kubo(scratch, min(rounds, 3)).items()
    ]


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
