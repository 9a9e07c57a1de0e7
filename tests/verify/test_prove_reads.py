"""How many manifests a proof needs: no fewer without a list of CIDs, and few with one; a wrong list does no harm."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

import pytest

from ipfs_log_handlers import RecordError, check, open_dataset, open_home
from ipfs_log_handlers.api import prove_from_head
from ipfs_log_handlers.errors import VerificationError
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.index_page import PAGE_BATCHES, IndexPage, entry_line
from ipfs_log_handlers.format.manifest import Manifest, jump_index
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import logs_of
from ipfs_log_handlers.reader.sealed_log import SealedLog
from ipfs_log_handlers.verify.prove import prove_record
from tests.support import gateways, indexed_homes, sample_homes
from tests.support.many_batches import seal_batches
from tests.vectors.build_chain import KEY

Range = tuple[int, int]
"""The first leaf of a subtree, and the one after its last."""


def siblings(index: int, size: int) -> list[Range]:
    """Return the subtrees whose hashes prove a leaf, by RFC 6962 §2.1.1."""
    if size == 1:
        return []
    split = 1 << (size - 1).bit_length() - 1
    if index < split:
        return [*siblings(index, split), (split, size)]
    return [*((split + low, split + high) for low, high in siblings(index - split, size - split)), (0, split)]


def given_by(index: int) -> set[Range]:
    """Return the subtrees whose hashes manifest `index` gives: its edge, and the leaves that it is and names."""
    found, low = {(index, index + 1)}, 0
    for bit in reversed(range(index.bit_length())):
        if index >> bit & 1:
            found.add((low, low + (1 << bit)))
            low += 1 << bit
    before = [] if index == 0 else [index - 1, jump_index(index) or 0]
    return found | {(named, named + 1) for named in before}


def follows(wanted: Range, have: set[Range]) -> bool:
    """Return whether the hash of a subtree can be computed from those of others."""
    low, high = wanted
    if wanted in have or high - low == 1:
        return wanted in have
    middle = low + (1 << (high - low - 1).bit_length() - 1)
    return follows((low, middle), have) and follows((middle, high), have)


def fewest_reads(index: int, size: int) -> int:
    """Return the least number of manifests that a proof needs beside its own and the newest, by trying all."""
    own = {index, size - 1}
    others = [number for number in range(size) if number not in own]
    wanted = siblings(index, size)
    for count in range(size):
        for chosen in combinations(others, count):
            have = set().union(*(given_by(number) for number in (*own, *chosen)))
            if all(follows(subtree, have) for subtree in wanted):
                return count
    raise AssertionError("all manifests give all hashes")


@pytest.mark.parametrize("size", [*range(1, 13), 16])
def test_no_proof_needs_fewer_manifests(size: int) -> None:
    """Without a list of CIDs, each hash on the right needs a manifest; the newest gives one of them, seldom two."""
    for index in range(size):
        on_the_right = sum(1 for low, _ in siblings(index, size) if low > index)
        assert max(0, on_the_right - 2) <= fewest_reads(index, size) <= max(0, on_the_right - 1)
        if size.bit_count() == 1:
            assert max(0, on_the_right - 1) == fewest_reads(index, size)


class TestLists:
    """A log of a million batches, with a list of CIDs for each 256."""

    SIZE = 1_000_000

    def reads(self, index: int) -> tuple[int, int]:
        """Count the manifests, and the lists, that are read for the proof of a batch."""
        manifests: set[int] = set()
        lists: set[int] = set()

        def read(number: int) -> tuple[merkle.Edge, bytes]:
            manifests.add(number)
            return (bytes(32),) * number.bit_count(), bytes(32)

        def listed(low: int, high: int) -> Sequence[bytes] | None:
            if high > low - low % PAGE_BATCHES + PAGE_BATCHES:
                return None
            lists.add(low // PAGE_BATCHES)
            return [bytes(32)] * (high - low)

        merkle.inclusion_from_edges(index, self.SIZE, read, listed)
        return len(manifests), len(lists)

    def test_few_reads(self) -> None:
        """At most 13 manifests and two lists are read, seven manifests on average; goal: at most 17."""
        draw = random.Random(1)
        sample = [self.reads(draw.randrange(self.SIZE)) for _ in range(2000)]
        sample += [self.reads(index) for index in (0, 1, 2, 255, 256, 1 << 19, self.SIZE - 1)]
        assert 13 >= max(manifests for manifests, _ in sample)
        assert 2 >= max(lists for _, lists in sample)
        assert 6 <= sum(manifests for manifests, _ in sample) / len(sample) <= 8


def log_of(home: Path, asked: list[int]) -> SealedLog:
    """Return the only log of a home, which notes the manifests that are read."""
    with open_dataset(home) as dataset:
        name = next(iter(open_home(home).batches())).log
        log: SealedLog = dataset.sources[0].sealed_log(name)  # type: ignore[attr-defined]

    def read(number: int) -> Manifest:
        asked.append(number)
        return log.manifest(number)

    return SealedLog(name, log.head, read, log.open_batch, log.listed)


def write_page(home: Path, manifests: Iterable[Manifest]) -> None:
    """Replace the first index page of the only log."""
    subsystem_dir = HomeDir(home).subsystem_dir("logs")
    (log,) = logs_of(subsystem_dir)
    lines = [entry_line(manifest, {}) for manifest in manifests]
    indexed_homes.pages_of(subsystem_dir).write(IndexPage(log.name, 0, lines))


@pytest.mark.slow
def test_a_home(home: Path) -> None:
    """With index pages, the prover reads no manifest for the next 256 batches; without them, one for each hash."""
    subsystem_dir = seal_batches(home, 260)
    pages = indexed_homes.pages_of(subsystem_dir)
    (log,) = logs_of(subsystem_dir)
    manifests = [log.batches.manifest(index) for index in range(260)]
    key = sample_homes.key_of(home)
    bundles = {}
    for index in (0, 1, 127, 255, 256, 259):
        asked: list[int] = []
        bundles[index] = prove_record(log_of(home, asked), index, 0)
        assert len(asked) == sum(1 for low, _ in siblings(index, 260) if low > index)
        assert check(bundles[index].encode(), key).index == index
    indexed_homes.index(subsystem_dir)
    assert pages.firsts() == [0, 256]
    for index, bundle in bundles.items():
        asked = []
        assert bundle == prove_record(log_of(home, asked), index, 0)
        assert [] == asked
    for wrong in ([*manifests[1:256], manifests[0]], manifests[:100]):  # in another order; not all of them
        write_page(home, wrong)
        for index, bundle in bundles.items():
            assert bundle == prove_record(log_of(home, []), index, 0)
    pages.file(0).write_bytes(b"damaged")
    assert bundles[0] == prove_record(log_of(home, []), 0, 0)


def test_a_snapshot(home: Path) -> None:
    """From the CID of a snapshot, the list of all manifests is there: a proof asks for one manifest and its payload."""
    seal_batches(home, 30)
    (made,) = open_home(home).snapshot()
    batches = list(open_home(home).batches())
    (snapshot,) = home.rglob("snapshot")
    blocks = gateways.blocks_of(home) | gateways.blocks_in(snapshot)
    key = sample_homes.key_of(home)
    with gateways.gateway(blocks) as served:
        for index in (0, 15, 29):
            served.asked.clear()
            bundle = prove_from_head(made.cid, batches[index].cid, 0, gateway=served.url, keys=[key])
            assert bundle == open_home(home).prove(batches[index].cid, 0)
            # the snapshot, the head block, the newest manifest, this one (twice), and its payload
            assert len(served.asked) <= 7
        with pytest.raises(RecordError):
            prove_from_head(made.cid, batches[0].cid, 1, gateway=served.url, keys=[key])
        with pytest.raises(VerificationError, match="no trusted key"):
            prove_from_head(made.cid, batches[0].cid, 0, gateway=served.url, keys=[KEY.verifier.text])
