"""`keys shred` is killed, or the disk refuses, at each call that changes the disk: never half done and called done.

After each case: if the key is called shredded, no byte of its secret is left and the act is in the log; otherwise its
batches can still be opened. The next call ends what was begun, with one act; the log verifies, and goes on with a
further key.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import syscall_faults
from tests.support.syscall_faults import CHANGES, FAULTS

BODY = """
    import ctypes, shutil
    from pathlib import Path
    import pyrage
    from ipfs_log_handlers.api import open_home
    from ipfs_log_handlers.home import acts, data_keys
    from ipfs_log_handlers.home.key_directory import KeyFiles, state
    from ipfs_log_handlers.home.layout import HomeDir
    from ipfs_log_handlers.home.logs import LogDir
    from ipfs_log_handlers.keeper import preload
    from ipfs_log_handlers.maintenance import shredding
    from tests.support import sample_homes
    from tests.support.forked import run_in_child
    from tests.support.encrypted import ALICE, ALICE_KEY
    preload.load_for_sealing(); preload.load_for_encryption()
    library = ctypes.CDLL(None)
    alice = [pyrage.x25519.Identity.from_str(ALICE)]
    encrypt = {"recipients": [ALICE_KEY], "period": "year"}

    def shred(home):
        (kid, *_), *_ = [[key.kid for key in open_home(home).data_keys(["audit"])]]
        return shredding.shred(HomeDir(home), kid.partition("/")[2], reason="asked for")

    def step(home, told, seen):
        os.environ.update(told); library.faults_read()
        try:
            shred(home)
            outcome = "done"
        except OSError:
            outcome = "refused"
        finally:
            os.environ["FAULTS_AT"] = "0"
        seen.write_text(f"{outcome} {library.faults_seen()}")

    def acts_in(home):
        return [act for log_dir in LogDir.all_of(HomeDir(home).subsystem_dir("audit")) for act in acts.acts_of(log_dir)]

    def check(home, told):
        sample_homes.make(home, 6, encrypt=encrypt)
        (key,) = open_home(home).data_keys()
        files = KeyFiles.of(HomeDir(home), key.kid)
        seen = Path(f"{home}.seen")
        outcome, calls = seen.read_text().split() if run_in_child(step, home, told, seen) else ("killed", 0)
        found = state(HomeDir(home), key.kid)
        if found == "shredded":
            assert not list(Path(home).rglob("*.age*"))
            assert len(acts_in(home)) == 1
        else:
            assert outcome != "done", found
            if files.wrapped.exists() and files.wrapped.stat().st_size and not acts_in(home):
                data_keys.unwrap(HomeDir(home), key.kid, alice)
        run_in_child(shred, home)
        assert state(HomeDir(home), key.kid) == "shredded"
        assert not list(Path(home).rglob("*.age*"))
        run_in_child(sample_homes.make, home, 4, "audit")
        assert len(acts_in(home)) == 1, acts_in(home)
        reports = open_home(home).verify()
        assert all(report.ok for report in reports), reports
        return int(calls)

    most = 0
    for name, told in CASES:
        most = max(most, check(Path(NEXT_TO, name), told))
    print(most)
"""


def sweep(tmp_path: Path, faults: Sequence[tuple[str, int]], each: int) -> None:
    """Let each fault happen at some calls, evenly spread, or at all of them (0)."""
    calls = syscall_faults.run_cases(
        tmp_path, BODY, [("calm", syscall_faults.variables(tmp_path / "calm", calls=CHANGES))]
    )
    assert calls > 25
    cases = []
    for number, (fault, times) in enumerate(faults):
        for at in range(1 + number, calls + 1, calls // each if each else 1):
            name = f"{fault}-{times}-{at}"
            told = syscall_faults.variables(tmp_path / name, fault, calls=CHANGES, at=at, times=times)
            cases.append((name, told))
    syscall_faults.run_cases(tmp_path, BODY, cases)


def test_at_some_calls(tmp_path):
    """A kill at some five calls, and a disk that refuses everything from one of some five calls on."""
    sweep(tmp_path, [("kill-before", 1), ("ENOSPC", 0)], 5)


@pytest.mark.soak
def test_at_every_call(tmp_path):
    """Each fault at each call."""
    sweep(tmp_path, FAULTS, 0)
