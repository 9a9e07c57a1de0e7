"""`ipfs-logs doctor`: what keeps records from being kept or shipped, and what to do about it."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from ipfs_log_handlers.home import lock
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper.upkeep import Upkeep
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import sample_homes
from tests.support.archives import archiver, facts
from tests.support.cli import Ended, run
from tests.support.logging_home import OTHER, WRITER, lines, put_live
from tests.support.many_batches import seal_batches


def found(ended: Ended, check: str) -> dict[str, Any]:
    """Return the result of one check."""
    (only,) = [each for each in ended.objects if each["check"] == check]
    return only


def states(ended: Ended) -> dict[str, str]:
    """Return the state of each check."""
    return {each["check"]: each["state"] for each in ended.objects}


def test_a_healthy_home_passes_every_check(home):
    """A home that has nothing wrong passes every check."""
    sample_homes.make(home, 3)
    ended = run("doctor", home=home)
    assert (ended.code, ended.err) == (0, "")
    assert set(states(ended).values()) == {"ok"}
    assert {"home", "mount", "key", "space", "keeper", "store"} <= states(ended).keys()
    assert all(each.keys() == {"check", "state", "found", "hint"} for each in ended.objects)
    assert run("doctor", "-o", "text", home=home).out.startswith("ok    home: ")


def test_open_modes_orphans_quarantine_and_a_damaged_head_are_found(home):
    """Open permissions, orphaned segments, quarantined pieces and a damaged head are found."""
    sample_homes.make(home, 3)
    sample_homes.log(home, range(3))
    home.chmod(0o755)
    HomeDir(home).key.chmod(0o644)
    subsystem_dir = sample_homes.subsystem_dir(home)
    subsystem_dir.quarantine.mkdir()
    (subsystem_dir.quarantine / "x").touch()
    subsystem_dir.current.head.write_bytes(b"junk")
    ended = run("doctor", home=home)
    assert ended.code == 2
    found = states(ended)
    assert (found["home"], found["key"], found["audit spool"]) == ("warn", "fail", "warn")
    assert (found["audit quarantine"], found["audit head"]) == ("warn", "fail")
    assert all(each["hint"] for each in ended.objects if each["state"] == "warn")


def test_archives_that_wait_without_a_keeper_are_a_warning(home):
    """`doctor` warns of archives that wait while nobody keeps the home, and is content while somebody does."""
    archiver(home, "wal").put_bytes(b"x", facts)
    ended = run("doctor", home=home)
    assert "warn" == states(ended)["wal archives"]
    assert "1 archive in no batch yet" in ended.out

    held = lock.take(HomeDir(home))
    assert held is not None
    try:
        assert "wal archives" not in states(run("doctor", home=home))
    finally:
        held.release()


def test_programs_that_want_other_settings_are_a_warning(home):
    """`doctor`, and `status` as text and as JSON, warn of live programs that want other policies of one subsystem."""
    live = [
        put_live(sample_homes.subsystem_dir(home), lines(1, 1), writer=writer, records=records)
        for writer, records in ((WRITER, 50), (OTHER, 70))
    ]
    differing = "50 (process 7 on box), 70 (process 7 on box)"
    said = f"live processes disagree on records: {differing}; the newest setting is used, 70"
    ended = run("doctor", home=home)
    assert ended.code == 0
    assert ("audit spool", "warn", said) in [(each["check"], each["state"], each["found"]) for each in ended.objects]
    assert f"audit: warning: {said}\n" in run("status", "-o", "text", home=home).out
    (found,) = run("status", home=home).objects
    assert found["warnings"] == [said]
    for each in live:
        each.close()
    assert "disagree" not in run("status", "-o", "text", home=home).out


def test_each_store_is_asked_and_one_out_of_reach_is_exit_code_4(home):
    """Each store is asked; one out of reach is exit code 4, one that does not sync is a warning."""
    MemoryStore.named("doctor")
    sample_homes.log(home, range(3), kubo="memory:doctor")
    ended = run("doctor", "--fetch", home=home)
    assert (ended.code, states(ended)["store"]) == (0, "warn")
    ended = run("doctor", "--kubo", "http://127.0.0.1:9", home=home)
    assert (ended.code, states(ended)["store"]) == (4, "fail")


def test_the_stores_of_the_variable_are_asked_where_none_is_configured(home):
    """Where none is configured, the stores of `IPFS_LOGS_KUBO` are asked, as `ship` does, and it is named."""
    sample_homes.make(home, 3)
    ended = run("doctor", home=home, IPFS_LOGS_KUBO="http://127.0.0.1:9")
    store = found(ended, "store")
    assert (4, "fail") == (ended.code, store["state"])
    assert store["found"].startswith("IPFS_LOGS_KUBO: http://127.0.0.1:9: ")
    ended = run("doctor", home=home, IPFS_LOGS_KUBO="memory:a memory:b")
    stores = [check["found"] for check in ended.objects if check["check"] == "store"]
    assert ["IPFS_LOGS_KUBO: memory 1 at memory:a", "IPFS_LOGS_KUBO: memory 1 at memory:b"] == [
        store.partition(" does not sync")[0] for store in stores
    ]


def test_a_repair_asks_the_stores_of_the_variable(home):
    """What a store of `IPFS_LOGS_KUBO` has comes back from it, where none is configured."""
    sample_homes.make(home, 3)
    sample_homes.ship(home, "memory:variable")
    path = sample_homes.subsystem_dir(home).current.batches / "000" / "000000.car"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10] + bytes([whole[-10] ^ 1]) + whole[-9:])
    assert 0 == run("doctor", "--repair", home=home, IPFS_LOGS_KUBO="memory:variable").code
    assert whole == path.read_bytes()


def test_segments_without_a_program_are_counted(home):
    """One segment is one segment."""
    sample_homes.log(home, range(1))
    assert "1 segment whose program has ended" == found(run("doctor", home=home), "audit spool")["found"]
    sample_homes.log(home, range(1))
    assert "2 segments whose program has ended" == found(run("doctor", home=home), "audit spool")["found"]


def test_a_real_daemon_answers_with_its_version(home, kubo):
    """A real daemon answers with its version."""
    sample_homes.make(home, 3)
    ended = run("doctor", "--kubo", kubo.host_url, home=home)
    assert ended.code == 0
    assert "kubo 0." in ended.objects[-1]["found"]


def test_a_payload_that_left_the_home_comes_back_from_kubo(home, kubo):
    """Shipped to a real daemon, a payload that left the home comes back from it and is verified."""
    sample_homes.log(home, range(25), kubo=kubo.host_url)
    assert run("ship", home=home).code == 0
    assert {each["state"] for each in run("ls", home=home).objects} == {"shipped"}
    sample_homes.strip(home, 1)
    assert [each["number"] for each in run("cat", home=home, IPFS_LOGS_KUBO=kubo.host_url).objects] == list(range(25))
    (report,) = run("verify", home=home).objects
    assert (report["ok"], report["absent"]) == (True, 1)


@pytest.mark.slow
def test_doctor_reads_a_sample_of_very_many_batches(home):
    """Home rule 33: the newest 400 and 100 of the others are read; `--all` and `--repair` read all, and find more."""
    batches = Batches(seal_batches(home, 520, subsystem="audit").current.batches)
    for index in (3, 519):
        batches.file(index).write_bytes(b"damaged")
    ended = run("doctor", home=home)
    assert "fail" == found(ended, "audit batch 519")["state"]
    assert found(ended, "audit batches")["found"].startswith("read 500 of 520: ")
    for options in (["--all"], ["--repair"]):
        checks = {each["check"]: each["state"] for each in run("doctor", *options, home=home).objects}
        assert "fail" == checks["audit batch 3"]
        assert "audit batches" not in checks


@pytest.mark.slow
@pytest.mark.parametrize("name", ["index", "catalogue"])
def test_a_damaged_cache_is_named_and_put_aside(home, name):
    """It costs no answer; a repair keeps it in quarantine/, and the next keeper makes it again."""
    subsystem_dir = seal_batches(home, 250, subsystem="audit")
    list(Upkeep(subsystem_dir).steps())
    path = subsystem_dir.current.batches / name
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    assert "warn" == found(run("doctor", home=home), f"audit {name}")["state"]
    assert 250 == len(run("ls", home=home).objects)
    assert "ok" == found(run("doctor", "--repair", home=home), f"repair audit {name}")["state"]
    assert not path.exists()
    list(Upkeep(subsystem_dir).steps())
    assert whole == path.read_bytes()


def test_a_damaged_index_page_is_named_and_put_aside(home):
    """Wherever a bit of it is flipped; a repair keeps it in quarantine/, and the next keeper makes it again."""
    subsystem_dir = seal_batches(home, 9, subsystem="audit", request_id="r")
    list(Upkeep(subsystem_dir).steps())
    path = subsystem_dir.current.batches / "pages" / "000000.page"
    whole = path.read_bytes()
    for at in (50, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert "warn" == found(run("doctor", home=home), "audit page 0")["state"]
    assert "ok" == found(run("doctor", "--repair", home=home), "repair audit page 0")["state"]
    assert not path.exists()
    assert (subsystem_dir.quarantine / "000000.page.0").exists()
    list(Upkeep(subsystem_dir).steps())
    assert whole == path.read_bytes()


def test_a_log_that_vanished_is_a_failure(home):
    """It is named; without the list nothing is known of it."""
    sample_homes.make(home, 10)
    sample_homes.make(home, 10, "wal")
    assert "ok" == states(run("doctor", home=home))["logs"]
    shutil.rmtree(home / "wal")
    ended = run("doctor", home=home)
    (found,) = [check["found"] for check in ended.objects if check["check"] == "logs"]
    assert 2 == ended.code
    assert "/wal/" in found
    (home / "logs.list").unlink()
    assert "ok" == states(run("doctor", home=home))["logs"]


def test_a_damaged_list_of_logs_is_repaired(home):
    """The damaged list is kept, and the new one names the logs that are there."""
    sample_homes.make(home, 10)
    path = home / "logs.list"
    data = path.read_bytes()
    path.write_bytes(data[:-20] + b"A" * 10 + data[-10:])
    assert "fail" == states(run("doctor", home=home))["logs"]
    assert 0 == run("doctor", "--repair", home=home).code
    assert "ok" == states(run("doctor", home=home))["logs"]
    assert data == path.read_bytes()
    assert (home / "logs.list.0").exists()
