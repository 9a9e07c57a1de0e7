"""Erasing what was sealed in a period: the log verifies, nobody reads it, and a hold forbids it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ipfs_log_handlers import HeldError, IPFSHandler, open_home
from ipfs_log_handlers.api import Home, issue_keys, issued_keys_in, shred_issued_keys
from ipfs_log_handlers.config import EncryptKeywords
from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.format.kid import period_of
from ipfs_log_handlers.home import acts, key_shredding, lock, pseudonym_keys
from ipfs_log_handlers.home.key_directory import KeyFiles, keys_in, state
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.maintenance import shredding
from tests.support import sample_homes
from tests.support.cli import run
from tests.support.encrypted import ALICE, ALICE_KEY

ENCRYPT: EncryptKeywords = {"recipients": [ALICE_KEY], "period": "year"}


def acts_in(home: Path, subsystem: str = "audit") -> list[acts.SealedAct]:
    """Return the acts of the current log."""
    return acts.acts_of(LogDir.current_of(sample_homes.subsystem_dir(home, subsystem)))


def now() -> int:
    """Return the time, µs since 1970."""
    return int(time.time() * 1_000_000)


PERIOD = period_of(now(), "year")


@pytest.fixture
def encrypted(home: Path) -> Home:
    """Make a home with three encrypted batches of `audit` and one of `wal`."""
    sample_homes.make(home, 30, encrypt=ENCRYPT)
    sample_homes.make(home, 5, "wal", encrypt=ENCRYPT)
    return open_home(home)


@pytest.fixture
def alice(tmp_path: Path) -> Path:
    """Return the file of an identity."""
    path = tmp_path / "alice"
    path.write_text(ALICE + "\n")
    return path


def read(home: Path, alice: Path, subsystem: str = "audit") -> tuple[int, int, str]:
    """Return the exit code of `cat`, the number of records, and stderr."""
    ended = run("cat", "--identity", str(alice), subsystem, home=home)
    return ended.code, len(ended.objects), ended.err


def test_erased_for_everybody_and_still_verified(encrypted: Home, home: Path, alice: Path) -> None:
    """The records of one subsystem are gone, those of the other and later ones are not; all of it verifies."""
    assert (0, 30) == read(home, alice)[:2]
    (ended,) = run(
        "keys", "shred", "--period", PERIOD, "--subsystem", "audit", "--reason", "asked for", home=home
    ).objects
    assert (["audit/" + PERIOD], 3, "asked for") == (ended["keys"], ended["batches"], ended["reason"])
    code, records, told = read(home, alice)
    assert (5, 0) == (code, records)
    assert "erased by policy" in told
    assert (0, 5) == read(home, alice, "wal")[:2]
    assert all(report.ok for report in encrypted.verify())
    (act,) = acts_in(home)
    assert ("shred", (f"audit/{PERIOD}",), ended["index"]) == (act.act.act, act.act.keys, act.index)

    sample_homes.make(home, 4, encrypt=ENCRYPT)
    assert (5, 4) == read(home, alice)[:2]
    assert f"audit/{PERIOD}.2" in {key.kid for key in encrypted.data_keys(["audit"])}


def test_done_once(encrypted: Home) -> None:
    """A second call has nothing to do, and says so; a period without a key is a mistake."""
    assert 1 == len(encrypted.shred_keys(PERIOD, reason="asked for", subsystem="audit")[0].keys)
    (again,) = encrypted.shred_keys(PERIOD, reason="asked for", subsystem="audit")
    assert ((), None) == (again.keys, again.index)
    for period in ("2001", "march"):
        with pytest.raises(ConfigurationError):
            encrypted.shred_keys(period, reason="asked for")
    with pytest.raises(ConfigurationError, match="reason"):
        encrypted.shred_keys(PERIOD, reason="", subsystem="wal")
    assert "present" == encrypted.data_keys(["wal"])[0].state


def test_all_subsystems_of_a_period(encrypted: Home) -> None:
    """Without a name, each has an act of its own in its log."""
    shredded = encrypted.shred_keys(PERIOD, reason="asked for", by="the court")
    assert ["audit", "wal"] == [each.subsystem for each in shredded]
    assert {"shredded"} == {key.state for key in encrypted.data_keys()}
    assert ["the court"] == [act.act.by for act in acts_in(encrypted.path, "wal")]


def test_pseudonyms_of_the_period_go_with_it(encrypted: Home, home: Path) -> None:
    """The months inside the period, of this subsystem; others stay."""
    place, months = HomeDir(home), [f"{PERIOD}-01", f"{PERIOD}-12", "2001-01"]
    for month in months:
        assert pseudonym_keys.load_or_make(place, "audit", month)
    assert pseudonym_keys.load_or_make(place, "wal", months[0])
    (shredded,) = encrypted.shred_keys(PERIOD, reason="asked for", subsystem="audit")
    assert tuple(months[:2]) == shredded.pseudonyms
    assert ["2001-01"] == pseudonym_keys.periods(place, "audit")
    assert months[:1] == pseudonym_keys.periods(place, "wal")


def test_a_hold_forbids_it(encrypted: Home, home: Path, alice: Path) -> None:
    """Nothing is marked, and nothing is in the log, of any subsystem; after the release it is done."""
    hold = encrypted.set_hold("wal", reason="lawsuit 12")
    with pytest.raises(HeldError, match="lawsuit 12"):
        encrypted.shred_keys(PERIOD, reason="asked for")
    assert {"present"} == {key.state for key in encrypted.data_keys()}
    assert 2 == run("keys", "shred", "--period", PERIOD, "--reason", "asked for", home=home).code
    assert (0, 30) == read(home, alice)[:2]
    assert encrypted.shred_keys(PERIOD, reason="asked for", subsystem="audit")
    encrypted.release_hold("wal", hold.id, reason="settled")
    assert ["audit", "wal"] == [each.subsystem for each in encrypted.shred_keys(PERIOD, reason="asked for")]
    assert {"shredded"} == {key.state for key in encrypted.data_keys()}


def test_a_hold_over_other_records_does_not(encrypted: Home) -> None:
    """Only the times of the batches count that would be erased."""
    encrypted.set_hold("audit", reason="lawsuit 12", until="2001-01-01")
    assert encrypted.shred_keys(PERIOD, reason="asked for", subsystem="audit")[0].keys


def test_a_hold_that_is_set_meanwhile_keeps_the_keys(
    encrypted: Home, home: Path, alice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the act and the destruction: the key can still be opened, and is not called destroyed."""
    real = shredding._sealed

    def seal_and_hold(*given: object) -> object:
        sealed = real(*given)  # type: ignore[arg-type]
        encrypted.set_hold("audit", reason="lawsuit 12")
        return sealed

    monkeypatch.setattr(shredding, "_sealed", seal_and_hold)
    with pytest.raises(HeldError):
        encrypted.shred_keys(PERIOD, reason="asked for", subsystem="audit")
    monkeypatch.undo()
    assert "shredding" == state(HomeDir(home), f"audit/{PERIOD}")
    assert (0, 30) == read(home, alice)[:2]
    assert 2 == run("keys", "periods", home=home).code
    with pytest.raises(HeldError):
        encrypted.shred_keys(PERIOD, reason="asked for", subsystem="audit")
    encrypted.release_hold("audit", reason="settled")
    (done,) = encrypted.shred_keys(PERIOD, reason="another reason", subsystem="audit")
    assert "asked for" == done.reason
    assert 1 == sum(act.act.act == "shred" for act in acts_in(home))
    assert 5 == read(home, alice)[0]


def test_beside_a_program_that_logs(encrypted: Home, home: Path, alice: Path) -> None:
    """The keeper of the program seals the act; what is logged later gets another key and can be read."""
    handler = IPFSHandler("audit", home=home, encrypt=ENCRYPT, flush_timeout=20)
    try:
        for numbers in (range(30, 35), range(35, 50)):
            for number in numbers:
                handler.handle(sample_homes.record(number))
            handler.flush()
            if number < 40:
                assert lock.take(HomeDir(home)) is None
                assert encrypted.shred_keys(PERIOD, reason="asked for", subsystem="audit")[0].keys
    finally:
        handler.close()
    ended = run("cat", "--identity", str(alice), "audit", home=home)
    assert [*range(35, 50)] == [each["number"] for each in ended.objects]
    assert all(report.ok for report in encrypted.verify())


def test_issued_keys(home: Path, tmp_path: Path, alice: Path) -> None:
    """The home has the act and the mark, and says that the secret is elsewhere; there it is destroyed for good."""
    holder = tmp_path / "holder"
    assert 0 == run("keys", "issue", "audit", PERIOD, "--key-dir", str(holder), "--recipient", ALICE_KEY).code
    file = tmp_path / "issued"
    file.write_text(
        "".join(f"{key.kid} {key.recipient}\n" for key in issue_keys(holder, "audit", PERIOD, PERIOD, [ALICE_KEY]))
    )
    open_home(home, must_exist=False).accept_keys(issued_keys_in(file))
    sample_homes.make(home, 3, encrypt={"recipients": "issued", "period": "year"})
    given = ["cat", "--identity", str(alice), "--key-dir", str(holder), "audit"]
    assert 3 == len(run(*given, home=home).objects)

    ended = run("keys", "shred", "--period", PERIOD, "--reason", "asked for", home=home)
    assert [f"audit/{PERIOD}"] == ended.objects[0]["elsewhere"]
    assert "run `keys shred --key-dir DIR` there, too" in ended.err
    assert KeyFiles.of(holder, f"audit/{PERIOD}").wrapped.exists()
    (there,) = run("keys", "shred", "--period", PERIOD, "--reason", "asked for", "--key-dir", str(holder)).objects
    assert [f"audit/{PERIOD}"] == there["keys"]
    assert not list(holder.rglob("*.age"))
    assert 5 == run(*given, home=home).code
    assert () == shred_issued_keys(holder, PERIOD, reason="asked for")[0].keys
    with pytest.raises(ConfigurationError):
        shred_issued_keys(holder, "2001", reason="asked for")


def test_a_damaged_mark_does_not_stop_it(encrypted: Home, home: Path) -> None:
    """Another act is sealed; the key is destroyed."""
    place = HomeDir(home)
    key_shredding.begin_shred(place, f"audit/{PERIOD}", {})
    KeyFiles.of(place, f"audit/{PERIOD}").shredding.write_bytes(b"x")
    assert encrypted.shred_keys(PERIOD, reason="asked for", subsystem="audit")[0].keys
    assert "shredded" == keys_in(place, "audit")[0].state
