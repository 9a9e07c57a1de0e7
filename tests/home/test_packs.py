"""Packs: small batches together in one CAR, found by their place, read like batches in files of their own."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from ipfs_log_handlers import open_dataset
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home import disk, head, packs
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.index import BatchIndex, short_digest
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.keeper import new_log
from ipfs_log_handlers.keeper.upkeep import Upkeep
from ipfs_log_handlers.query.read_ahead import text_of
from tests.support import oracle, sample_homes
from tests.support.archives import archiver, facts
from tests.support.cli import run
from tests.support.many_batches import seal_batches
from tests.support.mutations import cuts, flips
from tests.support.packed_homes import damaged, pack_of, seqs

EVENTS = [f"r{number}" for number in range(12)]


@pytest.fixture
def batches(logs: SubsystemDir) -> Batches:
    """Return the twelve batches."""
    return Batches(logs.current.batches)


class TestPacked:
    def test_each_reader_finds_what_it_found_before(self, home: Path, batches: Batches) -> None:
        """Home rule 36: blocks, CIDs, listing, records, verify: nothing tells that the files are gone but the files."""
        contents = [batches.content(index) for index in range(12)]
        headers = [batches.facts(index) for index in range(12)]
        blocks = [list(batches.blocks(index)) for index in range(12)]
        verbs = (["ls"], ["cat"], ["verify", "--no-memory"])
        seen = [run(*verb, home=home).out for verb in verbs]

        assert list(range(12)) == batches.pack(range(12))

        assert [pack_of(batches)] == list(pack_of(batches).parent.iterdir())
        assert contents == [batches.content(index) for index in range(12)]
        assert headers == [batches.facts(index) for index in range(12)]
        assert blocks == [list(batches.blocks(index)) for index in range(12)]
        assert all(batches.has_payload(index, headers[index].manifest.payload) for index in range(12))
        assert list(range(12)) == batches.indexes()
        assert not batches.is_empty()
        assert seen == [run(*verb, home=home).out for verb in verbs]
        assert list(range(1, 13)) == seqs(home)
        assert all(check["state"] == "ok" for check in run("doctor", home=home).objects)

    def test_a_pack_is_a_car_that_public_tools_read(self, batches: Batches) -> None:
        """It has every block of its batches, each under its CID, and its root is a manifest."""
        blocks = [block for index in range(12) for block in batches.blocks(index)]
        first = batches.facts(0).cid
        batches.pack(range(12))
        roots, found = car.decode(pack_of(batches).read_bytes())
        assert ((first,), blocks) == (roots, found)

    def test_kubo_takes_a_pack_as_it_is(self, home: Path, batches: Batches, kubo) -> None:
        """`ipfs dag import` of one file brings each batch back: disaster recovery without this package."""
        batches.pack(range(12))
        (log,) = oracle.read_home(home)["logs"]
        kubo.cli("dag", "import", stdin=pack_of(batches).read_bytes())
        there = oracle.read_daemon(lambda cid: kubo.rpc(f"block/get?arg={cid}&offline=true"), log.head_cid)
        assert log.records == there.records

    def test_it_takes_less_space_and_the_index_says_so(self, logs: SubsystemDir, batches: Batches) -> None:
        """Home rule 36: what small files waste of their disk blocks comes back, and the counters follow."""
        index = BatchIndex(batches.path)
        before = index.header()
        lengths = [len(packs.sections_of(batches.content(number))) for number in range(12)]
        batches.pack(range(12))
        after = index.header()
        assert before is not None
        assert after is not None
        assert sum(lengths) == after.held < before.held // 2
        assert lengths == [row.length for row in index.rows(0, 12)]
        assert [0] * 12 == [row.pack for row in index.rows(0, 12)]
        assert 12 == batches.records_through(11)

    def test_later_batches_are_appended(self, home: Path, batches: Batches) -> None:
        """A pack grows until it is full; what was in it stays where it was."""
        batches.pack(range(5))
        start = pack_of(batches).read_bytes()
        batches.pack(range(5, 12))
        assert pack_of(batches).read_bytes().startswith(start)
        seal_batches(home, 2, first=13)
        batches.pack([12, 13])
        assert list(range(1, 15)) == seqs(home)
        assert [] == damaged(home)

    def test_a_full_pack_is_followed_by_another(
        self, home: Path, batches: Batches, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No pack is larger than it may be, and a batch of another thousand goes into a pack of its own directory."""
        monkeypatch.setattr("ipfs_log_handlers.home.batches.MAX_PACK_BYTES", 5000)
        batches.pack(range(12))
        found = batches.packs("000")
        assert len(found) > 2
        assert all(pack_of(batches, number).stat().st_size <= 5000 for number in found)
        assert list(range(1, 13)) == seqs(home)
        assert [] == damaged(home)

    def test_large_and_damaged_batches_stay_in_their_files(self, home: Path) -> None:
        """Home rule 36: a batch of more than 32 KiB, or one that is not whole, is left as it is."""
        text = random.Random(1).randbytes(40_000).hex()
        subsystem_dir = seal_batches(home, 2, text=text)
        seal_batches(home, 3, first=3)
        batches = Batches(subsystem_dir.current.batches)
        data = bytearray(batches.file(3).read_bytes())
        data[-20] ^= 1
        batches.file(3).write_bytes(data)
        assert [2, 4] == batches.pack(range(5))
        assert [0, 1, 3] == batches.own_files()
        assert bytes(data) == batches.content(3)

    def test_the_blocks_of_an_archive_stay_in_their_file(self, home: Path) -> None:
        """The manifest of an archive is small; its file or directory is read, and leaves, as before."""
        one = archiver(home)
        root = one.put_bytes(b"archived" * 1000, facts).root
        sample_homes.seal(home)
        batches = Batches(one.subsystem_dir.current.batches)
        assert [0] == batches.pack([0])
        assert {batches.payload_file(0), pack_of(batches)} == set(pack_of(batches).parent.iterdir())
        assert b"archived" * 1000 == run("cat", "--archive", "n", home=home).out.encode()
        assert [] == damaged_of(home, one.subsystem_dir.name)
        assert batches.has_payload(0, root)
        assert batches.strip(0) > 0
        assert not batches.has_payload(0, root)

    def test_sealing_goes_on_after_all_is_packed(self, home: Path, logs: SubsystemDir, batches: Batches) -> None:
        """The newest batch may lie in a pack: the next keeper goes on with the same log."""
        batches.pack(range(12))
        seal_batches(home, 3, first=13)
        state = head.load(logs.current.head)
        assert state is not None
        assert 14 == state.index
        assert list(range(1, 16)) == seqs(home)
        assert not (logs.path / "former").exists()

    def test_a_log_without_its_head_is_read_from_packs(
        self, home: Path, logs: SubsystemDir, batches: Batches, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 10: what is sealed is known from the packs too, and no record is sealed twice."""
        monkeypatch.setattr(new_log, "_QUIET_S", 0)
        batches.pack(range(12))
        logs.current.head.unlink()
        seal_batches(home, 1, first=13)
        records = [record["seq"] for line in run("cat", home=home).objects for record in [line]]
        assert list(range(1, 14)) == records


def damaged_of(home: Path, subsystem: str) -> list[object]:
    """Return what `verify` finds wrong with a subsystem."""
    (report,) = run("verify", subsystem, home=home).objects
    return list(report["problems"])


class TestFound:
    @pytest.mark.parametrize("lost", ["index", "rows", "stale rows"])
    def test_the_index_is_only_a_shortcut(self, home: Path, batches: Batches, lost: str) -> None:
        """Home rule 36: without rows, or with rows that no longer fit, a batch is found by a search."""
        batches.pack(range(6))
        path = batches.path / "index"
        old = path.read_bytes()
        batches.strip(1, 3)
        batches.pack(range(6, 12))
        if lost == "index":
            path.unlink()
        elif lost == "rows":
            path.write_bytes(path.read_bytes()[:64] + bytes(12 * 64))
        else:
            path.write_bytes(old)
        assert list(range(12)) == [batches.facts(index).manifest.index for index in range(12)]
        assert list(range(12)) == batches.indexes()
        assert [1, 3] == [
            index for index in range(12) if not batches.has_payload(index, batches.facts(index).manifest.payload)
        ]

    def test_a_place_counts_only_if_exactly_that_batch_is_there(self, batches: Batches) -> None:
        """Not a shorter or longer piece, or another batch; damage after the manifest is left to the reader."""
        batches.pack(range(3))
        data = pack_of(batches).read_bytes()
        pieces = [
            data[at.offset : at.offset + at.length] for _, at in sorted(packs.read(pack_of(batches)).batches.items())
        ]
        first = short_digest(packs.first_cid(pieces[0]))
        assert packs.is_batch(pieces[0], first)
        assert not packs.is_batch(pieces[1], first)
        assert not packs.is_batch(pieces[0] + pieces[1], first)
        assert not any(packs.is_batch(cut, first) for cut in cuts(pieces[0]) if len(cut) < len(pieces[0]) // 2)
        manifest = len(pieces[0]) // 4
        assert not packs.is_batch(pieces[0][:manifest] + b"\0" + pieces[0][manifest + 1 :], first)
        assert packs.is_batch(pieces[0][:-1] + bytes([pieces[0][-1] ^ 1]), first)

    def test_a_reader_decodes_the_manifest_of_a_packed_batch_once(
        self, home: Path, batches: Batches, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """To decode it takes a large part of the time of a small batch."""
        batches.pack(range(12))
        dataset = open_dataset(home)
        decode, decoded = Manifest.decode, []

        def counting(block: bytes) -> Manifest:
            manifest = decode(block)
            decoded.append(manifest.index)
            return manifest

        parts = [part for part in dataset._parts() if part.sealed]
        monkeypatch.setattr(Manifest, "decode", counting)
        assert all(text_of(part) for part in parts)
        assert list(range(12)) == sorted(decoded)

    def test_a_lost_index_is_made_again_from_packs(self, home: Path, logs: SubsystemDir, batches: Batches) -> None:
        """The new index is the old one, but for what it counts of bytes before their batches were packed."""
        batches.pack(range(8))
        batches.strip(2)
        before = list(BatchIndex(batches.path).rows(0, 12))
        (batches.path / "index").unlink()
        list(Upkeep(logs).steps())
        after = list(BatchIndex(batches.path).rows(0, 12))
        places = [[(row.pack, row.offset, row.length, row.stripped) for row in rows] for rows in (before, after)]
        assert places[0] == places[1]

    def test_a_file_of_its_own_counts_before_a_pack(self, batches: Batches) -> None:
        """A repair, or a keeper that was killed, may leave a batch in both: the file is what is read."""
        whole = batches.content(4)
        batches.pack(range(12))
        batches.file(4).write_bytes(whole[:-5])
        with pytest.raises(FormatError):
            list(batches.blocks(4))
        batches.file(4).write_bytes(whole)
        assert [4] == batches.pack([4])
        assert not batches.file(4).exists()
        assert 12 == len(packs.read(pack_of(batches)).batches)

    def test_a_file_goes_only_after_its_pack_is_synced(self, batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 36: also when a keeper was killed after it wrote the pack: nobody knows whether it synced it."""
        whole = batches.content(4)
        batches.pack(range(12))
        batches.file(4).write_bytes(whole)
        done: list[tuple[str, str]] = []

        def noting(name: str) -> None:
            real = getattr(disk, name)

            def call(where: int | Path, *args: object) -> object:
                path = os.readlink(f"/proc/self/fd/{where}") if isinstance(where, int) else str(where)
                done.append((name, path))
                return real(where, *args)

            monkeypatch.setattr(disk, name, call)

        for name in ("sync_data", "sync_directory", "remove"):
            noting(name)
        assert [4] == batches.pack([4])
        path = pack_of(batches)
        synced = [("sync_data", str(path)), ("sync_directory", str(path.parent))]
        assert [*synced, ("remove", str(batches.file(4)))] == done

    def test_a_batch_in_a_pack_of_another_thousand_is_none_of_ours(self, batches: Batches) -> None:
        """As with files: what lies in a wrong directory is not listed, whatever number it has."""
        batches.pack(range(12))
        other = batches.pack_file(1000, 0)
        other.parent.mkdir()
        pack_of(batches).rename(other)
        (batches.path / "index").unlink()
        assert [] == batches.indexes()

    def test_batches_are_read_while_they_are_packed(self, batches: Batches) -> None:
        """Home rule 36: at every moment a reader finds each batch, in its file or in a pack."""
        stop = threading.Event()
        errors: list[Exception] = []

        def look() -> None:
            while not stop.is_set():
                for index in range(12):
                    try:
                        assert index == batches.facts(index).manifest.index
                    except Exception as error:  # noqa: BLE001 - the test fails with it
                        errors.append(error)
                        return

        threads = [threading.Thread(target=look) for _ in range(3)]
        for thread in threads:
            thread.start()
        for index in range(12):
            batches.pack([index])
        batches.strip(3, 7)
        stop.set()
        for thread in threads:
            thread.join()
        assert [] == errors


@pytest.mark.slow
class TestDamage:
    @pytest.mark.parametrize("indexed", [True, False], ids=["with rows", "without rows"])
    def test_damage_in_one_batch_harms_that_batch_alone(self, home: Path, batches: Batches, indexed: bool) -> None:
        """Home rule 36: whichever byte of a pack is damaged, all other batches are read."""
        batches.pack(range(12))
        path, index = pack_of(batches), batches.path / "index"
        data = path.read_bytes()
        places = sorted(packs.read(path).batches.values(), key=lambda place: place.offset)
        if not indexed:
            index.unlink()
        chance = random.Random(7)
        for place in places:
            for offset in [place.offset, place.offset + 1, place.offset + 5, *chance.sample(range(place.length), 9)]:
                at = offset if offset >= place.offset else place.offset + offset
                mutant = bytearray(data)
                mutant[at] ^= 1 << chance.randrange(8)
                path.write_bytes(mutant)
                others = [number for number in range(12) if number != place.index]
                assert others == [number for number in others if batches.facts(number).manifest.index == number], at
                for number in others:
                    list(batches.blocks(number))

    def test_verify_doctor_and_cat_name_the_damaged_batch(self, home: Path, batches: Batches) -> None:
        """One batch is named; the records of the others are shown."""
        batches.pack(range(12))
        place = packs.read(pack_of(batches)).batches[5]
        data = bytearray(pack_of(batches).read_bytes())
        data[place.offset + place.length - 9] ^= 4
        pack_of(batches).write_bytes(data)
        assert [5] == damaged(home)
        failed = [check["check"] for check in run("doctor", home=home).objects if check["state"] == "fail"]
        assert ["logs batch 5"] == failed
        shown = run("cat", home=home)
        assert [seq for seq in range(1, 13) if seq != 6] == [record["seq"] for record in shown.objects]
        assert 3 == shown.code

    def test_a_repair_rebuilds_it_from_a_store(self, home: Path) -> None:
        """The batch comes back whole into a file of its own; what was damaged is kept; the next upkeep packs it."""
        sample_homes.make(home, 30)
        sample_homes.ship(home, "memory:packs")
        subsystem_dir = sample_homes.subsystem_dir(home)
        batches = Batches(subsystem_dir.current.batches)
        whole = batches.content(1)
        batches.pack(range(3))
        place = packs.read(pack_of(batches)).batches[1]
        data = bytearray(pack_of(batches).read_bytes())
        data[place.offset + place.length - 9] ^= 4
        pack_of(batches).write_bytes(data)
        broken = batches.content(1)

        assert 0 == run("doctor", "--repair", "--kubo", "memory:packs", home=home).code

        assert whole == batches.file(1).read_bytes()
        assert broken in [path.read_bytes() for path in subsystem_dir.quarantine.iterdir()]
        assert 0 == run("verify", home=home).code
        assert [1] == batches.pack([1])
        assert whole == batches.content(1)
        assert {0, 1, 2} == set(packs.read(pack_of(batches)).batches)
        assert 0 == run("verify", home=home).code

    def test_any_bytes_are_read_without_an_error(self, batches: Batches) -> None:
        """Cut anywhere or with a bit flipped, a pack gives batches that are in it and no others."""
        batches.pack(range(4))
        path = pack_of(batches)
        data, known = path.read_bytes(), packs.read(path).batches
        odd = [b"\0" * 100, random.Random(3).randbytes(4096), data * 2]
        for mutant in [*list(cuts(data))[::29], *list(flips(data))[::97], *odd]:
            path.write_bytes(mutant)
            found = packs.read(path)
            assert set(found.batches) <= set(known)
            header = min(place.offset for place in known.values())
            assert not found.whole or data.startswith(mutant) or data[header:] == mutant[header:]

    def test_nothing_is_appended_to_a_pack_that_is_not_whole(self, home: Path, batches: Batches) -> None:
        """Bytes that no batch explains may be a damaged batch: they are never written over, and a new pack begins."""
        batches.pack(range(6))
        with pack_of(batches).open("ab") as stream:
            stream.write(b"what a power cut left")
        before = pack_of(batches).read_bytes()
        batches.pack(range(6, 12))
        assert before == pack_of(batches).read_bytes()
        assert [0, 1] == batches.packs("000")
        assert list(range(1, 13)) == seqs(home)
        batches.strip(0, 1)
        assert pack_of(batches).read_bytes().endswith(b"what a power cut left")
