"""`hold set` and `hold release` are killed, or the disk refuses, at each call that changes the disk.

After each case a normal start: an act that was written down is in exactly one batch, and all verifies. A hold that was
confirmed stands; a release that was not is no release. Then both are done again.
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
    from ipfs_log_handlers.keeper import acts, preload
    from tests.support import sample_homes
    from tests.support.forked import run_in_child
    preload.load_for_sealing()
    library = ctypes.CDLL(None)

    def act(home, told, seen, release):
        os.environ.update(told); library.faults_read()
        try:
            if release: open_home(home).release_hold("audit", reason="done")
            else: open_home(home).set_hold("audit", reason="lawsuit")
            outcome = "done"
        except OSError:
            outcome = "refused"
        finally:
            os.environ["FAULTS_AT"] = "0"
        seen.write_text(json.dumps([outcome, library.faults_seen()]))

    def next_start(home):
        sample_homes.log(home, range(6, 9), "audit")
        sample_homes.seal(home)

    def check(home, told, release):
        sample_homes.make(home, 6, "audit")
        if release:
            open_home(home).set_hold("audit", reason="lawsuit")
        seen = Path(f"{home}.seen")
        ended = run_in_child(act, home, told, seen, release)
        outcome = json.loads(seen.read_text())[0] if ended else "killed"
        before = [hold.id for hold in open_home(home).holds()]
        run_in_child(next_start, home)
        holds = open_home(home).holds()
        made = [batch.meta["act"] for batch in open_home(home).batches() if "act" in batch.meta]
        assert len(made) <= (2 if release else 1), made
        if release:
            assert not holds or (outcome != "done" and len(made) == 1), (outcome, holds, made)
            assert before or len(made) == 2
        else:
            assert [hold.id for hold in holds] == before and len(made) == len(before), (holds, before, made)
            assert holds or outcome != "done"
        left = [path.name for path in (Path(home) / "audit" / "acts").glob("*") if path.suffix != ".tmp"]
        assert not left, left
        for hold in holds:
            open_home(home).release_hold("audit", hold.id, reason="done")
        open_home(home).set_hold("audit", reason="again")
        assert [hold.reason for hold in open_home(home).holds()] == ["again"]
        assert all(report.ok for report in open_home(home).verify()), list(open_home(home).verify())
        return json.loads(seen.read_text())[1] if ended else 0

    most = 0
    for name, told, release in CASES:
        most = max(most, check(Path(NEXT_TO, name), told, release))
    print(most)
"""


def sweep(tmp_path: Path, faults: Sequence[tuple[str, int]], each: int, *, release: bool) -> None:
    """Let each fault happen at some calls, evenly spread, or at all of them (0)."""
    calm = ("calm", syscall_faults.variables(tmp_path / "calm", calls=CHANGES), release)
    calls = syscall_faults.run_cases(tmp_path, BODY, [calm])
    assert calls > 12
    cases = [
        (
            f"{fault}-{times}-{at}",
            syscall_faults.variables(tmp_path / f"{fault}-{times}-{at}", fault, calls=CHANGES, at=at, times=times),
            release,
        )
        for number, (fault, times) in enumerate(faults)
        for at in range(1 + number % 2, calls + 1, max(1, calls // each) if each else 1)
    ]
    syscall_faults.run_cases(tmp_path, BODY, cases)


@pytest.mark.parametrize("release", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["set", "release"])
def test_killed_at_some_calls(tmp_path, release):
    """A kill at some four calls, and a disk that refuses everything from one of them on."""
    sweep(tmp_path, [("kill-before", 1), ("ENOSPC", 0)], 4, release=release)


@pytest.mark.soak
@pytest.mark.parametrize("release", [False, True], ids=["set", "release"])
def test_at_every_call(tmp_path, release):
    """Each fault at each call."""
    sweep(tmp_path, FAULTS, 0, release=release)
