"""`keys rotate` is killed, or the disk refuses, at each call that changes the disk: one key, one history, and it seals.

After each case a normal start: the home has the old key, and the same log goes on; or it has the new key, and a log of
it has begun, with the change as evidence. All verifies with the key of the home alone. Then the change is done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import syscall_faults
from tests.support.syscall_faults import CHANGES, FAULTS

BODY = """
    import ctypes, json
    from pathlib import Path
    from ipfs_log_handlers.api import open_home
    from ipfs_log_handlers.home import keys
    from ipfs_log_handlers.home.layout import HomeDir
    from ipfs_log_handlers.home.logs import LogDir
    from ipfs_log_handlers.keeper import key_rotation, preload
    from tests.support import sample_homes
    from tests.support.forked import run_in_child
    preload.load_for_sealing()
    library = ctypes.CDLL(None)

    def rotate(home, told, seen):
        os.environ.update(told); library.faults_read()
        try:
            key_rotation.rotate(HomeDir(home))
            outcome = "done"
        except OSError:
            outcome = "refused"
        finally:
            os.environ["FAULTS_AT"] = "0"
        seen.write_text(json.dumps([outcome, library.faults_seen()]))

    def next_start(home):
        sample_homes.log(home, range(6, 9), "audit")
        sample_homes.seal(home)

    def logs(home):
        return [(report.log, report.batches) for report in open_home(home).verify() if report.ok or fail(report)]

    def fail(report):
        raise AssertionError(report)

    def check(home, told):
        for subsystem in ("audit", "wal"):
            sample_homes.make(home, 6, subsystem)
        seen = Path(f"{home}.seen")
        old, before = keys.load(HomeDir(home)), logs(home)
        ended = run_in_child(rotate, home, told, seen)
        run_in_child(next_start, home)
        key, after = keys.load(HomeDir(home)), logs(home)
        audit = [log for log in after if "/audit/" in log[0]]
        assert len(dict(after)) == len(after), after
        if key == old:
            assert not ended or json.loads(seen.read_text())[0] == "refused"
            assert dict(after) == {**dict(before), audit[0][0]: dict(before)[audit[0][0]] + 1}, (before, after)
        else:
            assert after[:1] == before[:1] and len(audit) == 2 and audit[1][0].startswith(key.name), (before, after)
            assert len(open_home(home).earlier_keys()) == 1
            assert len(open_home(home).earlier_keys()[0].ends) == 2
        assert not [*Path(home).glob("*.tmp")]  # no other secret key is left
        key_rotation.rotate(HomeDir(home))
        left = [*Path(home).rglob("*key*.tmp")]
        assert not left, left
        next_start(home)
        assert len(open_home(home).earlier_keys()) == (1 if key == old else 2)
        logs(home)
        return json.loads(seen.read_text())[1] if ended else 0

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
    assert calls > 40
    cases = [
        (
            f"{fault}-{times}-{at}",
            syscall_faults.variables(tmp_path / f"{fault}-{times}-{at}", fault, calls=CHANGES, at=at, times=times),
        )
        for number, (fault, times) in enumerate(faults)
        for at in range(1 + number, calls + 1, calls // each if each else 1)
    ]
    syscall_faults.run_cases(tmp_path, BODY, cases)


def test_at_some_calls(tmp_path):
    """A kill at some five calls, and a disk that refuses everything from one of some five calls on."""
    sweep(tmp_path, [("kill-before", 1), ("ENOSPC", 0)], 5)


@pytest.mark.soak
def test_at_every_call(tmp_path):
    """Each fault at each call."""
    sweep(tmp_path, FAULTS, 0)
