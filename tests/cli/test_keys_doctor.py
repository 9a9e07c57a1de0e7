"""keys and doctor: the verifier key, a new log on demand, and what is wrong with a home."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.format.checkpoint import SecretKey, VerifierKey
from ipfs_log_handlers.home import keys, lock
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.stores.memory import MemoryStore
from tests.archived import archiver, facts
from tests.cli.running import Ended, run
from tests.reading import homes
from tests.workshop import OTHER, WRITER, lines, put_live


def test_verifier_key(home):
    """`keys show` prints the key that checks the logs, and never the secret."""
    home.mkdir(mode=0o700)
    assert run("keys", "show", home=home).code == 1
    homes.make(home, 3)
    own = keys.load(Home(home))
    assert own is not None
    ended = run("keys", "show", home=home)
    (found,) = ended.objects
    assert VerifierKey.parse(found["verifier"]) == own.verifier
    assert found["name"] == own.name
    assert run("keys", "show", "-o", "text", home=home).out == own.verifier.text + "\n"
    assert "PRIVATE" not in ended.out


def test_new_log(home):
    """`keys new-log` ends the log; the next batch begins another, and both verify."""
    homes.make(home, 20)
    log = run("ls", home=home).objects[0]["log"]
    (ended,) = run("keys", "new-log", "audit", home=home).objects
    assert (ended["subsystem"], ended["ended"]) == ("audit", log)
    assert Path(ended["moved_to"]).is_dir()
    homes.make(home, 20)
    assert [each["ok"] for each in run("verify", home=home).objects] == [True, True]
    assert len({each["log"] for each in run("ls", home=home).objects}) == 2
    assert len(run("cat", home=home).objects) == 40


def test_new_log_needs_the_lock(home):
    """Beside a live keeper no log can be ended, nor one that is not there."""
    homes.make(home, 3)
    held = lock.take(Home(home))
    assert held is not None
    ended = run("keys", "new-log", "audit", home=home)
    held.release()
    assert ended.code == 2
    assert "another process keeps this home" in ended.err
    assert run("keys", "new-log", "nothing", home=home).code == 2
    homes.log(home, range(3), "wal")
    assert run("keys", "new-log", "wal", home=home).code == 2


def found(ended: Ended, check: str) -> dict[str, Any]:
    """The outcome of one check."""
    (only,) = [each for each in ended.objects if each["check"] == check]
    return only


def own_key(home: Path) -> SecretKey:
    """The key of a home."""
    own = keys.load(Home(home))
    assert own is not None
    return own


class TestLostKey:
    """A home with logs whose `writer.key` is gone, or is another one."""

    def lost(self, home: Path) -> SecretKey:
        """Make such a home; the key that it has lost."""
        homes.make(home, 3)
        key = own_key(home)
        Home(home).key.unlink()
        return key

    def test_missing(self, home):
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

    def test_nothing_mends_it(self, home):
        """A repair makes no key and says that it is still missing."""
        self.lost(home)
        ended = run("doctor", "--repair", home=home)
        assert (2, "fail") == (ended.code, found(ended, "key")["state"])
        assert not Home(home).key.exists()

    @pytest.mark.parametrize("name", ["head", "batches/000/000000.car"])
    def test_missing_beside_a_head_or_a_batch_alone(self, home, name):
        """Either of the two is enough to see that a key is missing."""
        key = self.lost(home)
        (homes.room(home).path / name).unlink()
        assert key.name in found(run("doctor", home=home), "key")["found"]

    def test_missing_with_every_name(self, home):
        """Where nothing tells any more who signed, the key is missing all the same."""
        self.lost(home)
        room = homes.room(home)
        room.current.head.write_bytes(b"junk")
        room.current.batches.joinpath("000", "000000.car").write_bytes(b"junk")
        assert "a key whose name is lost too" in found(run("doctor", home=home), "key")["found"]
        assert 2 == run("keys", "show", home=home).code

    def test_a_home_that_sealed_nothing_misses_none(self, home):
        """Records that wait for their first batch need no key yet."""
        homes.log(home, range(3))
        assert "none yet: made with the first batch" == found(run("doctor", home=home), "key")["found"]
        assert "no key yet" in run("keys", "show", home=home).err

    def test_put_back_in_time(self, home):
        """The key is put back before anybody keeps the home: the log goes on, and verifies."""
        key = self.lost(home)
        Home(home).key.write_text(key.text + "\n")
        Home(home).key.chmod(0o600)
        homes.make(home, 3)
        assert "ok" == found(run("doctor", home=home), "key")["state"]
        assert [True] == [each["ok"] for each in run("verify", home=home).objects]

    def test_a_new_one_was_made(self, home):
        """The logs before it are signed with another key: a warning names it, and `verify --key` takes both."""
        key = self.lost(home)
        homes.make(home, 3)
        ended = run("doctor", home=home)
        check = found(ended, "key")
        assert (0, "warn") == (ended.code, check["state"])
        assert check["found"].endswith(f"; former logs are signed with another key, {key.name}")
        assert "verify --key VKEY --key VKEY" in check["hint"]
        assert [False, True] == [each["ok"] for each in run("verify", home=home).objects]
        both = ["--key", key.verifier.text, "--key", own_key(home).verifier.text]
        assert [True, True] == [each["ok"] for each in run("verify", *both, home=home).objects]

    def test_exchanged(self, home):
        """The key of another home fails while its own could still be put back."""
        key = self.lost(home)
        homes.make(home.parent / "other", 1)
        shutil.copy(Home(home.parent / "other").key, Home(home).key)
        ended = run("doctor", home=home)
        check = found(ended, "key")
        assert (2, "fail") == (ended.code, check["state"])
        assert check["found"].endswith(f"this home goes on with logs signed with {key.name}")


def test_damaged_key(home):
    """Records are durable beside a damaged key, and nothing is sealed; they are sealed once the key is back."""
    homes.make(home, 3)
    key, whole = Home(home).key, Home(home).key.read_bytes()
    key.write_bytes(b"PRIVATE+KEY+junk\n")
    ended = run("doctor", "--repair", home=home)
    assert (2, "fail") == (ended.code, found(ended, "repair key")["state"])
    homes.make(home, 2)
    (status,) = run("status", home=home).objects
    assert (5, 3) == (status["durable"], status["sealed"])
    key.write_bytes(whole)
    homes.seal(home)
    assert ("ok", 5) == (
        found(run("doctor", home=home), "key")["state"],
        len(run("cat", "--sealed", home=home).objects),
    )
    assert [True] == [each["ok"] for each in run("verify", home=home).objects]


def states(ended: Ended) -> dict[str, str]:
    """The state of each check."""
    return {each["check"]: each["state"] for each in ended.objects}


def test_doctor_of_a_healthy_home(home):
    """A home that has nothing wrong passes every check."""
    homes.make(home, 3)
    ended = run("doctor", home=home)
    assert (ended.code, ended.err) == (0, "")
    assert set(states(ended).values()) == {"ok"}
    assert {"home", "mount", "key", "space", "keeper", "store"} <= states(ended).keys()
    assert all(each.keys() == {"check", "state", "found", "hint"} for each in ended.objects)
    assert run("doctor", "-o", "text", home=home).out.startswith("ok    home: ")


def test_doctor_of_a_sick_home(home):
    """Open permissions, orphaned segments, quarantined pieces and a damaged head are found."""
    homes.make(home, 3)
    homes.log(home, range(3))
    home.chmod(0o755)
    Home(home).key.chmod(0o644)
    room = homes.room(home)
    room.quarantine.mkdir()
    (room.quarantine / "x").touch()
    room.current.head.write_bytes(b"junk")
    ended = run("doctor", home=home)
    assert ended.code == 2
    found = states(ended)
    assert (found["home"], found["key"], found["audit spool"]) == ("warn", "fail", "warn")
    assert (found["audit quarantine"], found["audit head"]) == ("warn", "fail")
    assert all(each["hint"] for each in ended.objects if each["state"] == "warn")


def test_doctor_of_archives_that_nobody_seals(home):
    """`doctor` warns of archives that wait while nobody keeps the home, and is content while somebody does."""
    archiver(home, "wal").put_bytes(b"x", facts)
    ended = run("doctor", home=home)
    assert "warn" == states(ended)["wal archives"]
    assert "1 archive in no batch yet" in ended.out

    held = lock.take(Home(home))
    assert held is not None
    try:
        assert "wal archives" not in states(run("doctor", home=home))
    finally:
        held.release()


def test_doctor_of_programs_that_disagree(home):
    """`doctor`, and `status` as text and as JSON, warn of live programs that want other policies of one subsystem."""
    live = [
        put_live(homes.room(home), lines(1, 1), writer=writer, records=records)
        for writer, records in ((WRITER, 50), (OTHER, 70))
    ]
    said = "live processes disagree on records: 50 (process 7 on box), 70 (process 7 on box); the newest counts, 70"
    ended = run("doctor", home=home)
    assert ended.code == 0
    assert ("audit spool", "warn", said) in [(each["check"], each["state"], each["found"]) for each in ended.objects]
    assert f"audit: warning: {said}\n" in run("status", "-o", "text", home=home).out
    (found,) = run("status", home=home).objects
    assert found["warnings"] == [said]
    for each in live:
        each.close()
    assert "disagree" not in run("status", "-o", "text", home=home).out


def test_doctor_asks_the_stores(home):
    """Each store is asked; one out of reach is exit code 4, one that does not sync is a warning."""
    MemoryStore.named("doctor")
    homes.log(home, range(3), kubo="memory:doctor")
    ended = run("doctor", home=home)
    assert (ended.code, states(ended)["store"]) == (0, "warn")
    ended = run("doctor", "--kubo", "http://127.0.0.1:9", home=home)
    assert (ended.code, states(ended)["store"]) == (4, "fail")


def test_doctor_asks_the_stores_of_the_variable(home):
    """Where none is configured, the stores of `IPFS_LOGS_KUBO` are asked, as `ship` does, and it is named."""
    homes.make(home, 3)
    ended = run("doctor", home=home, IPFS_LOGS_KUBO="http://127.0.0.1:9")
    store = found(ended, "store")
    assert (4, "fail") == (ended.code, store["state"])
    assert store["found"].startswith("IPFS_LOGS_KUBO: http://127.0.0.1:9: ")
    ended = run("doctor", home=home, IPFS_LOGS_KUBO="memory:a memory:b")
    told = [each["found"] for each in ended.objects if each["check"] == "store"]
    assert ["IPFS_LOGS_KUBO: memory 1 at memory:a", "IPFS_LOGS_KUBO: memory 1 at memory:b"] == [
        each.partition(",")[0] for each in told
    ]


def test_repair_asks_the_stores_of_the_variable(home):
    """What a store of `IPFS_LOGS_KUBO` has comes back from it, where none is configured."""
    homes.make(home, 3)
    homes.ship(home, "memory:variable")
    path = homes.room(home).current.batches / "000" / "000000.car"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10] + bytes([whole[-10] ^ 1]) + whole[-9:])
    assert 0 == run("doctor", "--repair", home=home, IPFS_LOGS_KUBO="memory:variable").code
    assert whole == path.read_bytes()


def test_doctor_counts_segments(home):
    """One segment is one segment."""
    homes.log(home, range(1))
    assert "1 segment whose program is gone" == found(run("doctor", home=home), "audit spool")["found"]
    homes.log(home, range(1))
    assert "2 segments whose program is gone" == found(run("doctor", home=home), "audit spool")["found"]


def test_doctor_of_kubo(home, kubo):
    """A real daemon answers with its version."""
    homes.make(home, 3)
    ended = run("doctor", "--kubo", kubo.host_url, home=home)
    assert ended.code == 0
    assert "kubo 0." in ended.objects[-1]["found"]


def test_journey_through_kubo(home, kubo):
    """Shipped to a real daemon, a payload that left the home comes back from it and is verified."""
    homes.log(home, range(25), kubo=kubo.host_url)
    assert run("ship", home=home).code == 0
    assert {each["state"] for each in run("ls", home=home).objects} == {"shipped"}
    homes.strip(home, 1)
    assert [each["number"] for each in run("cat", home=home).objects] == list(range(25))
    (report,) = run("verify", home=home).objects
    assert (report["ok"], report["absent"]) == (True, 1)
