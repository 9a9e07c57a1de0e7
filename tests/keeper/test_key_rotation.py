"""Change the key of a home: what old and new keys verify, how often and when it is done, and what refuses it."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

import pytest

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.api import open_dataset, open_home
from ipfs_log_handlers.errors import HomeError, VerificationError
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey
from ipfs_log_handlers.format.key_change import KeyChange, join, sign, split
from ipfs_log_handlers.home import disk, keys, lock
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.keeper.key_rotation import rotate
from ipfs_log_handlers.verify.log import Report
from tests.support import sample_homes
from tests.support.logging_home import wait_until


def own_key(home: Path) -> SecretKey:
    """Return the key of a home."""
    key = keys.load(HomeDir(home))
    assert key is not None
    return key


def verified(home: Path, *trusted: SecretKey) -> list[Report]:
    """Verify a home with some keys."""
    return list(open_home(home).verify(keys=[key.verifier.text for key in trusted]))


def accepted(home: Path, *trusted: SecretKey) -> list[bool]:
    """Which logs verify, oldest first."""
    return [report.ok for report in verified(home, *trusted)]


def read(home: Path, *trusted: SecretKey) -> int:
    """Count the records that a dataset shows with some keys."""
    return sum(1 for _ in open_dataset(home, keys=[key.verifier.text for key in trusted]))


def files(home: Path) -> dict[str, bytes]:
    """Return the content of all files of a home but the keeper's lock."""
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and path.name != "keeper.lock"
    }


def changes_of(home: Path) -> list[KeyChange]:
    """Return the changes beside the newest log that has ended."""
    return split(LogDir.former_of(sample_homes.subsystem_dir(home))[-1].key_changes.read_bytes())


class TestTwoKeys:
    def test_what_each_key_verifies(self, home):
        """The new key verifies all; the old one verifies up to the change, and tells the new one; both verify all."""
        sample_homes.make(home, 20)
        old = own_key(home)
        rotated = rotate(HomeDir(home))
        new = own_key(home)
        assert (rotated.old.verifier, rotated.new.verifier) == (old.verifier.text, new.verifier.text)
        assert [[True], [True], [True]] == [accepted(home, *each) for each in ((old,), (new,), (old, new))]
        sample_homes.make(home, 20)
        assert [[True, True]] * 3 == [accepted(home, *each) for each in ((), (new,), (old, new))]
        assert [40, 40] == [read(home, *each) for each in ((new,), (old, new))]
        of_the_past, of_now = verified(home, old)
        assert (True, "the key was changed, by keys rotate") == (of_the_past.ok, of_the_past.ended)
        (problem,) = of_now.problems
        assert ("key", new.name) == (problem.field, problem.expected)
        assert f"{old.name} has named another key as the next one, {new.verifier.text}. Ask the owner" in problem.found
        with pytest.raises(VerificationError, match=r"no trusted key has signed the log.*as the next one"):
            read(home, old)

    def test_the_notes_are_in_the_next_batch_and_a_log_has_one_key(self, home):
        """The first batch of the next log has the note as evidence, so that the file beside the old log may go."""
        sample_homes.make(home, 20)
        old = own_key(home)
        rotate(HomeDir(home))
        new = own_key(home)
        sample_homes.make(home, 20)
        batches = LogDir.current_of(sample_homes.subsystem_dir(home)).sealed_batches
        (cid,) = batches.facts(0).manifest.evidence
        note = dict(batches.blocks(0))[cid]
        assert [note] == [change.note for change in changes_of(home)]
        assert 2 == Checkpoint.open(note, old.verifier).size
        LogDir.former_of(sample_homes.subsystem_dir(home))[-1].key_changes.unlink()
        assert [True, True] == accepted(home, new)
        assert [old.name] == [each.key.name for each in open_home(home).earlier_keys()]
        assert {f"/{old.name}/", f"/{new.name}/"} == {
            "/" + "/".join(report.log.split("/")[:2]) + "/" for report in verified(home)
        }

    def test_a_log_that_a_former_log_precedes_is_covered_too(self, home):
        """An old log that had ended before the change is vouched for by the log after it."""
        sample_homes.make(home, 20)
        sample_homes.end(home)
        sample_homes.make(home, 20)
        rotate(HomeDir(home))
        sample_homes.make(home, 20)
        assert [True, True, True] == accepted(home, own_key(home))
        assert 60 == read(home, own_key(home))

    def test_an_old_key_signs_nothing_after_its_end(self, home):
        """Who has stolen the old key can add a batch to the old log: the new key does not accept it, nor a reader."""
        sample_homes.make(home, 20)
        stolen = home.with_name("stolen")
        shutil.copytree(home, stolen)
        old = own_key(home)
        rotate(HomeDir(home))
        sample_homes.make(home, 10)
        sample_homes.make(stolen, 10)
        ended = LogDir.former_of(sample_homes.subsystem_dir(home))[-1]
        forged = LogDir.current_of(sample_homes.subsystem_dir(stolen))
        name = forged.name()
        assert name is not None
        place = sample_homes.subsystem_dir(home).path / "former" / f"001-{name[-8:]}"
        shutil.copytree(forged.path, place, ignore=shutil.ignore_patterns("spool", "former"))
        reports = {report.log: report for report in verified(home, own_key(home))}
        assert reports[name].problems[-1].field == "key"
        assert "signed only by" in reports[name].problems[-1].found
        assert [ended.name()] == [log for log in reports if log.startswith(old.name) and reports[log].ended]
        with pytest.raises(VerificationError, match="only an earlier key"):
            read(home, own_key(home))

    @pytest.mark.slow
    def test_flipped_bits_beside_the_log_are_found(self, home):
        """Flipped bits all over the note in the home: `verify` names the file."""
        sample_homes.make(home, 3)
        rotate(HomeDir(home))
        path = LogDir.former_of(sample_homes.subsystem_dir(home))[-1].key_changes
        whole = path.read_bytes()
        for at in range(0, len(whole) * 8, 113):
            mutant = bytearray(whole)
            mutant[at // 8] ^= 1 << at % 8
            path.write_bytes(mutant)
            (report,) = verified(home)
            assert "key-changes" in [problem.field for problem in report.problems], at


class TestWhen:
    def test_twice_with_and_without_batches_in_between(self, home):
        """Three changes, the second without a batch after the first: the newest key verifies all."""
        sample_homes.make(home, 20)
        first = own_key(home)
        rotate(HomeDir(home))
        second = own_key(home)
        rotate(HomeDir(home))
        assert [(first.name, second.name), (second.name, own_key(home).name)] == [
            (change.old.name, change.new.name) for change in changes_of(home)
        ]
        sample_homes.make(home, 20)
        third = own_key(home)
        rotate(HomeDir(home))
        sample_homes.make(home, 20)
        fourth = own_key(home)
        assert [[True] * 3] * 2 == [accepted(home), accepted(home, fourth)]
        assert 60 == read(home, fourth)
        assert [True, False, False] == accepted(home, first)
        earlier = open_home(home).earlier_keys()
        assert [third.name, second.name, first.name] == [each.key.name for each in earlier]
        assert [fourth.name, third.name, second.name] == [each.next for each in earlier]
        assert [[2], [2], [2]] == [[batches for _, batches in each.ends] for each in earlier]
        assert fourth.verifier.text in verified(home, first)[2].problems[0].found

    def test_several_subsystems_and_records_that_wait(self, home):
        """Each subsystem's log ends; records that wait are in the first batch of the next log, once."""
        for subsystem in ("audit", "wal", "logs"):
            sample_homes.make(home, 15, subsystem)
        sample_homes.log(home, range(15, 22), "audit")
        assert 3 == len(rotate(HomeDir(home)).ends)
        sample_homes.seal(home)
        assert [True] * 4 == accepted(home, own_key(home))
        found = [each["number"] for each in open_dataset(home) if each["subsystem"] == "audit"]
        assert [*range(22)] == sorted(found)

    def test_batches_that_were_not_shipped_are_shipped_afterwards(self, home, kubo):
        """Batches of the old log ship after the change, and then those of the new one."""
        sample_homes.make(home, 20, kubo=kubo.url)
        rotate(HomeDir(home))
        sample_homes.log(home, range(20, 30), kubo=kubo.url)
        sample_homes.ship(home, kubo.url)
        (status,) = open_home(home).status()
        assert (30, 30, 30) == (status.durable, status.sealed, status.shipped)

    @pytest.mark.slow
    def test_a_backup_that_is_older_than_the_change(self, home):
        """It brings the old key back: the old log does not go on, doctor says it, and another change mends it."""
        sample_homes.make(home, 20)
        backup = home.with_name("backup")
        shutil.copytree(home, backup)
        old = own_key(home)
        rotate(HomeDir(home))
        sample_homes.make(home, 20)
        before, lost = {report.log for report in verified(home)}, own_key(home)
        shutil.copytree(backup, home, dirs_exist_ok=True)
        assert own_key(home) == old
        time.sleep(1.1)  # until then a keeper waits for the rest of the backup
        sample_homes.make(home, 10)
        new = [report.log for report in verified(home) if report.log not in before]
        assert 1 == len(new)
        assert new[0].startswith(old.name)
        (check,) = [check for check in open_home(home).health() if check.check == "key"]
        assert "fail" == check.state
        assert f"an earlier key of this home; {lost.name} came after it" in check.found
        rotate(HomeDir(home))
        sample_homes.make(home, 10)
        oks = {report.log: report.ok for report in verified(home, own_key(home), lost)}
        assert new[0] in oks
        assert all(oks.values()), (
            oks
        )  # the copy has overwritten the batches of the log between, and its line in the list


class TestRefused:
    def test_beside_a_keeper(self, home):
        """Another process is the keeper: an error that names it, and nothing has changed."""
        sample_homes.make(home, 3)
        before = files(home)
        held = lock.take(HomeDir(home))
        assert held is not None
        with pytest.raises(HomeError, match=f"process {os.getpid()} on .* is the keeper of this home"):
            rotate(HomeDir(home))
        held.release()
        assert before == files(home)

    def test_beside_a_program_that_logs(self, home):
        """A program whose handler keeps the home: the same error; after it has ended the change succeeds."""
        with sample_homes.Writing(home) as writing:
            writing.log(range(3))
        sample_homes.seal(home)
        handler = IPFSHandler("audit", home=home)
        handler.handle(sample_homes.record(4))
        wait_until(lambda: lock.holder(HomeDir(home)) is not None)
        with pytest.raises(HomeError, match="is the keeper of this home"):
            rotate(HomeDir(home))
        handler.close()
        rotate(HomeDir(home))
        assert [True] == accepted(home)

    def test_without_a_key(self, home):
        """A home that has sealed nothing has no key to change."""
        home.mkdir(mode=0o700)
        with pytest.raises(HomeError, match="no key that could be changed"):
            rotate(HomeDir(home))

    @pytest.mark.parametrize("name", ["key-changes", "writer.key"])
    def test_on_a_full_disk(self, home, monkeypatch, name):
        """The disk refuses the note or the key: the error says so, nothing has changed, and the log goes on."""
        for subsystem in ("audit", "wal"):
            sample_homes.make(home, 3, subsystem)
        before, logs, real = files(home), [report.log for report in verified(home)], disk.write_new

        def full(path, *rest):
            if path.name.startswith(name) and (name == "writer.key" or path.parent.name == "wal"):
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return real(path, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(disk, "write_new", full)
            with pytest.raises(OSError, match="No space left"):
                rotate(HomeDir(home))
        assert before == files(home)
        sample_homes.make(home, 3)
        assert logs == [report.log for report in verified(home)]

    def test_notes_of_a_change_that_never_was_are_removed(self, home):
        """A keeper that goes on with its key removes them; they are not evidence, and nobody is told of them."""
        sample_homes.make(home, 3)
        key, current = own_key(home), LogDir.current_of(sample_homes.subsystem_dir(home))
        state = current.head_state()
        assert state is not None
        end = Checkpoint.parse(state.head.checkpoint)
        current.key_changes.write_bytes(join([sign(end, key, SecretKey.generate(bytes(32)), 1)]))
        assert [] == list(open_home(home).earlier_keys())
        sample_homes.make(home, 3)
        assert not current.key_changes.exists()
        assert [True] == accepted(home)
