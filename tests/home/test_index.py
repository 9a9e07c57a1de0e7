"""The index of a log's batches: sums without counting, and no answer that a damaged row could make wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ipfs_log_handlers.home import head
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.index import ROW_BYTES, BatchIndex, IndexHeader, Row
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.keeper.upkeep import Upkeep
from tests.support.many_batches import files_looked_at, seal_batches
from tests.support.mutations import flips

ROW = Row(
    index=7,
    manifest=b"manifest",
    payload=b"payload.",
    sealed=1_772_000_000_000_000,
    records_through=70,
    bytes_through=7000,
    length=1000,
    allocated=4096,
    pack=3,
    offset=99,
    is_archive=True,
    stripped=True,
    unreadable=True,
)
HEADER = IndexHeader(held=4096, first_held=3, whole=False)


@pytest.fixture
def logs(home: Path) -> SubsystemDir:
    """Make a subsystem with five batches of one record."""
    return seal_batches(home, 5)


def index_of(subsystem_dir: SubsystemDir) -> BatchIndex:
    """Return the index of the current log."""
    return BatchIndex(subsystem_dir.current.batches)


def batches_of(subsystem_dir: SubsystemDir) -> Batches:
    """Return the batches of the current log."""
    return Batches(subsystem_dir.current.batches)


class TestRows:
    def test_a_row_and_a_header_survive_encoding(self) -> None:
        """What is written is what is read, 64 bytes each."""
        assert ROW_BYTES == len(ROW.encode()) == len(HEADER.encode())
        assert Row.decode(ROW.encode(), 7) == ROW
        assert IndexHeader.decode(HEADER.encode()) == HEADER
        loose = dataclasses.replace(ROW, pack=None, offset=0, is_archive=False, stripped=False, unreadable=False)
        assert Row.decode(loose.encode(), 7) == loose

    def test_a_row_with_any_bit_flipped_is_no_row(self) -> None:
        """A damaged row or header is not believed; neither is the row of another batch."""
        assert [None] * 512 == [Row.decode(mutant, 7) for mutant in flips(ROW.encode())]
        assert [None] * 512 == [IndexHeader.decode(mutant) for mutant in flips(HEADER.encode())]
        assert Row.decode(ROW.encode(), 8) is None
        assert Row.decode(b"", 0) is None


class TestSealing:
    def test_each_batch_has_a_row_with_the_sums_up_to_it(self, logs: SubsystemDir) -> None:
        """Records and bytes of all batches up to one are in its row."""
        rows = list(index_of(logs).rows(0, 10))
        assert [0, 1, 2, 3, 4] == [row.index for row in rows]
        assert [1, 2, 3, 4, 5] == [row.records_through for row in rows]
        sizes = [batches_of(logs).file(number).stat().st_size for number in range(5)]
        assert [sum(sizes[: number + 1]) for number in range(5)] == [row.bytes_through for row in rows]
        manifests = [batches_of(logs).facts(number).manifest for number in range(5)]
        assert [manifest.sealed for manifest in manifests] == [row.sealed for row in rows]
        assert index_of(logs).header() == IndexHeader(held=sum(row.allocated for row in rows))

    def test_a_batch_is_found_by_its_cids(self, logs: SubsystemDir) -> None:
        """By the CID of manifest or payload, and no other batch's file is opened."""
        facts = batches_of(logs).facts(3)
        with files_looked_at() as paths:
            assert batches_of(logs).with_cid(facts.cid, 4) == 3
            assert batches_of(logs).with_cid(facts.manifest.payload, 4) == 3
        assert {str(batches_of(logs).file(3)), str(index_of(logs).path)} == set(paths)
        assert batches_of(logs).with_cid(facts.cid, 2) is None
        assert batches_of(logs).with_cid(facts.head_cid, 4) is None

    def test_a_batch_above_the_head_has_no_row(self, logs: SubsystemDir) -> None:
        """Home rule 7: what is deleted before its number is used again leaves the index too."""
        batches_of(logs).remove_above(2)
        assert index_of(logs).count() == 3
        held = sum(batches_of(logs).file(number).stat().st_blocks * 512 for number in range(3))
        assert index_of(logs).header() == IndexHeader(held=held)

    def test_a_payload_that_left_is_noted(self, logs: SubsystemDir) -> None:
        """The bytes held shrink; the first batch that has a payload moves on once all before it have none."""
        for number, first_held in ((1, 0), (0, 2), (2, 3)):
            batches_of(logs).strip(number)
            header = index_of(logs).header()
            assert header is not None
            assert header.first_held == first_held
        assert [True, True, True, False, False] == [row.stripped for row in index_of(logs).rows(0, 5)]

    def test_a_disk_that_refuses_the_index_costs_no_batch(
        self, home: Path, logs: SubsystemDir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The index is a cache: a batch is sealed without its row, and the sums are believed no longer."""

        def refuse(*_: object) -> None:
            raise OSError(28, "no space")

        with monkeypatch.context() as patch:
            patch.setattr("os.pwrite", refuse)
            seal_batches(home, 1, first=6)
        assert not batches_of(logs).index_is_whole(5)
        seal_batches(home, 1, first=7)
        sealed = head.load(logs.current.head)
        assert sealed is not None
        assert sealed.index == 6
        assert batches_of(logs).records_through(6) is None


class TestMadeAgain:
    @pytest.mark.parametrize("lost", ["file", "last row", "header", "gap"])
    def test_a_lost_index_is_made_again(self, logs: SubsystemDir, lost: str) -> None:
        """Whatever is lost of it, upkeep makes the same index again, and only then."""
        path = index_of(logs).path
        before = path.read_bytes()
        for _ in Upkeep(logs).steps():
            raise AssertionError("nothing is to be done")
        if lost == "file":
            path.unlink()
        elif lost == "last row":
            path.write_bytes(before[:-1])
        elif lost == "header":
            path.write_bytes(bytes(64) + before[64:])
        else:
            path.write_bytes(IndexHeader(whole=False).encode() + bytes(64) + before[128:])
        assert [None] * 5 == list(Upkeep(logs).steps())
        assert before == path.read_bytes()

    def test_a_payload_that_has_left_is_seen(self, logs: SubsystemDir) -> None:
        """What retention did before the index was lost stands in the new one."""
        batches_of(logs).strip(0)
        index_of(logs).path.unlink()
        list(Upkeep(logs).steps())
        assert [True, False, False, False, False] == [row.stripped for row in index_of(logs).rows(0, 5)]
        header = index_of(logs).header()
        assert header is not None
        assert (header.first_held, header.whole) == (1, True)

    def test_a_damaged_batch_has_a_row_that_says_so(self, logs: SubsystemDir) -> None:
        """A batch that cannot be read counts no records, and is looked at by whoever looks for a CID."""
        batches_of(logs).file(2).write_bytes(b"damaged")
        index_of(logs).path.unlink()
        list(Upkeep(logs).steps())
        rows = list(index_of(logs).rows(0, 5))
        assert [False, False, True, False, False] == [row.unreadable for row in rows]
        assert [1, 2, 2, 3, 4] == [row.records_through for row in rows]
        assert [2] == list(index_of(logs).doubtful(4))

    def test_batches_that_are_sealed_meanwhile_are_in_it(self, home: Path, logs: SubsystemDir) -> None:
        """Sealing goes on while the index is made; no batch is left out."""
        index_of(logs).path.unlink()
        steps = Upkeep(logs).steps()
        next(steps)
        seal_batches(home, 2, first=6)
        assert 6 == len(list(steps))
        assert batches_of(logs).records_through(6) == 7

    def test_archives_are_found_without_an_index(self, logs: SubsystemDir) -> None:
        """A batch without a row may hold an archive; one with a row holds none unless it says so."""
        assert [] == list(batches_of(logs).archives(4))
        data = bytearray(index_of(logs).path.read_bytes())
        data[64 * 3 + 30] ^= 1
        index_of(logs).path.write_bytes(data)
        assert [2] == list(batches_of(logs).archives(4))
        index_of(logs).path.unlink()
        assert [0, 1, 2, 3, 4] == list(batches_of(logs).archives(4))
