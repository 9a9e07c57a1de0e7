"""Each check of a home finds what it is for, and says what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ipfs_log_handlers.home import lock, volume
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper.addresses import Addresses
from ipfs_log_handlers.maintenance.repair import Repair, repair_home
from ipfs_log_handlers.monitoring import store_checks, subsystem_checks
from ipfs_log_handlers.monitoring.health import check_health
from ipfs_log_handlers.monitoring.health_check import HealthCheck
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import sample_homes

NONE = Addresses(all=(), override=())


def checked(home: Path, addresses: Addresses = NONE) -> dict[str, HealthCheck]:
    """Run the checks of a home; return them by name, one of each."""
    checks = list(check_health(HomeDir(home), addresses))
    assert len({check.check for check in checks}) == len(checks)
    return {check.check: check for check in checks}


@pytest.fixture
def sound(home: Path) -> Path:
    """Make a home in which nothing is wrong."""
    sample_homes.make(home, 3)
    return home


def test_a_sound_home_is_ok_in_every_check(sound):
    """And nothing is advised."""
    checks = checked(sound)
    assert list(checks) == ["home", "mount", "key", "logs", "space", "keeper", "store"]
    assert {(check.state, check.hint) for check in checks.values()} == {("ok", None)}


def test_open_modes_are_a_warning_with_the_command(sound):
    """Other users can read the home."""
    sound.chmod(0o755)
    check = checked(sound)["home"]
    assert (check.state, check.hint) == ("warn", f"Run chmod 700 {sound}")
    assert "mode 0755: other users can read it" in check.found


def test_a_home_of_another_user_fails(sound, monkeypatch):
    """Its owner is named."""
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    assert checked(sound)["home"].state == "fail"


def test_a_network_mount_fails(sound, monkeypatch):
    """Nothing is sealed there."""
    monkeypatch.setattr(volume, "network_mount", lambda _: "nfs4")
    check = checked(sound)["mount"]
    assert (check.state, check.hint) == ("fail", "Put the home on a local disk.")
    assert check.found.startswith("a nfs4 mount")


@pytest.mark.parametrize(("free", "state"), [(1 << 40, "ok"), (32 << 20, "warn"), (1 << 19, "fail")])
def test_free_space_is_ok_a_warning_or_a_failure(sound, monkeypatch, free, state):
    """The free bytes are shown in every case."""
    monkeypatch.setattr(volume, "free_bytes", lambda _: free)
    check = checked(sound)["space"]
    assert (check.state, check.found.endswith(" free")) == (state, True)


def test_the_keeper_is_named(sound):
    """Its process and host."""
    held = lock.take(HomeDir(sound))
    assert held is not None
    try:
        assert f"process {os.getpid()} on " in checked(sound)["keeper"].found
    finally:
        held.release()


def test_quarantined_files_are_counted_and_some_are_named(sound):
    """The directory is in the hint."""
    directory = sample_homes.subsystem_dir(sound).quarantine
    directory.mkdir()
    for number in range(7):
        (directory / f"piece-{number}").touch()
    check = checked(sound)["audit quarantine"]
    assert check.found == "7 damaged: piece-0, piece-1, piece-2, piece-3, piece-4, …"
    assert str(directory) in str(check.hint)


def test_what_the_system_refuses_fails_one_check_and_the_others_are_made(sound, monkeypatch):
    """A subsystem that cannot be read is a failed check."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(sound / "audit" / "spool"))

    monkeypatch.setattr(subsystem_checks, "_count_orphans", refused)
    checks = checked(sound)
    assert checks["audit spool"].state == "fail"
    assert "the system's log" in checks["audit spool"].found
    assert checks["store"].state == "ok"


def test_a_store_that_is_silent_fails_after_its_time(sound, monkeypatch):
    """The address and the seconds are named."""
    store = MemoryStore.named("silent")
    store.state = "silent"
    monkeypatch.setattr(store_checks, "_STORE_TIMEOUT_S", 0.05)
    check = checked(sound, Addresses(all=("memory:silent",), override=None, named=frozenset({"memory:silent"})))[
        "store"
    ]
    assert (check.state, check.found) == ("fail", "memory:silent did not answer within 0 s")


def test_a_repair_is_a_check_too():
    """It is ok when the file is whole again."""
    assert HealthCheck.of_repair(Repair(what="key", repaired=True, detail="d")).as_json() == {
        "check": "repair key", "state": "ok", "found": "d", "hint": None,
    }  # fmt: skip
    assert HealthCheck.of_repair(Repair(what="key", repaired=False, detail="d")).state == "fail"


def test_a_malformed_address_does_not_stop_a_repair(sound):
    """The check of the store reports it; what can be repaired without it is."""
    sample_homes.subsystem_dir(sound).current.head.write_bytes(b"junk")
    repairs = repair_home(HomeDir(sound), ["nonsense:"])
    assert [(repair.what, repair.repaired) for repair in repairs] == [("audit head", True), ("audit counts", True)]
    assert repairs[0].as_json().keys() == {"what", "repaired", "detail"}
