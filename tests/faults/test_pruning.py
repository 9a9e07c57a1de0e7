"""`retention apply` is killed, or the disk refuses, at each call that changes the disk; then it is done again.

After each case: no payload is missing that no act names, what the act names is pruned for every reader, and a second
run ends it at the store and in the home. Another keeper does the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ipfs_log_handlers.testing import FakeKubo
from tests.support import syscall_faults
from tests.support.syscall_faults import CHANGES, FAULTS

BODY = """
    import ctypes, json
    from pathlib import Path
    from ipfs_log_handlers.api import open_home
    from ipfs_log_handlers.home.logs import LogDir
    from ipfs_log_handlers.home.pruned import unfinished
    from ipfs_log_handlers.keeper import preload, prune_now
    from tests.support import sample_homes
    from tests.support.forked import run_in_child
    preload.load_for_sealing(); preload.load_for_store(KUBO)
    library = ctypes.CDLL(None)

    def prune(home):
        return open_home(home).apply_retention(keep="0d", stores=[KUBO])

    def faulty(home, told, seen):
        os.environ.update(told); library.faults_read()
        try:
            prune(home)
            outcome = "done"
        except OSError:
            outcome = "refused"
        finally:
            os.environ["FAULTS_AT"] = "0"
        seen.write_text(json.dumps([outcome, library.faults_seen()]))

    def numbers(home, kinds):
        gaps = []
        with open_home(home).dataset(on_gap=gaps.append) as dataset:
            found = [record["number"] for record in dataset.records("audit")]
        assert {gap.kind for gap in gaps} <= kinds, gaps
        return found, len(gaps)

    def prepare(home):
        sample_homes.log(home, range(6), records=2, kubo=[KUBO])
        sample_homes.ship(home, KUBO)

    def check(home, told):
        run_in_child(prepare, home)
        seen = Path(f"{home}.seen")
        ended = run_in_child(faulty, home, told, seen)
        found, gaps = numbers(home, {"pruned"})
        assert len(found) + 2 * gaps == 6 and found[-2:] == [4, 5], (found, gaps)
        acts = [batch.meta["act"] for batch in open_home(home).batches() if "act" in batch.meta]
        assert acts or not gaps
        (report,) = open_home(home).verify()
        assert report.ok, report
        (result,) = prune(home)
        assert result.complete, result
        log_dir = LogDir.current_of(sample_homes.subsystem_dir(Path(home)))
        assert not list(unfinished(log_dir))
        run_in_child(lambda: sample_homes.ship(Path(home), KUBO))
        found, gaps = numbers(home, {"pruned"})
        assert gaps in (2, 3) and len(found) + 2 * gaps == 6, (found, gaps)
        (report,) = open_home(home).verify()
        assert report.ok and report.pruned == gaps, report
        return json.loads(seen.read_text())[1] if ended else 0

    most = 0
    for name, told in CASES:
        most = max(most, check(Path(NEXT_TO, name), told))
    print(most)
"""


def sweep(tmp_path: Path, faults: Sequence[tuple[str, int]], each: int) -> None:
    """Let each fault happen at some calls, evenly spread, or at all of them (0)."""
    with FakeKubo() as daemon:
        calls = syscall_faults.run_cases(
            tmp_path,
            BODY,
            [("calm", syscall_faults.variables(tmp_path / "calm", calls=CHANGES))],
            KUBO=daemon.url,
        )
        assert calls > 20
        cases = [
            (
                f"{fault}-{times}-{at}",
                syscall_faults.variables(tmp_path / f"{fault}-{times}-{at}", fault, calls=CHANGES, at=at, times=times),
            )
            for number, (fault, times) in enumerate(faults)
            for at in range(1 + number % 2, calls + 1, max(1, calls // each) if each else 1)
        ]
        syscall_faults.run_cases(tmp_path, BODY, cases, KUBO=daemon.url)


def test_killed_at_some_calls(tmp_path):
    """A kill at some three calls, and a disk that refuses everything from one of them on."""
    sweep(tmp_path, [("kill-before", 1), ("ENOSPC", 0)], 3)


@pytest.mark.soak
def test_at_every_call(tmp_path):
    """Each fault at each call."""
    sweep(tmp_path, FAULTS, 0)
