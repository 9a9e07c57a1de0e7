"""Backups that are copied back, and homes that are copied: no number is signed twice, and no sealed record is lost."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.home import file_identity, head
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.keeper import new_log
from tests.support import programs, sample_homes
from tests.support.backups import go_on, head_alone, in_new_files, instead, over, shown, signed, with_links
from tests.support.cli import run

pytestmark = pytest.mark.slow  # copies of homes at each of their steps

WAYS: list[Callable[[Path, Path], None]] = [over, in_new_files, with_links, head_alone]


@pytest.mark.parametrize("since", [1, 2, 5])
@pytest.mark.parametrize("restore", WAYS, ids=[way.__name__ for way in WAYS])
def test_a_backup_that_is_copied_back_loses_no_sealed_record(home, tmp_path, restore, since):
    """The log ends with all its batches, also those that were sealed since; a new one goes on."""
    backup = tmp_path / "backup"
    go_on(home, 0, 3)
    subprocess.run(["cp", "-al" if restore is with_links else "-a", str(home), str(backup)], check=True)
    go_on(home, 3, 3 + since)
    before = signed(home)
    restore(backup, home)
    go_on(home, 3 + since, 5 + since)
    after = signed(home)

    assert before == {key: after[key] for key in before}
    assert list(range(5 + since)) == shown(home)
    assert 0 == run("verify", home=home).code
    assert 0 == run("doctor", home=home).code
    assert sample_homes.subsystem_dir(home).former_log_dirs()


def test_a_backup_put_in_place_of_the_home_signs_no_number_twice(home, tmp_path):
    """What was deleted is gone, but its numbers are not used again: the new log has another name."""
    backup = tmp_path / "backup"
    go_on(home, 0, 3)
    shutil.copytree(home, backup)
    go_on(home, 3, 6)
    before = signed(home)
    instead(backup, home)
    go_on(home, 6, 8)
    after = signed(home)

    assert [] == [key for key in before if key in after and before[key] != after[key]]
    assert [0, 1, 2, 6, 7] == shown(home)
    assert 2 == len({log for log, _ in after})


def test_lines_that_came_back_with_the_backup_are_sealed_once(home, tmp_path):
    """Segments that were sealed and deleted since the backup stand in the spool again."""
    backup = tmp_path / "backup"
    go_on(home, 0, 2)
    sample_homes.log(home, range(2, 6), records=1)
    shutil.copytree(home, backup)
    go_on(home, 6, 7)
    assert list(range(7)) == shown(home)
    over(backup, home)
    go_on(home, 7, 9)

    assert list(range(9)) == shown(home)
    assert 0 == run("verify", home=home).code
    assert 9 == run("status", home=home).objects[0]["sealed"]


def test_a_home_that_was_copied_begins_a_new_log_whatever_inodes_it_got(home, tmp_path):
    """On another file system a directory, and a file, can have the number of the original."""
    go_on(home, 0, 3)
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    path = copy / "audit" / "head"
    state = head.load(path)
    assert state is not None
    inode = path.stat().st_ino
    number = (copy / "audit").stat().st_ino
    births = [part.partition("-")[2] for part in state.file.split("/")]
    text = replace(state, inode=number, file=f"{inode}-{births[0]}/{number}-{births[1]}").encode()
    with path.open("r+b") as file:
        file.truncate()
        file.write(text)
    go_on(home, 3, 5)
    go_on(copy, 3, 5)
    one, two = signed(home), signed(copy)
    assert [] == [key for key in one if key in two and one[key] != two[key]]
    assert [0, 1, 2, 3, 4] == shown(copy)


def test_a_home_that_goes_on_untouched_keeps_its_log(home):
    """Modes, times and another path of the home change nothing."""
    go_on(home, 0, 3)
    path = home / "audit" / "head"
    path.chmod(0o400)
    os.utime(path, (1, 1))
    path.chmod(0o600)
    moved = home.with_name("moved")
    home.rename(moved)
    go_on(moved, 3, 5)
    assert 1 == len({log for log, _ in signed(moved)})


def test_where_no_birth_is_told_later_batches_end_the_log(home, tmp_path, monkeypatch):
    """On such a file system the batches beyond the head show that it went back."""
    monkeypatch.setattr(file_identity, "_birth", lambda *_: None)
    backup = tmp_path / "backup"
    go_on(home, 0, 3)
    shutil.copytree(home, backup)
    go_on(home, 3, 6)
    before = signed(home)
    over(backup, home)
    go_on(home, 6, 8)
    assert before == {key: signed(home)[key] for key in before}
    assert list(range(8)) == shown(home)


def test_a_head_that_goes_back_under_a_process_ends_the_log(home, monkeypatch):
    """As after a snapshot of the file system is brought back, in which every file is the very file of that day."""
    monkeypatch.setattr(head, "is_original", lambda *_: True)
    go_on(home, 0, 3)
    path = sample_homes.subsystem_dir(home).current.head
    kept = path.read_bytes()
    sample_homes.log(home, range(3, 4), records=1)
    sample_homes.seal(home)
    path.write_bytes(kept)
    before = signed(home)
    sample_homes.log(home, range(4, 5), records=1)
    sample_homes.seal(home)
    assert before == {key: signed(home)[key] for key in before}
    assert list(range(5)) == shown(home)


def test_why_a_log_ended_is_told(home, tmp_path):
    """By verify, beside the log that ended."""
    go_on(home, 0, 2)
    shutil.copytree(home, tmp_path / "backup")
    go_on(home, 2, 4)
    over(tmp_path / "backup", home)
    go_on(home, 4, 5)
    former, current = run("verify", home=home).objects
    assert "a backup was copied back" in former["ended"]
    assert "ended" not in current
    assert "ended: the head file is a copy" in run("verify", "-o", "text", home=home).out


def test_a_backup_that_overwrites_nothing_keeps_its_later_batches(home, tmp_path):
    """`cp -n` brings batches of another, longer log above the head: they move to the directory of their log."""
    backup = tmp_path / "backup"
    go_on(home, 0, 5)
    shutil.copytree(home, backup)
    shutil.rmtree(home / "audit")
    go_on(home, 5, 7)
    for path in sorted((backup / "audit" / "batches").rglob("*.car")):
        to = home / path.relative_to(backup)
        if not to.exists():
            shutil.copy2(path, to)
    before = signed(home)
    assert 5 == len(before)
    go_on(home, 7, 9)
    after = signed(home)
    assert before == {key: after.get(key) for key in before}
    assert [2, 3, 4, 5, 6, 7, 8] == sorted(shown(home))


def test_a_restored_batch_takes_the_place_of_a_damaged_one(home, tmp_path):
    """The directory of an ended log has the batch, but its bytes are rotten: the good copy is not removed."""
    backup = tmp_path / "backup"
    go_on(home, 0, 3)
    shutil.copytree(home, backup)
    go_on(home, 3, 4)
    head_alone(backup, home)
    go_on(home, 4, 5)
    [former] = sample_homes.subsystem_dir(home).former_log_dirs()
    rotten = Batches(former.batches).file(1)
    content = bytearray(rotten.read_bytes())
    content[-1] ^= 1
    rotten.write_bytes(content)
    assert 0 != run("verify", home=home).code
    over(backup, home)
    go_on(home, 5, 6)
    assert (backup / "audit/batches" / rotten.parent.name / rotten.name).read_bytes() == rotten.read_bytes()


class TestLateFiles:
    """Files of a backup that arrive after the log has ended, and a backup that is copied back again."""

    def test_a_log_waits_until_no_file_changes_before_it_ends(self, home, tmp_path, monkeypatch):
        """Head, batch or directory: what a copy has just changed holds the end up for a second."""
        monkeypatch.setattr(new_log, "_QUIET_S", 1.0)
        go_on(home, 0, 2)
        subsystem_dir = sample_homes.subsystem_dir(home)
        now = clock.wall() + 60
        monkeypatch.setattr(clock, "wall", lambda: now)
        assert new_log.has_settled(subsystem_dir)
        for path in (subsystem_dir.current.head, Batches(subsystem_dir.current.batches).file(1)):
            now = path.stat().st_ctime + 0.5
            assert not new_log.has_settled(subsystem_dir)
        now -= 3600  # the clock was set back
        assert new_log.has_settled(subsystem_dir)

    def test_an_unsettled_log_is_sealed_when_it_has_settled(self, home, tmp_path, monkeypatch):
        """The keeper tries again, and nothing is signed until then."""
        go_on(home, 0, 2)
        shutil.copytree(home, tmp_path / "backup")
        go_on(home, 2, 3)
        over(tmp_path / "backup", home)
        answers = iter([False, False])
        monkeypatch.setattr(new_log, "has_settled", lambda _: next(answers, True))
        go_on(home, 3, 4)
        assert [0, 1, 2, 3] == shown(home)
        assert 2 == len({log for log, _ in signed(home)})

    @pytest.mark.parametrize("restore", [over, in_new_files], ids=["over", "in_new_files"])
    def test_a_backup_that_is_copied_back_twice_costs_what_it_overwrites(self, home, tmp_path, restore):
        """The log that followed loses its first batches to the second copy; the rest goes to its own directory."""
        backup = tmp_path / "backup"
        go_on(home, 0, 3)
        shutil.copytree(home, backup)
        go_on(home, 3, 5)
        restore(backup, home)
        go_on(home, 5, 10)
        before = signed(home)
        restore(backup, home)
        go_on(home, 10, 12)

        overwritten = [5, 6, 7]
        assert [number for number in range(12) if number not in overwritten] == shown(home)
        after = signed(home)
        assert all(after[key] == cid for key, cid in before.items() if key in after)
        assert 3 == len(before.keys() - after.keys())
        assert 3 == len({log for log, _ in after})
        listed = run("verify", home=home)
        assert 3 == listed.code
        assert [True, False, True] == [log["ok"] for log in listed.objects]
        assert all("copied back" in log["ended"] for log in listed.objects[:2])

    def test_batches_that_arrive_after_the_next_log_has_begun_end_it(self, home, tmp_path):
        """The head is that of the next log; its first batches are those of the backup."""
        backup = tmp_path / "backup"
        go_on(home, 0, 3)
        shutil.copytree(home, backup)
        go_on(home, 3, 5)
        head_alone(backup, home)
        go_on(home, 5, 10)
        before = signed(home)
        shutil.copytree(backup / "audit" / "batches", home / "audit" / "batches", dirs_exist_ok=True)
        go_on(home, 10, 12)
        after = signed(home)
        assert [0, 1, 2, 3, 4, 8, 9, 10, 11] == shown(home)
        assert all(after[key] == cid for key, cid in before.items() if key in after)
        listed = run("verify", home=home)
        assert [True, False, True] == [log["ok"] for log in listed.objects]
        assert "a backup was copied over the log" in listed.objects[1]["ended"]

    def test_batches_in_a_pack_survive_a_backup_that_has_none(self, home, tmp_path):
        """The files of the backup stand beside the pack, and hide nothing for long."""
        backup = tmp_path / "backup"
        go_on(home, 0, 3)
        shutil.copytree(home, backup)
        go_on(home, 3, 5)
        over(backup, home)
        go_on(home, 5, 10)
        batches = Batches(sample_homes.subsystem_dir(home).current.batches)
        assert [0, 1, 2, 3] == batches.pack(range(4))
        before = signed(home)
        over(backup, home)
        assert [] == batches.pack(range(3))
        go_on(home, 10, 12)
        assert list(range(12)) == shown(home)
        assert before == {key: signed(home)[key] for key in before}

    @pytest.mark.parametrize("restore", [over, in_new_files], ids=["over", "in_new_files"])
    def test_segments_that_arrive_late_are_sealed_once(self, home, tmp_path, restore):
        """Their lines are in batches of the log that has ended."""
        backup = tmp_path / "backup"
        go_on(home, 0, 2)
        sample_homes.log(home, range(2, 6), records=1)
        shutil.copytree(home, backup)
        go_on(home, 6, 7)
        head_alone(backup, home)
        go_on(home, 7, 9)
        shutil.copytree(backup / "audit" / "spool", tmp_path / "late" / "audit" / "spool")
        restore(tmp_path / "late", home)
        go_on(home, 9, 10)
        assert list(range(10)) == shown(home)
        assert 0 == run("verify", home=home).code

    @pytest.mark.parametrize("seed", range(2))
    def test_files_in_any_order_between_batches(self, home, tmp_path, seed):
        """A slow copy, of which a keeper sees every part: no number stands twice, no record is sealed twice."""
        order = random.Random(seed)
        backup = tmp_path / "backup"
        go_on(home, 0, 2)
        sample_homes.log(home, range(2, 4), records=1)
        shutil.copytree(home, backup)
        go_on(home, 4, 7)
        last = 7
        ever = signed(home)
        files = sorted(path.relative_to(backup) for path in backup.rglob("*") if path.is_file())
        for _ in range(2):
            order.shuffle(files)
            for name in files:
                (home / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                shutil.copy2(backup / name, home / name.with_name("fresh"))
                (home / name.with_name("fresh")).rename(home / name)
                if order.random() < 0.2:
                    go_on(home, last, last + 1)
                    last += 1
                    for key, cid in signed(home).items():
                        assert ever.setdefault(key, cid) == cid
        go_on(home, last, last + 1)
        lost = ever.keys() - signed(home).keys()
        numbers = shown(home)
        assert len(numbers) == len(set(numbers)) >= last + 1 - len(lost)
        assert (3 if len(numbers) < last + 1 else 0) == run("verify", home=home).code


def test_a_backup_copied_over_a_home_that_a_program_writes_to(home, tmp_path):
    """Its keeper notices the other head within a round, ends the log, and goes on in a new one."""
    backup = tmp_path / "backup"
    body = """
        configure(batch={"records": 1}, subsystem="audit")
        [handler] = logging.getLogger().handlers
        for line in sys.stdin:
            log.info("did", extra={"number": int(line)})
            handler.flush()
            print("done", flush=True)
    """
    process = programs.start(home, body)
    to_program, from_program = process.stdin, process.stdout
    assert to_program is not None
    assert from_program is not None

    def log(*numbers: int) -> None:
        for number in numbers:
            to_program.write(f"{number}\n")
            to_program.flush()
            assert "done\n" == from_program.readline()

    log(0, 1, 2)
    subprocess.run(["cp", "-a", str(home), str(backup)], check=True)
    log(3, 4, 5)
    before = signed(home)
    over(backup, home)
    log(6, 7)
    process.communicate(timeout=60)
    after = signed(home)
    assert before == {key: after[key] for key in before}
    assert list(range(8)) == shown(home)
    assert 0 == run("verify", home=home).code
