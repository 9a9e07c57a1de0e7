"""The logs of other homes in a home: what of them is believed, and what of a mirrored log counts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ipfs_log_handlers import VerificationError, check, open_dataset, open_home
from ipfs_log_handlers.api import Gap
from ipfs_log_handlers.home.imported_logs import MirroredHead, mirrored_logs
from ipfs_log_handlers.home.layout import HomeDir
from tests.support import sample_homes


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Make the home of another machine, with a log of three batches."""
    sample_homes.make(tmp_path / "other", 30)
    return tmp_path / "other"


@pytest.fixture
def both(home: Path, other: Path) -> Path:
    """Make a home with ten records of its own, and a mirror of the other one."""
    sample_homes.make(home, 10)
    list(open_home(home).mirror([other], keys=[sample_homes.key_of(other)]))
    return home


def origins(home: Path, **options: object) -> dict[object, int]:
    """Count the records of a home by their origin."""
    with open_dataset(home, **options) as dataset:  # type: ignore[arg-type]
        found = list(dataset)
    counts: dict[object, int] = {}
    for record in found:
        counts[record.get("origin")] = counts.get(record.get("origin"), 0) + 1
    return counts


def log_of(home: Path) -> str:
    """Return the name of the log of a home."""
    return next(open_home(home).batches()).log


def test_all_records_have_an_origin_then(home, other):
    """Without logs of other homes, none has; with one, those of this home have it, too, also before they are sealed."""
    sample_homes.make(home, 10)
    assert origins(home) == {None: 10}
    list(open_home(home).mirror([other], keys=[sample_homes.key_of(other)]))
    with sample_homes.Writing(home) as writing:
        writing.log(range(3))
    assert origins(home) == {log_of(home): 13, log_of(other): 30}


def test_a_field_of_that_name_is_kept(home, other):
    """A program that logs a field `origin` finds it as `origin_`, in each form."""
    sample_homes.log(home, range(0))
    with sample_homes.Writing(home) as writing:
        writing.handler.handle(sample_homes.record(7, origin="mine"))
    sample_homes.seal(home)
    with open_dataset(home) as dataset:
        assert [record["origin"] for record in dataset] == ["mine"]
        assert dataset.filter(where="origin=mine").count() == 1
    list(open_home(home).mirror([other], keys=[sample_homes.key_of(other)]))
    with open_dataset(home) as dataset:
        own = dataset.filter(where={"origin": log_of(home)})
        assert [(record["origin"], record["origin_"]) for record in own] == [(log_of(home), "mine")]
        assert dataset.filter(where="origin_=mine").count() == 1
        assert dataset.filter(where="origin=mine").count() == 0
        rows = dataset.sql("SELECT origin, origin_, count(*) AS n FROM audit GROUP BY ALL ORDER BY n").to_pylist()
        assert rows == [
            {"origin": log_of(home), "origin_": "mine", "n": 1}, {"origin": log_of(other), "origin_": None, "n": 30},
        ]  # fmt: skip


def test_a_condition_on_the_origin_skips_the_others(both, other):
    """`explain` names it; counts by origin read no batch."""
    with open_dataset(both) as dataset:
        plan = dataset.filter(where={"origin": log_of(other)}).explain()
        assert (plan.opened, plan.skipped) == (3, {"origin": 1})
        assert dataset.top("origin") == [(log_of(other), 30), (log_of(both), 10)]
        assert [bucket.count for bucket in dataset.histogram("1d", by="origin")] == [40]


def test_only_what_a_trusted_key_has_signed(both, other, tmp_path):
    """The keys of the home, or those that the reader gives, and no others; an untrusted log is one gap."""
    gaps: list[Gap] = []
    keys = [sample_homes.key_of(both)]
    assert origins(both, keys=keys, on_gap=gaps.append) == {log_of(both): 10}
    assert [(gap.log, gap.reason) for gap in gaps] == [(log_of(other), "no key that is trusted has signed it")]
    with pytest.raises(VerificationError):
        origins(both, keys=keys)
    assert origins(both, keys=[*keys, sample_homes.key_of(other)]) == {log_of(both): 10, log_of(other): 30}
    (both / "imported-logs" / "keys").write_text("")
    gaps.clear()
    assert origins(both, on_gap=gaps.append) == {log_of(both): 10}
    assert len(gaps) == 1


def test_a_batch_above_the_head_does_not_count(both, other):
    """A piece that has its name, while the head is not replaced yet: the batches before it are shown."""
    (target,) = mirrored_logs(HomeDir(both))
    before = target.head_file.read_bytes()
    sample_homes.make(other, 10)
    list(open_home(both).mirror([other]))
    target.head_file.write_bytes(before)
    assert origins(both) == {log_of(both): 10, log_of(other): 30}


def test_a_head_that_leads_to_an_older_batch(both, other):
    """Half a copy of a longer log is proven by the newest head, and the manifests between."""
    (target,) = mirrored_logs(HomeDir(both))
    for _ in range(3):
        sample_homes.make(other, 30)
    batches = sample_homes.batches_of(other)
    manifests = {index: batches.manifest(index) for index in range(2, 12)}
    newest = batches.facts(11).head
    found = MirroredHead.leading_to(
        newest, 2, {index: (manifest.cid, manifest.encode()) for index, manifest in manifests.items()}
    )
    assert len(found.path) < 8
    assert MirroredHead.decode(found.encode()) == found
    target.write_head(found)
    assert found.through == 2
    assert origins(both) == {log_of(both): 10, log_of(other): 30}


def test_damage_is_a_gap_of_its_batch(both, other):
    """The other batches, and this home, are read."""
    (target,) = mirrored_logs(HomeDir(both))
    (piece,) = target.pieces()
    data = bytearray(piece.path.read_bytes())
    data[-1] ^= 1
    piece.path.write_bytes(data)
    gaps: list[Gap] = []
    assert origins(both, on_gap=gaps.append) == {log_of(both): 10, log_of(other): 20}
    assert [(gap.kind, gap.index) for gap in gaps] == [("damaged", 2)]


def test_an_imported_and_a_mirrored_copy_of_one_log_are_one(both, other, tmp_path):
    """No record comes twice."""
    open_home(other).export_car(tmp_path / "log.car")
    open_home(both).import_car(tmp_path / "log.car")
    assert origins(both) == {log_of(both): 10, log_of(other): 30}
    assert [batch.state for batch in open_home(both).batches()] == ["sealed", "imported", "imported", "imported"]


def test_a_record_of_another_home_is_proved(both, other):
    """`Dataset.prove` finds it, and the key of the other home checks the bundle."""
    with open_dataset(both) as dataset:
        record = next(iter(dataset.filter(where={"origin": log_of(other), "number": 17})))
        bundle = dataset.prove(record)
    assert check(bundle, sample_homes.key_of(other)).record["number"] == 17


def test_follow_yields_what_comes_over(both, other):
    """Each record once, with its origin; a cursor continues after what was yielded."""
    with open_dataset(both) as dataset:
        following = dataset.follow(last=2)
        assert len(following.poll()) == 2
        sample_homes.make(other, 10)
        assert following.poll() == []
        list(open_home(both).mirror([other]))
        with sample_homes.Writing(both) as writing:
            writing.log(range(2))
        found = following.poll()
        assert sorted(match.record["origin"] for match in found) == sorted([log_of(other)] * 10 + [log_of(both)] * 2)
        sample_homes.make(other, 10)
        list(open_home(both).mirror([other]))
        again = dataset.follow(following.cursor)
        assert [match.record["origin"] for match in again.poll()] == [log_of(other)] * 10
        assert again.poll() == []


def test_a_home_of_other_logs_alone(home, other):
    """A machine that only gathers: everything is there, also subsystems that it does not log to."""
    sample_homes.make(other, 20, "wal")
    list(open_home(home, must_exist=False).mirror([other], keys=[sample_homes.key_of(other)]))
    with open_dataset(home) as dataset:
        assert dataset.filter(subsystem="wal").count() == 20
        assert dataset.count() == 50
    assert open_home(home).imported_subsystems == ("audit", "wal")
    shutil.rmtree(other)
    with open_dataset(home) as dataset:
        assert dataset.count() == 50
