"""Measure proofs and verification: a chain of a million manifests, bundles, a log verified from afar, and a reader.

    python -m benchmarks.proof [--batches 1000000]

The long chain is made in memory, by the encoder of the package; a manifest is made again when it is read, and the time
for that does not count. `proof_peers.py` compares appending and verifying with other packages.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from benchmarks import proof_peers
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey, log_name
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.index_page import PAGE_BATCHES
from ipfs_log_handlers.format.manifest import Manifest, jump_index
from ipfs_log_handlers.format.snapshot import blocks_of
from ipfs_log_handlers.reader.chain_check import differences
from ipfs_log_handlers.reader.sealed_log import by_jumps

__all__ = ["Chain", "collect", "report"]

_KEY: Final = SecretKey.generate(bytes(range(32)))
_LOG: Final = log_name(_KEY.name, "audit", "01234567")
_START: Final = 1_767_225_600_000_000
_WALKED: Final = 100_000
"""Manifests of the walk along the chain, the newest ones."""
_PROVED: Final = 300
"""Batches that are proved, drawn at random."""
_EDGE_EVERY: Final = 16
"""Manifests after which the edge of the tree is remembered, to make a manifest again."""
_HOME_BATCHES: Final = 200
"""Batches of the home that is proved and verified, of 100 records each."""
_FOLLOWED: Final = 15
"""Records whose way to a reader elsewhere is measured."""


@dataclass(frozen=True, slots=True)
class _Link:
    """A manifest as the walk along a chain finds it."""

    index: int
    cid: Cid
    block: bytes

    def manifest(self) -> Manifest:
        """Decode the manifest."""
        return Manifest.decode(self.block)


class Chain:
    """A log of many batches, of which only the hashes are in memory.

    Args:
        batches: number of batches.
    """

    def __init__(self, batches: int) -> None:
        self.cids: list[Cid] = []
        self._edges: dict[int, merkle.Edge] = {}
        self.append_us: list[float] = []
        """CPU of each tenth of the chain, µs a batch: manifest, CID, edge, root, signature."""
        edge: merkle.Edge = ()
        tenth = max(1, batches // 10)
        spent = 0.0
        for index in range(batches):
            began = time.process_time()
            manifest = self._made(index, edge)
            edge = manifest.edge_after()
            Checkpoint(_LOG, index + 1, merkle.edge_root(edge)).signed(_KEY)
            spent += time.process_time() - began
            self.cids.append(manifest.cid)
            if not (index + 1) % _EDGE_EVERY:
                self._edges[index + 1] = edge
            if not (index + 1) % tenth:
                self.append_us.append(spent / tenth * 1e6)
                spent = 0.0
        self._edges[0] = ()
        self.edge = edge

    def _made(self, index: int, edge: merkle.Edge) -> Manifest:
        jump = jump_index(index)
        content = sha256(b"%d" % index).digest()
        sealed = _START + index * 10_000_000
        return Manifest(
            log=_LOG, index=index, prev=self.cids[index - 1] if index else None,
            jump=None if jump is None else self.cids[jump], edge=b"".join(edge), sealed=sealed, first=sealed,
            last=sealed + 9_000_000, records=100, dropped={}, payload=Cid.of(RAW, content), size=4000, raw=20_000,
            encoding="jsonl+zstd", root=content, meta={"type": "audit_log", "record_count": 100},
            stats={"levels": {"info": 90, "warning": 10}, "loggers": {"shop": 100}},
            sources=(("0123456789abcdef", 4711, 100 * index + 1, 100 * index + 100),), evidence=(),
        )  # fmt: skip

    def manifest(self, index: int) -> Manifest:
        """Make a manifest again."""
        at = index - index % _EDGE_EVERY
        edge = self._edges[at]
        for number in range(at, index):
            edge = merkle.edge_append(edge, number, merkle.leaf_hash(self.cids[number]))
        return self._made(index, edge)

    def head(self) -> Head:
        """Return the newest head block."""
        size = len(self.cids)
        note = Checkpoint(_LOG, size, merkle.edge_root(self.edge)).signed(_KEY)
        return Head(log=_LOG, index=size - 1, manifest=self.cids[-1], checkpoint=note)


def _locating(chain: Chain) -> int:
    """Return the most manifests that are read to find one, from the newest on."""
    index_of = {cid: index for index, cid in enumerate(chain.cids)}
    newest, draw, most = chain.manifest(len(chain.cids) - 1), random.Random(1), 0
    reads = [0]

    def get(cid: Cid) -> bytes:
        reads[0] += 1
        return chain.manifest(index_of[cid]).encode()

    for index in [0, 1, 2, *(draw.randrange(len(chain.cids)) for _ in range(60))]:
        reads[0] = 0
        assert by_jumps(newest, get)(index).index == index
        most = max(most, reads[0])
    return most


def _proving(chain: Chain, *, listed: bool) -> tuple[list[int], list[float]]:
    """Prove batches; return the manifests read, and the CPU in ms, decoding of the manifests included, of each."""
    size, root, draw = len(chain.cids), merkle.edge_root(chain.edge), random.Random(2)
    reads, spent = [], []
    for index in [0, 1, *(draw.randrange(size) for _ in range(_PROVED))]:
        asked: list[int] = []
        merkle.inclusion_from_edges(index, size, _noting(asked), _list_of(chain) if listed else None)
        blocks = {number: chain.manifest(number).encode() for number in asked}

        def read(number: int, blocks: dict[int, bytes] = blocks) -> tuple[merkle.Edge, bytes]:
            manifest = Manifest.decode(blocks[number])
            return manifest.edge_hashes, merkle.leaf_hash(Cid.of(0x71, blocks[number]))

        began = time.process_time()
        hashes = merkle.inclusion_from_edges(index, size, read, _list_of(chain) if listed else None)
        merkle.verify_inclusion(merkle.leaf_hash(chain.cids[index]), index, size, hashes, root)
        spent.append((time.process_time() - began) * 1e3)
        reads.append(len(asked))
    return reads, spent


def _noting(asked: list[int]) -> merkle.ReadEdge:
    def read(number: int) -> tuple[merkle.Edge, bytes]:
        asked.append(number)
        return (bytes(32),) * number.bit_count(), bytes(32)

    return read


def _list_of(chain: Chain) -> Callable[[int, int], Sequence[bytes] | None]:
    def leaves(low: int, high: int) -> Sequence[bytes] | None:
        if high > low - low % PAGE_BATCHES + PAGE_BATCHES:
            return None
        return [merkle.leaf_hash(cid) for cid in chain.cids[low:high]]

    return leaves


def _walk(chain: Chain) -> float:
    """Return the CPU, µs a manifest, of the check of the newest part of the chain: blocks hashed, decoded, compared."""
    size = len(chain.cids)
    first = max(0, size - _WALKED)
    links, edge = [], chain.manifest(first).edge_hashes
    for index in range(first, size):
        block = chain._made(index, edge).encode()  # noqa: SLF001 - its own class
        edge = merkle.edge_append(edge, index, merkle.leaf_hash(chain.cids[index]))
        links.append(_Link(index, chain.cids[index], block))
    head = chain.head()
    began = time.process_time()
    assert all(Cid.of(0x71, link.block) == link.cid for link in links)
    assert not list(differences(links, head, whole=False))
    return (time.process_time() - began) / len(links) * 1e6


def _new_nodes(chain: Chain) -> int:
    """Return the blocks of a snapshot of all batches that the snapshot without the newest batch does not have."""
    head = Cid.of(0x71, chain.head().encode())
    before = {cid for cid, _ in blocks_of(_LOG, head, chain.cids[:-1])}
    return sum(1 for cid, _ in blocks_of(_LOG, head, chain.cids) if cid not in before)


# -- real homes and daemons


def _home(directory: Path, batches: int) -> str:
    """Make a home of so many batches of 100 records; return its verifier key."""
    from ipfs_log_handlers import IPFSHandler, open_home

    handler = IPFSHandler("audit", home=directory, batch={"records": 100}, keeper="none")
    for number in range(100 * batches):
        handler.handle(proof_peers.log_record(number))
        if not (number + 1) % 1000:  # of at most ten batches' worth, each batch has exactly as many records
            open_home(directory).ship([])
    handler.close()
    open_home(directory).ship([])
    key = open_home(directory).public_key()
    assert key is not None
    return key.verifier


def _bundles(home: Path, key: str) -> Iterator[tuple[str, str]]:
    from ipfs_log_handlers import check, open_home

    opened, draw = open_home(home), random.Random(3)
    batches = list(opened.batches())
    made, prove, checked = [], [], []
    for _ in range(100):
        batch = draw.choice(batches)
        began = time.process_time()
        made.append(opened.prove(batch.cid, draw.randrange(batch.records)))
        prove.append((time.process_time() - began) * 1e3)
        began = time.process_time()
        check(made[-1], key)
        checked.append((time.process_time() - began) * 1e3)
    middle = statistics.median
    size = middle(len(bundle) for bundle in made)
    yield f"prove a record of a log of {len(batches)} batches: CPU", f"{middle(prove):.2f} ms"
    yield "check its bundle: CPU; bytes of the bundle", f"{middle(checked):.2f} ms; {size:.0f}"


def _from_afar(home: Path, key: str, rounds: int) -> Iterator[tuple[str, str]]:
    from ipfs_log_handlers import open_home
    from ipfs_log_handlers.api import verify_sources
    from tests.kubo.build import kubo_binary
    from tests.kubo.daemon import Daemon

    with Daemon(kubo_binary()) as daemon:
        assert not open_home(home).ship([daemon.url], timeout=300).unshipped
        (status,) = open_home(home).status()
        assert status.head is not None
        for name, options in (("chain and signature", {}), ("every record", {"deep": True})):
            for how, place in (("RPC", {"kubo": daemon.url}), ("gateway", {"gateway": daemon.gateway_url})):
                seconds, cpu = [], []
                for _ in range(rounds):
                    began, spent = time.perf_counter(), time.process_time()
                    arguments: dict[str, Any] = {"keys": [key], **place, **options}
                    (found,) = verify_sources([status.head], **arguments)
                    assert found.ok, found
                    seconds.append(time.perf_counter() - began)
                    cpu.append(time.process_time() - spent)
                each = 1000 / found.batches
                yield (
                    f"verify from afar, 1,000 batches, {name}, by {how}",
                    f"{statistics.median(seconds) * each:.2f} s, CPU {statistics.median(cpu) * each:.2f} s",
                )


def _to_a_reader(directory: Path) -> Iterator[tuple[str, str]]:
    """Measure from the return of `flush` at one daemon until a reader at another daemon has the record."""
    import json
    import logging

    from ipfs_log_handlers import IPFSHandler, open_dataset, open_home
    from tests.kubo.build import kubo_binary
    from tests.kubo.daemon import Daemon

    settings = {"Ipns.UsePubsub": True}
    with Daemon(kubo_binary(), settings=settings) as here, Daemon(kubo_binary(), settings=settings) as there:
        address = next(text for text in json.loads(here.rpc("id"))["Addresses"] if "/tcp/" in text)
        there.cli("swarm", "connect", address)
        handler = IPFSHandler("audit", home=directory, kubo=here.url, publish=True)
        logger = logging.getLogger("benchmarks.proof")
        logger.propagate = False
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        logger.info("the first")
        handler.flush()
        waits, found = [], 0
        try:
            while not (key := open_home(directory).public_key()) or key.ipns is None or not _is_published(directory):
                time.sleep(0.05)
            with open_dataset(f"/ipns/{key.ipns}", gateway=there.gateway_url, keys=[key.verifier]) as dataset:
                following = dataset.follow()
                for number in range(_FOLLOWED):
                    logger.info("turn", extra={"number": number})
                    handler.flush()
                    began = time.perf_counter()
                    while found <= number:
                        found += sum(1 for match in following.poll() if "number" in match.record)
                        if found <= number:
                            following.wait()
                    waits.append(time.perf_counter() - began)
        finally:
            logger.removeHandler(handler)
            handler.close()
    waits.sort()
    yield (
        "from `flush` at one daemon to a reader at another, who knows the name (≤ 2 s)",
        f"{statistics.median(waits):.2f} s (median), {waits[-1]:.2f} s (worst of {_FOLLOWED})",
    )


def _is_published(home: Path) -> bool:
    from ipfs_log_handlers import open_home

    (status,) = open_home(home).status()
    return bool(status.published)


def collect(batches: int, rounds: int) -> Iterator[tuple[str, str]]:
    """Measure everything but the peers; yield the rows of the table.

    Args:
        batches: batches of the long chain.
        rounds: how often a log is verified from afar.
    """
    chain = Chain(batches)
    tenths = chain.append_us
    yield (
        f"append to a chain of {batches:,}: CPU, last tenth by first (≤ 1.3)",
        f"{tenths[-1] / tenths[0]:.2f}: {tenths[0]:.0f} and {tenths[-1]:.0f} µs",
    )
    yield "find a manifest from the newest: manifests read, at most (≤ 45)", f"{_locating(chain)}"
    for listed, name in ((False, "without a list of CIDs"), (True, "with index pages, or a snapshot")):
        reads, spent = _proving(chain, listed=listed)
        yield (
            f"prove a batch, {name}: manifests read (≤ 17)",
            f"{statistics.mean(reads):.1f} on average, {max(reads)} at most",
        )
        yield "the same: CPU (≤ 1 ms)", f"{statistics.mean(spent):.2f} ms, {max(spent):.2f} ms at most"
    yield "check the chain: CPU a manifest (≤ 60 µs)", f"{_walk(chain):.0f} µs"
    yield "snapshot of one more batch: new blocks (≤ 3)", f"{_new_nodes(chain)}"
    del chain
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory) / "home"
        key = _home(home, _HOME_BATCHES)
        yield from _bundles(home, key)
        yield from _from_afar(home, key, rounds)
    with tempfile.TemporaryDirectory() as directory:
        yield from _to_a_reader(Path(directory) / "home")


def report(rounds: int, batches: int = 1_000_000) -> str:
    """Measure, and return the tables."""
    lines = ["| what | figure |", "|---|--:|"]
    for what, figure in collect(batches, rounds):
        print(f"{what}: {figure}", file=sys.stderr, flush=True)
        lines.append(f"| {what} | {figure} |")
    return "\n".join([*lines, "", proof_peers.report(rounds)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proof")
    parser.add_argument("--batches", type=int, default=1_000_000, help="batches of the long chain")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    print(report(chosen.rounds, chosen.batches))
