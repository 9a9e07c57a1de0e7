"""A mirror: what is copied, what is refused, and that a kill at any moment leaves what a signed head proves."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from ipfs_log_handlers import ConfigurationError, HomeError, open_dataset, open_home
from ipfs_log_handlers.api import Gap, MirroredLog, Stop, check_fork
from ipfs_log_handlers.format.checkpoint import VerifierKey
from ipfs_log_handlers.home.imported_logs import MirroredDir, mirrored_logs
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper import new_log
from ipfs_log_handlers.reader.car_parts import CarSource
from ipfs_log_handlers.reader.gateway import Gateway
from ipfs_log_handlers.sharing import mirror_pieces
from tests.support import archives, forked, kill_steps, sample_homes
from tests.support.gateways import blocks_of, gateway
from tests.support.logging_home import wait_until


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Make the home of another machine, with a log of three batches."""
    sample_homes.make(tmp_path / "other", 30)
    return tmp_path / "other"


def mirror(home: Path, *sources: str | Path, keys: Sequence[str] = (), **options: object) -> list[MirroredLog]:
    """Mirror once."""
    return list(open_home(home, must_exist=False).mirror(sources, keys=keys, **options))  # type: ignore[arg-type]


def result(home: Path, *sources: str | Path, keys: Sequence[str] = (), **options: object) -> tuple[str, int, int]:
    """Mirror one log once; return its result, the batches that are here, and how many are new."""
    (found,) = mirror(home, *sources, keys=keys, **options)
    return found.result, found.batches, found.new_batches


def copy_of(home: Path) -> MirroredDir:
    """Return the only mirrored log."""
    (found,) = mirrored_logs(HomeDir(home))
    return found


def same_records(home: Path, other: Path) -> bool:
    """Return whether the copy has all records of a home, and its chain is as it was signed."""
    keys = [sample_homes.key_of(other)]
    with open_dataset(home / "imported-logs", keys=keys, verify="chain") as dataset:
        return list(dataset) == list(open_dataset(other, sealed_only=True))


class TestCopy:
    """What comes over, from which source."""

    def test_a_home_is_copied_once_and_then_what_is_new(self, home, other):
        """The key is known from then on; a look without news copies nothing."""
        assert result(home, other, keys=[sample_homes.key_of(other)]) == ("ok", 3, 3)
        assert same_records(home, other)
        assert result(home, other) == ("ok", 3, 0)
        sample_homes.make(other, 20)
        assert result(home, other) == ("ok", 5, 2)
        assert same_records(home, other)

    def test_a_log_that_grows_batch_by_batch_has_few_files(self, home, other, monkeypatch):
        """Pieces are joined like the digits of a counter, never above their bound; no record is lost."""
        monkeypatch.setattr(mirror_pieces, "_PIECE_BATCHES", 4)
        mirror(home, other, keys=[sample_homes.key_of(other)])
        for batches in range(4, 14):
            sample_homes.make(other, 10)
            assert result(home, other) == ("ok", batches, 1)
            pieces = copy_of(home).pieces()
            assert [piece.first for piece in pieces[1:]] == [piece.last + 1 for piece in pieces[:-1]]
            assert all(piece.last - piece.first < 4 for piece in pieces)
            assert len(pieces) <= batches // 2 + 2
        assert same_records(home, other)
        assert {path.suffix for path in copy_of(home).path.iterdir()} == {".car", ""}

    def test_a_reader_finds_batches_that_were_joined_meanwhile(self, home, other):
        """A dataset that has listed the small files reads their batches from the large one."""
        keys = [sample_homes.key_of(other)]
        mirror(home, other, keys=keys)
        sample_homes.make(other, 10)
        mirror(home, other)
        target = copy_of(home)

        def refuse(gap: Gap) -> None:
            raise AssertionError(gap)

        def listed() -> list[Path]:
            return [piece.path for piece in target.pieces()]

        source = CarSource(listed(), refuse, listed=listed)
        parts = source.parts("audit")
        sample_homes.make(other, 40)
        mirror(home, other)
        assert not any(path.exists() for path in source._files)
        assert sum(len(list(part.lines_or_error())) for part in parts) == 40

    def test_archives_come_too(self, home, other):
        """The blocks of an archived file are copied, and verified."""
        (other.parent / "note").write_bytes(bytes(range(256)) * 8000)
        archives.archiver(other, "audit").put(other.parent / "note", archives.facts)
        sample_homes.seal(other)
        assert result(home, other, keys=[sample_homes.key_of(other)]) == ("ok", 4, 4)
        with open_dataset(home / "imported-logs", keys=[sample_homes.key_of(other)]) as dataset:
            (report,) = dataset.verify()
            assert (report.ok, report.batches, report.records) == (True, 4, 30)

    def test_acts_come_too(self, home, other):
        """Batches without records, which hold an act, are copied in their order, also by a later look."""
        keys = [sample_homes.key_of(other)]
        open_home(other).set_hold("audit", reason="a court has asked")
        assert result(home, other, keys=keys) == ("ok", 4, 4)
        open_home(other).set_hold("audit", reason="and again")
        sample_homes.make(other, 10)
        assert result(home, other) == ("ok", 6, 2)
        assert [batch.records for batch in open_home(home).batches()] == [10, 10, 10, 0, 0, 10]
        with open_dataset(home / "imported-logs", keys=keys, verify="chain") as dataset:
            assert [report.result for report in dataset.verify()] == ["ok"]

    @pytest.mark.parametrize("kind", ["head", "car", "snapshot file", "directory"])
    def test_every_source(self, home, other, kind):
        """A CID at a gateway, an exported file, and a directory of files: the same copy."""
        keys = [sample_homes.key_of(other)]
        if kind == "head":
            with gateway(blocks_of(other)) as served:
                assert result(home, sample_homes.head_of(other), keys=keys, gateway=served.url) == ("ok", 3, 3)
        else:
            (other.parent / "files").mkdir()
            open_home(other).export_car(other.parent / "files" / "log.car")
            source = other.parent / "files" / ("" if kind == "directory" else "log.car")
            assert result(home, source, keys=keys) == ("ok", 3, 3)
        assert same_records(home, other)
        assert result(home, other) == ("ok", 3, 0)

    @pytest.mark.slow
    def test_only_new_manifests_are_asked_for(self, home, other):
        """A log of 21 batches grows by one: some few blocks are read, not the chain."""
        for _ in range(2):
            sample_homes.make(other, 90)
        keys = [sample_homes.key_of(other)]
        with gateway(blocks_of(other)) as served:
            assert result(home, sample_homes.head_of(other), keys=keys, gateway=served.url) == ("ok", 21, 21)
        sample_homes.make(other, 10)
        with gateway(blocks_of(other)) as served:
            assert result(home, sample_homes.head_of(other), gateway=served.url) == ("ok", 22, 1)
            assert len(set(served.asked)) <= 16

    def test_several_homes_side_by_side(self, home, other, tmp_path):
        """Logs of three machines, and of this one, do not mix."""
        second = tmp_path / "second"
        sample_homes.make(second, 20)
        sample_homes.make(second, 20, "wal")
        sample_homes.make(home, 10)
        keys = [sample_homes.key_of(other), sample_homes.key_of(second)]
        found = mirror(home, other, second, keys=keys)
        assert sorted((each.subsystem, each.result, each.batches) for each in found) == [
            ("audit", "ok", 2), ("audit", "ok", 3), ("wal", "ok", 2),
        ]  # fmt: skip
        assert [batch.state for batch in open_home(home).batches()] == ["sealed"] + ["imported"] * 7

    def test_it_follows_until_it_is_stopped(self, home, other):
        """New batches come over while it runs; a vanished source is said once, and comes back."""
        found: list[MirroredLog] = []
        stop = Stop()
        opened = open_home(home, must_exist=False)

        def run() -> None:
            found.extend(opened.mirror([other], keys=[sample_homes.key_of(other)], stop=stop))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            wait_until(lambda: len(mirrored_logs(HomeDir(home))) == 1 and here(home) == 3, deadline_s=60)
            sample_homes.make(other, 10)
            wait_until(lambda: here(home) == 4, deadline_s=60)
        finally:
            stop.request()
            thread.join()
        assert [(each.result, each.batches, each.new_batches) for each in found] == [("ok", 3, 3), ("ok", 4, 1)]


def fork_log(home: Path, copy: Path, records: int) -> None:
    """Copy a home, and let the copy go on with the same log and other records."""
    shutil.copytree(home, copy)

    def goes_on() -> bool:
        try:
            return len(open_home(copy).same_logs()) == 1
        except HomeError:  # its files were written a moment ago
            return False

    wait_until(goes_on, deadline_s=60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(new_log, "_sealed_here", {})  # as on another machine
        sample_homes.log(copy, range(1000, 1000 + records))
        sample_homes.seal(copy)


def here(home: Path) -> int:
    """Return the number of batches of the only mirrored log that a signed head proves."""
    head = copy_of(home).head()
    return 0 if head is None else head.through + 1


class TestRefused:
    """What changes nothing here."""

    def test_without_a_key(self, home, other):
        """No key, another key: nothing is copied, and the log is named."""
        with pytest.raises(ConfigurationError, match="no key is known"):
            mirror(home, other)
        sample_homes.make(home, 10)
        (found,) = mirror(home, other)
        assert (found.result, found.batches) == ("tampered", 0)
        assert "no trusted key has signed the log" in str(found.problem)

    def test_its_own_log(self, other):
        """A home does not mirror itself."""
        with pytest.raises(ConfigurationError, match="this home has written this log itself"):
            mirror(other, other)

    def test_a_rollback(self, home, other, tmp_path):
        """An older state of the home is stale; the copy stays as it was, also when the mirror starts again."""
        shutil.copytree(other, tmp_path / "backup")
        sample_homes.make(other, 10)
        keys = [sample_homes.key_of(other)]
        assert result(home, other, keys=keys) == ("ok", 4, 4)
        (found,) = mirror(home, tmp_path / "backup")
        assert (found.result, found.batches, found.new_batches) == ("stale", 4, 0)
        assert "at least 4 batches" in str(found.problem)
        assert same_records(home, other)

    @pytest.mark.slow
    @pytest.mark.parametrize("more", [10, 40])
    def test_a_fork(self, home, other, tmp_path, more):
        """Another history of the log is refused, and both signed heads are kept: anybody can check them."""
        fork_log(other, tmp_path / "fork", more)
        sample_homes.make(other, 20)
        keys = [sample_homes.key_of(other)]
        assert result(home, other, keys=keys) == ("ok", 5, 5)
        (found,) = mirror(home, tmp_path / "fork")
        assert found.log == copy_of(home).log
        assert (found.result, found.new_batches) == ("stale" if more == 10 else "forked", 0)
        if more > 10:
            assert found.evidence is not None
            shown = check_fork(Path(found.evidence).read_bytes(), keys[0])
            assert (shown.older.size, shown.newer.size) == (5, 7)
        assert same_records(home, other)
        sample_homes.make(other, 10)
        assert result(home, other) == ("ok", 6, 1)

    def test_a_fork_of_what_was_imported(self, home, other, tmp_path):
        """An imported file has another history: it is refused, too; and so is such a file after the mirror."""
        fork_log(other, tmp_path / "fork", 20)
        sample_homes.make(other, 20)
        keys = [sample_homes.key_of(other)]
        open_home(tmp_path / "fork").export_car(tmp_path / "fork.car")
        open_home(home, must_exist=False).import_car(tmp_path / "fork.car", keys=keys)
        (found,) = mirror(home, other)
        assert (found.result, found.batches) == ("tampered", 0)
        assert "two histories" in str(found.problem)
        mirror(tmp_path / "another", other, keys=keys)
        with pytest.raises(Exception, match="two histories"):
            open_home(tmp_path / "another").import_car(tmp_path / "fork.car")

    def test_a_log_that_vanished(self, home, other):
        """A source that does not offer a log any more is told; the copy stays."""
        sample_homes.make(other, 10, "wal")
        mirror(home, other, keys=[sample_homes.key_of(other)])
        shutil.rmtree(other / "wal")
        assert {(each.subsystem, each.result, each.batches) for each in mirror(home, other)} == {
            ("audit", "ok", 3), ("wal", "vanished", 1),
        }  # fmt: skip

    def test_two_mirrors_of_one_log(self, home, other):
        """The second one is told to wait."""
        mirror(home, other, keys=[sample_homes.key_of(other)])
        with copy_of(home).locked(), pytest.raises(HomeError, match="another process mirrors this log"):
            mirror(home, other)

    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_a_damaged_batch_stops_the_copy_before_it(self, home, other, number, monkeypatch):
        """What came before is whole; the next look goes on when the source is repaired."""
        file = sample_homes.batches_of(other).file(number)
        good = file.read_bytes()
        sample_homes.damage(other, number)
        monkeypatch.setattr(mirror_pieces, "_PIECE_BATCHES", 1)
        found = result(home, other, keys=[sample_homes.key_of(other)])
        assert found == ("tampered", number, number)
        file.write_bytes(good)
        assert result(home, other, keys=[sample_homes.key_of(other)]) == ("ok", 3, 3 - number)
        assert same_records(home, other)


@pytest.mark.slow
class TestLies:
    """A gateway that lies: nothing that it sends is taken."""

    def test_other_bytes(self, home, other):
        """Each block in turn is answered wrongly, again and again: the log is not copied, and later it is."""
        blocks = blocks_of(other)
        keys = [sample_homes.key_of(other)]
        head = sample_homes.head_of(other)
        refused = 0
        for number, victim in enumerate(sorted(blocks)):
            true = blocks[victim]
            lies = bytes([true[0] ^ 1]) + true[1:], true[:-1], true + b"\0", b"another block", b""
            target = home.parent / f"lie{number}"
            with gateway({**blocks, victim: lies[number % len(lies)]}) as served:
                found = result(target, head, keys=keys, gateway=served.url)
            if victim.text not in served.asked:  # the head block of an older batch, which nobody needs
                assert found == ("ok", 3, 3)
                continue
            refused += 1
            assert found[0] in ("tampered", "incomplete", "unreachable")
            assert not [copied for copied in mirrored_logs(HomeDir(target)) if copied.pieces() or copied.head()]
            with gateway(blocks) as served:
                assert result(target, head, keys=keys, gateway=served.url) == ("ok", 3, 3)
        assert refused == 7


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a gateway be asked again at once."""
    monkeypatch.setattr(Gateway.__init__, "__kwdefaults__", {"pauses_s": (0.0,)})


@pytest.mark.slow
def test_a_kill_at_every_moment(tmp_path, other, monkeypatch):
    """Killed at calls that change the disk, again and again: what is there is proven, and a run completes it."""
    monkeypatch.setattr(mirror_pieces, "_PIECE_BATCHES", 1)
    keys = [sample_homes.key_of(other)]
    expected = list(open_dataset(other))
    seen: set[int] = set()

    def work(home: Path, number: int) -> None:
        kill_steps.kill_at(number)
        mirror(home, other, keys=keys)

    number = 1
    while True:
        home = tmp_path / f"killed{number}"
        ended = forked.run_in_child(work, home, number)
        for again in (number, 9):
            check(home, keys, expected, seen)
            forked.run_in_child(work, home, again)
        check(home, keys, expected, seen)
        assert result(home, other, keys=keys)[:2] == ("ok", 3)
        check(home, keys, expected, seen)
        assert len(list(open_dataset(home / "imported-logs", keys=keys, verify="chain"))) == 30
        assert not list(copy_of(home).path.glob("*.tmp"))
        shutil.rmtree(home)
        if ended:
            break
        number += 9
    assert seen >= {0, 1, 2, 3}
    assert number > 60


def test_a_key_is_remembered_also_if_the_batches_came_before(home, other):
    """A run that is killed between its last batch and the key: the next run remembers the key, and reads need none."""
    keys = [sample_homes.key_of(other)]
    mirror(home, other, keys=keys)
    (home / "imported-logs" / "keys").unlink()
    assert result(home, other, keys=keys)[:2] == ("ok", 3)
    assert result(home, other)[:2] == ("ok", 3)
    assert len(list(open_dataset(home))) == 30


def check(home: Path, keys: Sequence[str], expected: list[dict[str, object]], seen: set[int]) -> None:
    """Check that the batches which count are whole, and proven by the head that is there."""
    for target in mirrored_logs(HomeDir(home)):
        head = target.head()
        if head is None:
            seen.add(0)
            continue
        files = [*(piece.path for piece in target.shown_pieces(head.through)), target.head_file]
        seen.add(head.through + 1)
        gaps: list[object] = []
        source = CarSource(files, gaps.append, keys=[VerifierKey.parse(key) for key in keys])
        parts = [part for part in source.parts("audit") if part.index <= head.through]
        assert not gaps
        lines = [line for part in parts for line in part.lines_or_error()]
        assert len(lines) == (head.through + 1) * 10 <= len(expected)
