"""Bring a home to another machine: with its key the logs go on if the owner says so; without it new logs follow."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from ipfs_log_handlers.api import HealthCheck, open_dataset, open_home
from ipfs_log_handlers.errors import FormatError, HomeError
from ipfs_log_handlers.format.checkpoint import SecretKey
from ipfs_log_handlers.home import disk, head, keys, lock, volume
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper import new_log
from tests.support import sample_homes


def own_key(home: Path) -> SecretKey:
    """Return the key of a home."""
    key = keys.load(HomeDir(home))
    assert key is not None
    return key


def copied(home: Path, name: str = "copy", *, key: bool = True) -> Path:
    """Copy a home, and wait until a keeper takes its files as they are."""
    copy = home.with_name(name)
    shutil.copytree(home, copy)
    if not key:
        HomeDir(copy).key.unlink()
    time.sleep(1.1)
    return copy


def logs(home: Path) -> list[tuple[str, int, bool]]:
    """Name, number of batches and outcome of each log, oldest first."""
    return [(report.log, report.batches, report.ok) for report in open_home(home).verify()]


def checked(home: Path, name: str) -> HealthCheck | None:
    """Return one check of `doctor`; `None` if it was not made."""
    return next((check for check in open_home(home).health() if check.check == name), None)


class TestSameLog:
    def test_a_moved_home_goes_on(self, home):
        """The owner says that the original is gone: the same logs go on, and each record is there once."""
        for subsystem in ("audit", "wal"):
            sample_homes.make(home, 20, subsystem)
        sample_homes.log(home, range(20, 25))
        before = logs(home)
        moved = copied(home)
        shutil.rmtree(home)
        place = checked(moved, "place")
        assert place is not None
        assert (place.state, "ipfs-logs keys same-log" in (place.hint or "")) == ("warn", True)
        assert "audit, and 1 other subsystem: the next keeper ends the log" in place.found
        assert [("audit", 2, None), ("wal", 2, None)] == [
            (log.subsystem, log.batches, log.reason) for log in open_home(moved).same_logs()
        ]
        assert checked(moved, "place") is None
        sample_homes.log(moved, range(25, 30))
        sample_homes.seal(moved)
        assert [(before[0][0], 3, True), before[1]] == logs(moved)
        assert [*range(30)] == sorted(each["number"] for each in open_dataset(moved) if each["subsystem"] == "audit")
        assert [None, None] == [log.reason for log in open_home(moved).same_logs()]  # nothing is left to do

    def test_on_another_machine(self, home, monkeypatch):
        """The name of the machine is another one; without a word of the owner a new log begins there."""
        sample_homes.make(home, 20)
        ((log, _, _),) = logs(home)
        monkeypatch.setattr(volume, "machine_id", lambda: "another")
        assert (None,) == tuple(each.reason for each in open_home(home).same_logs())
        sample_homes.make(home, 10)
        assert [(log, 3, True)] == logs(home)

    def test_without_a_word_a_new_log_names_the_old_head(self, home):
        """A copy whose owner says nothing: a new log with the same key, and `verify` has the reason."""
        sample_homes.make(home, 20)
        copy = copied(home)
        sample_homes.make(copy, 10)
        assert [True, True] == [ok for _, _, ok in logs(copy)]
        ended = [report.ended for report in open_home(copy).verify()]
        assert ended == ["the head file is a copy: the home was copied, or a backup was copied back", None]
        assert [own_key(home).name] * 2 == ["/".join(log.split("/")[:2]) for log, _, _ in logs(copy)]

    def test_without_the_key_no_log_goes_on(self, home):
        """The key did not come along: an error says what to do, and a start makes a new key and names the old head."""
        sample_homes.make(home, 20)
        moved = copied(home, key=False)
        with pytest.raises(HomeError, match=r"the key did not come along.*keys import"):
            open_home(moved).same_logs()
        check = checked(moved, "key")
        assert check is not None
        assert (check.state, "writer.key is missing" in check.found) == ("fail", True)
        sample_homes.make(moved, 10)
        old, new = open_home(moved).verify(keys=[own_key(each).verifier.text for each in (home, moved)])
        assert (True, True, 3, "the head file is a copy") == (
            old.ok, new.ok, old.batches + new.batches, (old.ended or "")[:23]
        )  # fmt: skip

    def test_with_the_exported_key_it_goes_on(self, home, tmp_path):
        """The home came without its key, and the key in a file: imported, the logs go on."""
        sample_homes.make(home, 20)
        before = logs(home)
        open_home(home).export_key(tmp_path / "key.pem", passphrase="correct horse battery staple")
        moved = copied(home, key=False)
        open_home(moved).import_key(tmp_path / "key.pem", passphrase="correct horse battery staple")
        open_home(moved).same_logs()
        sample_homes.make(moved, 10)
        assert [(before[0][0], 3, True)] == logs(moved)

    def test_shipped_to_a_daemon_before_and_after(self, home, kubo):
        """A daemon has the batches of both places behind one head."""
        sample_homes.make(home, 20, kubo=kubo.url)
        sample_homes.ship(home, kubo.url)
        moved = copied(home)
        shutil.rmtree(home)
        open_home(moved).same_logs()
        sample_homes.log(moved, range(20, 30), kubo=kubo.url)
        sample_homes.ship(moved, kubo.url)
        (status,) = open_home(moved).status()
        assert (30, 30) == (status.sealed, status.shipped)
        found = open_dataset(status.head, kubo=kubo.url, keys=[own_key(moved).verifier.text], verify="chain")
        assert [*range(30)] == [record["number"] for record in found]

    def test_an_original_that_goes_on_is_found_at_the_store(self, home, kubo, monkeypatch):
        """A copy and not a move: both sign batch 2, and `verify` that may ask the store says so."""
        sample_homes.make(home, 20, kubo=kubo.url)
        moved = copied(home)
        open_home(moved).same_logs()
        for number, each in enumerate((home, moved)):
            monkeypatch.setattr(new_log, "_sealed_here", {})  # as on two machines
            sample_homes.log(each, range(20 + number, 25 + number), kubo=kubo.url)
            sample_homes.ship(each, kubo.url)
        problems = [problem for report in open_home(home).verify(stores=[kubo.url]) for problem in report.problems]
        assert (2, "manifest") in [(problem.batch, problem.field) for problem in problems], problems


class TestRefused:
    def test_a_batch_after_the_head(self, home, monkeypatch):
        """A program logged during the copy: the log ends all the same, and the reason is given."""
        sample_homes.make(home, 20)
        stale = sample_homes.subsystem_dir(home).current.head.read_bytes()
        sample_homes.make(home, 10)
        moved = copied(home)
        sample_homes.subsystem_dir(moved).current.head.write_bytes(stale)
        time.sleep(1.1)
        monkeypatch.setattr(new_log, "_sealed_here", {})  # as in a process that has not sealed the batch
        (log,) = open_home(moved).same_logs()
        assert log.reason is not None
        assert "a program logged while the home was copied" in log.reason
        sample_homes.make(moved, 10)
        assert [True, True] == [ok for _, _, ok in logs(moved)]

    @pytest.mark.parametrize("harm", ["newest gone", "damaged head", "store has more"])
    def test_a_log_that_would_have_ended_anyway(self, home, harm, kubo):
        """Another reason than the copy ends the log."""
        sample_homes.make(home, 20, kubo=kubo.url)
        if harm == "store has more":
            stale = sample_homes.subsystem_dir(home).current.head.read_bytes()
            sample_homes.log(home, range(20, 30), kubo=kubo.url)
            sample_homes.ship(home, kubo.url)
        moved = copied(home)
        current = sample_homes.subsystem_dir(moved).current
        if harm == "newest gone":
            (current.batches / "000" / "000001.car").unlink()
        elif harm == "damaged head":
            current.head.write_bytes(current.head.read_bytes()[:-9])
        else:
            current.head.write_bytes(stale)
            for path in current.batches.rglob("*2.car"):
                path.unlink()
        time.sleep(1.1)
        (log,) = open_home(moved).same_logs()
        assert log.reason is not None
        assert "copied" not in log.reason

    def test_while_files_still_arrive(self, home, monkeypatch):
        """A copy that has not settled: try again."""
        sample_homes.make(home, 3)
        moved = copied(home)
        monkeypatch.setattr("ipfs_log_handlers.keeper.moved.has_settled", lambda _: False)
        with pytest.raises(HomeError, match="still change"):
            open_home(moved).same_logs()

    def test_beside_a_keeper(self, home, tmp_path):
        """Both need the lock, and name the process that has it."""
        sample_homes.make(home, 3)
        open_home(home).export_key(tmp_path / "key.pem")
        held = lock.take(HomeDir(home))
        assert held is not None
        for call in (open_home(home).same_logs, lambda: open_home(home).import_key(tmp_path / "key.pem")):
            with pytest.raises(HomeError, match=f"process {os.getpid()} on .* is the keeper of this home"):
                call()
        held.release()

    def test_a_kill_between_two_logs(self, home, monkeypatch):
        """The second head is not written: the first log goes on, and a second call does the rest."""
        for subsystem in ("audit", "wal"):
            sample_homes.make(home, 20, subsystem)
        before, real = logs(home), head.store
        moved = copied(home)

        def dying(path, *rest, **options):
            if path.parent.name == "wal":
                raise KeyboardInterrupt
            return real(path, *rest, **options)

        with monkeypatch.context() as patch:
            patch.setattr(head, "store", dying)
            with pytest.raises(KeyboardInterrupt):
                open_home(moved).same_logs()
        open_home(moved).same_logs()
        for subsystem in ("audit", "wal"):
            sample_homes.make(moved, 10, subsystem)
        assert [(log, 3, True) for log, _, _ in before] == logs(moved)


class TestKeyFiles:
    def test_export_refuses_what_exists_and_leaves_nothing(self, home, tmp_path, monkeypatch):
        """An existing file is not replaced; a disk that refuses leaves no file; the mode is 0600 whatever the umask."""
        home.mkdir(mode=0o700)
        with pytest.raises(HomeError, match="no key to export"):
            open_home(home).export_key(tmp_path / "key.pem")
        sample_homes.make(home, 3)
        (tmp_path / "taken").write_text("mine")
        with pytest.raises(FileExistsError):
            open_home(home).export_key(tmp_path / "taken")
        assert (tmp_path / "taken").read_text() == "mine"
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            with pytest.raises(OSError, match="No space"):
                open_home(home).export_key(tmp_path / "key.pem")
        assert not (tmp_path / "key.pem").exists()
        before = os.umask(0o077)
        try:
            open_home(home).export_key(tmp_path / "key.pem")
        finally:
            os.umask(before)
        assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600

    def test_import_into_a_new_home(self, home, tmp_path):
        """A home that does not exist yet gets the key, and signs its first batch with it."""
        sample_homes.make(home, 3)
        open_home(home).export_key(tmp_path / "key.pem")
        other = home.with_name("other")
        open_home(other, must_exist=False).import_key(tmp_path / "key.pem")
        sample_homes.make(other, 3)
        assert own_key(other) == own_key(home)
        assert HomeDir(other).key.stat().st_mode & 0o777 == 0o600
        assert [True] == [ok for _, _, ok in logs(other)]

    def test_a_lost_key_comes_back(self, home, tmp_path):
        """The log goes on as if the key had never been away; a second import changes nothing."""
        sample_homes.make(home, 20)
        before = logs(home)
        open_home(home).export_key(tmp_path / "key.pem")
        HomeDir(home).key.unlink()
        for _ in range(2):
            open_home(home).import_key(tmp_path / "key.pem")
        sample_homes.make(home, 10)
        assert [(before[0][0], 3, True)] == logs(home)

    def test_the_key_after_a_change_comes_back(self, home, tmp_path):
        """The newest log has ended with a change to this key: it fits; the old key does not."""
        sample_homes.make(home, 20)
        open_home(home).export_key(tmp_path / "old.pem")
        open_home(home).rotate_key()
        open_home(home).export_key(tmp_path / "new.pem")
        new = own_key(home)
        sample_homes.make(home, 10)
        HomeDir(home).key.unlink()
        with pytest.raises(HomeError, match="another key has signed the newest log of audit"):
            open_home(home).import_key(tmp_path / "old.pem")
        assert not HomeDir(home).key.exists()
        open_home(home).import_key(tmp_path / "new.pem")
        assert own_key(home) == new
        assert [True, True] == [ok for _, _, ok in logs(home)]

    def test_a_second_key_is_refused(self, home, tmp_path):
        """A home that has a key, or sealed with another one: two keys would fork its logs."""
        sample_homes.make(home, 3)
        other = home.with_name("other")
        sample_homes.make(other, 3)
        open_home(other).export_key(tmp_path / "key.pem")
        with pytest.raises(HomeError, match="the home has another key"):
            open_home(home).import_key(tmp_path / "key.pem")
        HomeDir(home).key.unlink()
        with pytest.raises(HomeError, match="another key has signed the newest log"):
            open_home(home).import_key(tmp_path / "key.pem")
        (tmp_path / "junk").write_bytes(b"junk")
        with pytest.raises(FormatError, match="not an exported key"):
            open_home(home).import_key(tmp_path / "junk")
        assert not disk.exists(HomeDir(home).key)
