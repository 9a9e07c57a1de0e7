"""`ipfs-logs keys`: the verifier key, a new log on demand, and a key that is lost, exchanged or damaged."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.format.checkpoint import SecretKey, VerifierKey
from ipfs_log_handlers.home import keys, lock
from ipfs_log_handlers.home.layout import HomeDir
from tests.support import sample_homes
from tests.support.cli import Ended, run


def test_the_verifier_key_is_shown_and_never_the_secret(home):
    """`keys show` prints the key that checks the logs, and never the secret."""
    home.mkdir(mode=0o700)
    assert run("keys", "show", home=home).code == 1
    sample_homes.make(home, 3)
    own = keys.load(HomeDir(home))
    assert own is not None
    ended = run("keys", "show", home=home)
    (found,) = ended.objects
    assert VerifierKey.parse(found["verifier"]) == own.verifier
    assert found["name"] == own.name
    assert run("keys", "show", "-o", "text", home=home).out == own.verifier.text + "\n"
    assert "PRIVATE" not in ended.out


def test_new_log_ends_the_log_and_both_verify(home):
    """`keys new-log` ends the log; the next batch begins another, and both verify."""
    sample_homes.make(home, 20)
    log = run("ls", home=home).objects[0]["log"]
    (ended,) = run("keys", "new-log", "audit", home=home).objects
    assert (ended["subsystem"], ended["ended"]) == ("audit", log)
    assert Path(ended["moved_to"]).is_dir()
    sample_homes.make(home, 20)
    assert [each["ok"] for each in run("verify", home=home).objects] == [True, True]
    assert len({each["log"] for each in run("ls", home=home).objects}) == 2
    assert len(run("cat", home=home).objects) == 40


def test_new_log_is_refused_beside_a_keeper_or_without_a_log(home):
    """Beside a live keeper no log can be ended, nor one that is not there."""
    sample_homes.make(home, 3)
    held = lock.take(HomeDir(home))
    assert held is not None
    ended = run("keys", "new-log", "audit", home=home)
    held.release()
    assert ended.code == 2
    assert f"process {os.getpid()} on " in ended.err
    assert "is the keeper of this home" in ended.err
    assert run("keys", "new-log", "nothing", home=home).code == 2
    sample_homes.log(home, range(3), "wal")
    assert run("keys", "new-log", "wal", home=home).code == 2


def found(ended: Ended, check: str) -> dict[str, Any]:
    """Return the result of one check."""
    (only,) = [each for each in ended.objects if each["check"] == check]
    return only


def own_key(home: Path) -> SecretKey:
    """Return the key of a home."""
    own = keys.load(HomeDir(home))
    assert own is not None
    return own


class TestLostKey:
    """A home with logs whose `writer.key` is gone, or is another one."""

    def lost(self, home: Path) -> SecretKey:
        """Make such a home; the key that it has lost."""
        sample_homes.make(home, 3)
        key = own_key(home)
        HomeDir(home).key.unlink()
        return key

    def test_a_missing_key_fails_with_the_name_of_the_signer(self, home):
        """`doctor` fails over a key that is gone, and tells what comes of it; `keys show` says whose the logs are."""
        key = self.lost(home)
        ended = run("doctor", home=home)
        check = found(ended, "key")
        assert (2, "fail") == (ended.code, check["state"])
        assert f"writer.key is missing, but this home has batches signed with {key.name}" == check["found"]
        assert check["hint"].startswith("Restore it from a copy before a program logs here again")
        shown = run("keys", "show", home=home)
        assert (2, "") == (shown.code, shown.out)
        assert f"error: writer.key is missing; the logs here are signed with {key.name}. " in shown.err

    def test_a_repair_makes_no_key(self, home):
        """A repair makes no key and says that it is still missing."""
        self.lost(home)
        ended = run("doctor", "--repair", home=home)
        assert (2, "fail") == (ended.code, found(ended, "key")["state"])
        assert not HomeDir(home).key.exists()

    @pytest.mark.parametrize("name", ["head", "batches/000/000000.car"])
    def test_a_head_or_a_batch_alone_shows_that_a_key_is_missing(self, home, name):
        """Either of the two is enough to see that a key is missing."""
        key = self.lost(home)
        (sample_homes.subsystem_dir(home).path / name).unlink()
        assert key.name in found(run("doctor", home=home), "key")["found"]

    def test_a_key_is_missing_even_where_no_name_can_be_read(self, home):
        """Where nothing tells any more who signed, the key is missing all the same."""
        self.lost(home)
        subsystem_dir = sample_homes.subsystem_dir(home)
        subsystem_dir.current.head.write_bytes(b"junk")
        subsystem_dir.current.batches.joinpath("000", "000000.car").write_bytes(b"junk")
        assert "a key whose name is lost too" in found(run("doctor", home=home), "key")["found"]
        assert 2 == run("keys", "show", home=home).code

    def test_a_home_that_sealed_nothing_misses_no_key(self, home):
        """Records that wait for their first batch need no key yet."""
        sample_homes.log(home, range(3))
        assert "none yet: it is made with the first batch" == found(run("doctor", home=home), "key")["found"]
        assert "no key yet" in run("keys", "show", home=home).err

    def test_a_key_that_is_put_back_in_time_goes_on_with_its_log(self, home):
        """The key is put back before anybody keeps the home: the log goes on, and verifies."""
        key = self.lost(home)
        HomeDir(home).key.write_text(key.text + "\n")
        HomeDir(home).key.chmod(0o600)
        sample_homes.make(home, 3)
        assert "ok" == found(run("doctor", home=home), "key")["state"]
        assert [True] == [each["ok"] for each in run("verify", home=home).objects]

    def test_after_a_new_key_both_keys_verify_the_logs(self, home):
        """The logs before it are signed with another key: a warning names it, and `verify --key` takes both."""
        key = self.lost(home)
        sample_homes.make(home, 3)
        ended = run("doctor", home=home)
        check = found(ended, "key")
        assert (0, "warn") == (ended.code, check["state"])
        assert check["found"].endswith(f"; former logs are signed with another key, {key.name}")
        assert "verify --key VKEY --key VKEY" in check["hint"]
        assert [False, True] == [each["ok"] for each in run("verify", home=home).objects]
        both = ["--key", key.verifier.text, "--key", own_key(home).verifier.text]
        assert [True, True] == [each["ok"] for each in run("verify", *both, home=home).objects]

    def test_the_key_of_another_home_fails(self, home):
        """The key of another home fails while its own could still be put back."""
        key = self.lost(home)
        sample_homes.make(home.parent / "other", 1)
        shutil.copy(HomeDir(home.parent / "other").key, HomeDir(home).key)
        ended = run("doctor", home=home)
        check = found(ended, "key")
        assert (2, "fail") == (ended.code, check["state"])
        assert check["found"].endswith(f"this home goes on with logs signed with {key.name}")


def test_records_stay_durable_beside_a_damaged_key(home):
    """Records are durable beside a damaged key, and nothing is sealed; they are sealed once the key is back."""
    sample_homes.make(home, 3)
    key, whole = HomeDir(home).key, HomeDir(home).key.read_bytes()
    key.write_bytes(b"PRIVATE+KEY+junk\n")
    ended = run("doctor", "--repair", home=home)
    assert (2, "fail") == (ended.code, found(ended, "repair key")["state"])
    sample_homes.make(home, 2)
    (status,) = run("status", home=home).objects
    assert (5, 3) == (status["durable"], status["sealed"])
    key.write_bytes(whole)
    sample_homes.seal(home)
    assert ("ok", 5) == (
        found(run("doctor", home=home), "key")["state"],
        len(run("cat", "--sealed", home=home).objects),
    )
    assert [True] == [each["ok"] for each in run("verify", home=home).objects]
