"""The logs of other homes in a home are verified with its own: as they came in, with the keys that were given then."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipfs_log_handlers import open_home
from ipfs_log_handlers.home.imported_logs import MirroredDir, MirroredHead, mirrored_logs
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.sharing import mirror_pieces
from tests.support import sample_homes
from tests.support.cli import run


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Make the home of another machine, with a log of three batches."""
    sample_homes.make(tmp_path / "other", 30)
    return tmp_path / "other"


@pytest.fixture
def both(home: Path, other: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a home with ten records of its own, and a mirror of the other one in three files."""
    sample_homes.make(home, 10)
    with monkeypatch.context() as patched:
        patched.setattr(mirror_pieces, "_PIECE_BATCHES", 1)
        list(open_home(home).mirror([other], keys=[sample_homes.key_of(other)]))
    return home


def log_of(home: Path) -> str:
    """Return the name of the log of a home."""
    return next(open_home(home).batches()).log


def results(home: Path, **options: object) -> list[tuple[str | None, str, int, list[tuple[int | None, str]]]]:
    """Verify; return origin, result, batches and problems of each log."""
    return [
        (report.origin, report.result, report.batches, [(one.batch, one.field) for one in report.problems])
        for report in open_home(home).verify(**options)  # type: ignore[arg-type]
    ]


def test_all_logs_are_verified(both, other, tmp_path):
    """Own ones first; each log of another home has its name as origin, and is compared with the remembered head."""
    expected: list[tuple[str | None, str, int, list[tuple[int | None, str]]]]
    expected = [(None, "ok", 1, []), (log_of(other), "ok", 3, [])]
    assert results(both, memory=tmp_path / "memory") == expected
    assert results(both, memory=tmp_path / "memory") == expected
    ended = run("verify", "--no-memory", "-o", "text", home=both)
    assert ended.code == 0
    assert f"audit: ok: 3 batches, 30 records: {log_of(other)} (of another home)" in ended.out


def test_a_flipped_bit_in_each_file(both, other):
    """Of a piece, or of the head: the log of the other home is named, and the own one is ok."""
    (target,) = mirrored_logs(HomeDir(both))
    for file in [*target.path.glob("*.car")]:
        content = file.read_bytes()
        file.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
        found = results(both)
        assert found[0] == (None, "ok", 1, [])
        assert "ok" not in {result for _, result, _, _ in found[1:]}, file
        assert run("verify", "--no-memory", home=both).code == 3
        file.write_bytes(content)
    assert [result for _, result, _, _ in results(both)] == ["ok", "ok"]


def test_a_copy_that_was_interrupted(both, other):
    """Its head leads to the batches that are here; the others are incomplete, and `doctor` and `status` say so."""
    (target,) = mirrored_logs(HomeDir(both))
    head = target.head()
    assert head is not None
    batches = sample_homes.batches_of(other)
    manifests = {index: (batches.facts(index).cid, batches.manifest(index).encode()) for index in range(3)}
    target.write_head(MirroredHead.leading_to(head.head, 1, manifests))
    target.piece_file(2, 2).unlink()
    _, (origin, result, _, problems) = results(both)
    assert (origin, result, problems) == (log_of(other), "incomplete", [(2, "payload")])
    assert run("verify", "--no-memory", home=both).code == 5
    assert "2 batches, 1 not here yet of another home (mirrored)" in run("status", "-o", "text", home=both).out
    assert "1 batches are not here" in run("doctor", "-o", "text", home=both).out


def test_a_mirror_that_was_set_back(both, other, tmp_path):
    """A head that is older than the remembered one is stale."""
    memory = tmp_path / "memory"
    (target,) = mirrored_logs(HomeDir(both))
    before = {file.name: file.read_bytes() for file in target.path.glob("*.car")}
    sample_homes.make(other, 10)
    list(open_home(both).mirror([other]))
    assert results(both, memory=memory)[1][1:3] == ("ok", 4)
    for file in target.path.glob("*.car"):
        file.unlink()
    for name, content in before.items():
        (target.path / name).write_bytes(content)
    assert results(both, memory=memory)[1][1:3] == ("stale", 3)


def test_imported_files_too(home, other, tmp_path):
    """A file that was imported, alone and beside a mirror that has more of the log: one report for the log."""
    sample_homes.make(home, 10)
    open_home(other).export_car(tmp_path / "log.car")
    open_home(home).import_car(tmp_path / "log.car", keys=[sample_homes.key_of(other)])
    assert results(home)[1:] == [(log_of(other), "ok", 3, [])]
    sample_homes.make(other, 20)
    list(open_home(home).mirror([other]))
    assert results(home)[1:] == [(log_of(other), "ok", 5, [])]


def test_an_imported_file_beside_a_mirror_that_has_nothing_yet(home, other, tmp_path):
    """The directory of the mirror was made, and nothing was copied: the log is verified from the file."""
    open_home(other).export_car(tmp_path / "log.car")
    open_home(home, must_exist=False).import_car(tmp_path / "log.car", keys=[sample_homes.key_of(other)])
    with MirroredDir.of(HomeDir(home), log_of(other)).locked():
        pass
    assert results(home) == [(log_of(other), "ok", 3, [])]
    (file,) = (home / "imported-logs").glob("*.car")
    content = file.read_bytes()
    file.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    found = results(home)
    assert found
    assert "ok" not in {result for _, result, _, _ in found}


def test_other_keys(both, other):
    """A key that is given stands in place of those that the home trusts, for all logs."""
    assert [result for _, result, _, _ in results(both, keys=[sample_homes.key_of(both)])] == ["ok", "tampered"]
    keys = [sample_homes.key_of(both), sample_homes.key_of(other)]
    assert [result for _, result, _, _ in results(both, keys=keys)] == ["ok", "ok"]
    (both / "imported-logs" / "keys").unlink()
    assert results(both)[1] == (log_of(other), "tampered", 0, [(None, "key")])
    assert "no key that is trusted has signed it" in run("status", "-o", "text", home=both).out
    assert run("doctor", home=both).code == 2


def test_only_some_subsystems(both, other):
    """A subsystem that only another home has is one that can be named."""
    sample_homes.make(other, 10, "wal")
    list(open_home(both).mirror([other]))
    assert [(origin, result) for origin, result, _, _ in results(both, subsystems=["wal"])] == [
        (next(batch.log for batch in open_home(other).batches(["wal"])), "ok")
    ]
    assert run("status", "wal", home=both).objects[0]["mirrored"] is True


class TestShow:
    """`show` prints a batch of another home with its origin."""

    def test_by_cid_and_by_number(self, both, other):
        """By the CID of the manifest or payload, and by its number where only another home has it; its records, too."""
        for cid in ("cid", "payload"):
            batch = list(open_home(other).batches())[1]
            (found,) = run("show", getattr(batch, cid), home=both).objects
            assert (found["origin"], found["index"], found["cid"]) == (batch.log, 1, batch.cid)
        (found,) = run("show", "audit", "2", home=both).objects
        assert (found["origin"], found["head"]) == (log_of(other), sample_homes.head_of(other))
        (record,) = run("show", "audit", "2/4", home=both).objects
        assert record["number"] == 24
        assert "origin" not in run("show", "audit", "0", home=both).objects[0]
        assert run("show", "audit", "9", home=both).code == 1

    def test_a_number_of_several_logs(self, both, other, tmp_path):
        """Two other homes have it: the CID is asked for."""
        sample_homes.make(tmp_path / "third", 30)
        list(open_home(both).mirror([tmp_path / "third"], keys=[sample_homes.key_of(tmp_path / "third")]))
        ended = run("show", "audit", "2", home=both)
        assert ended.code == 2
        assert "Name it by its CID" in ended.err


def test_a_home_that_only_mirrors(tmp_path, other):
    """`status`, `verify` and `doctor` say what it has."""
    home = tmp_path / "gathered"
    list(open_home(home, must_exist=False).mirror([other], keys=[sample_homes.key_of(other)]))
    ended = run("status", "-o", "text", home=home)
    assert (ended.code, ended.out) == (0, f"audit: 3 batches of another home (mirrored): {log_of(other)}\n")
    (found,) = run("status", home=home).objects
    assert (found["origin"], found["batches"], found["problem"]) == (log_of(other), 3, None)
    assert run("verify", "--no-memory", home=home).code == 0
    assert "other homes: logs: 1, batches: 3" in run("doctor", "-o", "text", home=home).out
