"""Batches by the value of a field: each value has a key, and can be erased alone."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipfs_log_handlers.api import open_home
from ipfs_log_handlers.config import Encrypt
from ipfs_log_handlers.errors import HeldError, HomeError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.format.encryption import Envelope, group_of
from ipfs_log_handlers.home import data_keys, scope_keys
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.keeper import lines_by_scope
from ipfs_log_handlers.keeper.seal import Sealer
from ipfs_log_handlers.monitoring import key_checks
from tests.support import forked, kill_steps
from tests.support.backups import over, with_links
from tests.support.encrypted import ALICE, ALICE_KEY, BOB_KEY
from tests.support.logging_home import OTHER, WRITER, dropped, put_live, put_segment, record, seal_all, seal_home

BY_TENANT = Encrypt(recipients=(ALICE_KEY,), period="year", scope="tenant_id")
TENANTS = ("acme-industries", "globex-corporation", None, "initech-limited")
REASON = "asked for"


def _line(seq: int, tenant: object, **more: Any) -> bytes:
    fields: dict[str, Any] = {} if tenant is None else {"tenant_id": tenant}
    return line.record(record(seq, event=f"quagga {seq} came in", customer=f"zebra-{seq * 7919}", **fields, **more))


def _lines(first: int, last: int) -> bytes:
    return b"".join(_line(seq, TENANTS[seq % len(TENANTS)]) for seq in range(first, last + 1))


def _read(home: Path, identity: str = ALICE) -> tuple[list[int], list[tuple[str, int]]]:
    gaps: list[Any] = []
    with open_home(home).dataset(verify="chain", identity=identity, on_gap=gaps.append) as dataset:
        seqs = sorted(found["seq"] for found in dataset)
    return seqs, [(gap.kind, gap.records) for gap in gaps]


def _manifests(subsystem_dir: SubsystemDir) -> list[Any]:
    batches = Batches(subsystem_dir.current.batches)
    return [batches.manifest(number) for number in batches.credible_indexes()]


def _ok(home: Path, identity: str | None = None) -> dict[str, Any]:
    (report,) = open_home(home).verify(identity=identity)
    assert report.ok, report
    return report.as_json()


class TestContent:
    def test_each_value_has_a_key(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """One stretch of the spool becomes a batch for each value, and one for the records without it."""
        put_segment(subsystem_dir, _lines(1, 40), encrypt=BY_TENANT)
        home = subsystem_dir.path.parent
        made = sealer()
        assert seal_all(made) == 1
        manifests = _manifests(subsystem_dir)
        assert [group_of(manifest) for manifest in manifests] == [(1, 4), (2, 4), (3, 4), (4, 4)]
        kids = [Envelope.of(manifest).kid for manifest in manifests]
        assert len({kid.text for kid in kids}) == 4
        assert [kid.scope for kid in kids].count("") == 1
        assert made.sealed is not None
        assert (made.sealed.index, made.sealed.records) == (3, 40)
        assert _read(home)[0] == list(range(1, 41))
        report = _ok(home, ALICE)
        assert (report["records"], report["encrypted"], report["gaps"]) == (40, 0, 0)
        assert _ok(home)["encrypted"] == 4

    def test_nothing_of_a_record_or_value_is_in_a_file(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]
    ) -> None:
        """No eight bytes of a line are in a block, the head or the key directory; no value in the name of a file."""
        content = _lines(1, 60)
        put_segment(subsystem_dir, content, encrypt=BY_TENANT)
        seal_all(sealer())
        home = subsystem_dir.path.parent
        windows = {content[at : at + 8] for at in range(len(content) - 7)}
        looked = 0
        for top in (home / "keys", subsystem_dir.current.batches, subsystem_dir.current.head):
            for file in [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]:
                data = file.read_bytes()
                looked += len(data)
                assert not {data[at : at + 8] for at in range(len(data) - 7)} & windows, file
                assert not any(tenant and tenant[:4] in str(file.relative_to(home)) for tenant in TENANTS)
        assert looked > 10_000

    def test_what_a_key_opens_says_nothing_of_other_values(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]
    ) -> None:
        """The zone map and metadata of a batch are those of the records with its value alone."""
        both = b"".join(_line(seq, ("one", "two")[seq % 2], extra=f"of-{seq % 2}") for seq in range(1, 9))
        put_segment(subsystem_dir, both, encrypt=BY_TENANT)
        seal_all(sealer())
        home = HomeDir(subsystem_dir.path.parent)
        alice = [pyrage.x25519.Identity.from_str(ALICE)]
        for manifest, seqs in zip(_manifests(subsystem_dir), ([1, 3, 5, 7], [2, 4, 6, 8]), strict=True):
            envelope = Envelope.of(manifest)
            secret = data_keys.unwrap(home, envelope.kid.text, alice)
            hidden = pyrage.decrypt(envelope.hidden, [pyrage.x25519.Identity.from_str(secret)])
            for seq in range(1, 9):
                assert (f"quagga {seq} ".encode() in hidden) == (seq in seqs)
            assert manifest.records == 4

    def test_one_value_alone_is_in_no_group(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """Such a batch is an ordinary one, but for the name of its key."""
        put_segment(subsystem_dir, b"".join(_line(seq, 7) for seq in range(1, 4)), encrypt=BY_TENANT)
        seal_all(sealer())
        (manifest,) = _manifests(subsystem_dir)
        assert group_of(manifest) is None
        assert Envelope.of(manifest).kid.scope

    def test_dropped_records_are_counted_once(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """In the first batch of a group; without a record, in a batch in clear."""
        put_segment(subsystem_dir, _lines(1, 8) + dropped("queue", 5), encrypt=BY_TENANT)
        made = sealer()
        seal_all(made)
        assert [manifest.dropped for manifest in _manifests(subsystem_dir)] == [{"queue": 5}, {}, {}, {}]
        put_segment(subsystem_dir, dropped("queue", 2), number=1, encrypt=BY_TENANT)
        seal_all(made)
        assert made.sealed is not None
        assert made.sealed.dropped == {"queue": 7}
        last = _manifests(subsystem_dir)[-1]
        assert (last.records, last.ext) == (0, {})

    def test_a_number_and_its_text_are_one_value(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]
    ) -> None:
        """A list or null is no value; those records have the key of the records without the field."""
        values = (7, "7", [7], {"a": 7}, None, True, "true", 7.5, "7.5")
        content = b"".join(line.record(record(seq, tenant_id=value)) for seq, value in enumerate(values, 1))
        put_segment(subsystem_dir, content, encrypt=BY_TENANT)
        seal_all(sealer())
        assert sorted(manifest.records for manifest in _manifests(subsystem_dir)) == [2, 2, 2, 3]

    def test_lines_with_other_settings_are_divided_too(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]
    ) -> None:
        """As long as one segment wants it, also if a newer one does not; then the newer settings count again."""
        put_segment(subsystem_dir, _lines(1, 4), encrypt=BY_TENANT)
        newer = Encrypt(recipients=(BOB_KEY,), period="year")
        live = put_live(subsystem_dir, _lines(1, 4), writer=OTHER, encrypt=newer)
        made = sealer()
        seal_all(made)
        assert len(_manifests(subsystem_dir)) == 4
        assert made.policy.encrypt == BY_TENANT
        os.write(live.descriptor, _line(5, "acme-industries"))
        seal_all(made)
        assert made.policy.encrypt == newer
        assert not Envelope.of(_manifests(subsystem_dir)[-1]).kid.scope
        live.close()


class TestLimits:
    def test_more_values_than_a_group_has(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The group ends, and the next one goes on with the same line."""
        monkeypatch.setattr(lines_by_scope, "MAX_VALUES", 7)
        content = b"".join(_line(seq, f"tenant {seq}") for seq in range(1, 19))
        put_segment(subsystem_dir, content, encrypt=BY_TENANT)
        assert seal_all(sealer()) == 3
        assert [group_of(manifest) for manifest in _manifests(subsystem_dir)][7:10] == [(8, 8), (1, 8), (2, 8)]
        home = subsystem_dir.path.parent
        assert _read(home)[0] == list(range(1, 19))
        assert _ok(home, ALICE)["records"] == 18

    def test_more_runs_than_a_manifest_has(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """Two values take turns: a group ends when one of them has 64 runs of sequence numbers."""
        content = b"".join(_line(seq, seq % 2) for seq in range(1, 301))
        put_segment(subsystem_dir, content, encrypt=BY_TENANT, records=1000)
        assert seal_all(sealer()) == 3
        manifests = _manifests(subsystem_dir)
        assert max(len(manifest.sources) for manifest in manifests) == 64
        assert _ok(subsystem_dir.path.parent, ALICE)["gaps"] == 0

    def test_more_values_than_a_period_has(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Further ones share the key of the records without the field; an error and `doctor` say so."""
        monkeypatch.setattr(data_keys, "MAX_SCOPES", 3)
        content = b"".join(_line(seq, f"tenant {seq % 5}") for seq in range(1, 201))
        put_segment(subsystem_dir, content, encrypt=BY_TENANT)
        seal_all(sealer())
        home = subsystem_dir.path.parent
        keys = open_home(home).data_keys()
        assert sum(key.scope is not None for key in keys) == 3
        assert sum(key.scope is None for key in keys) == 1
        assert _read(home)[0] == list(range(1, 201))
        assert _ok(home, ALICE)["records"] == 200
        with pytest.raises(Exception, match="had more than 3 values"):
            open_home(home).shred_keys(scope="tenant 0", reason=REASON)
        (check, *_) = key_checks.check_keys(HomeDir(home), subsystem_dir)
        assert (check.state, "3 values of tenant_id" in check.found, "share the key" in check.found) == (
            "warn",
            True,
            True,
        )

    def test_a_lost_secret_is_not_replaced(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """Else the keys of a value could not be found any more; the records wait."""
        put_segment(subsystem_dir, _lines(1, 4), encrypt=BY_TENANT)
        made = sealer()
        seal_all(made)
        (secret,) = (subsystem_dir.path.parent / "keys" / "scopes").rglob("2*")
        kept = secret.read_bytes()
        secret.unlink()
        put_segment(subsystem_dir, _lines(5, 8), number=1, encrypt=BY_TENANT)
        with pytest.raises(HomeError, match="is lost"):
            seal_all(made)
        secret.write_bytes(kept)
        secret.chmod(0o600)
        seal_all(made)
        assert _read(subsystem_dir.path.parent)[0] == list(range(1, 9))


class TestErasure:
    def _sealed(self, subsystem_dir: SubsystemDir) -> Path:
        put_segment(subsystem_dir, _lines(1, 40), encrypt=BY_TENANT)
        seal_home(subsystem_dir.path.parent)
        return subsystem_dir.path.parent

    def test_one_value_is_erased(self, subsystem_dir: SubsystemDir) -> None:
        """Its records are erased by policy; all others are read, and everything still verifies."""
        home = self._sealed(subsystem_dir)
        (result,) = open_home(home).shred_keys(scope="acme-industries", reason=REASON)
        assert (len(result.keys), result.batches, result.others) == (1, 1, ())
        assert _read(home) == (
            sorted(seq for seq in range(1, 41) if seq % 4 != 0),
            [("erased", 10)],
        )
        report = _ok(home, ALICE)
        assert (report["records"], report["erased"], report["gaps"]) == (40, 1, 0)
        states = {key.scope: key.state for key in open_home(home).data_keys()}
        assert sorted(states.values()) == ["present", "present", "present", "shredded"]
        assert open_home(home).data_keys(scope="acme-industries")[0].state == "shredded"
        assert not list((home / "keys").rglob(f"*{open_home(home).data_keys(scope='acme-industries')[0].scope}.age*"))

    def test_a_value_that_comes_again_has_a_further_key(self, subsystem_dir: SubsystemDir) -> None:
        """What is logged after the erasure is read; what was logged before stays erased."""
        home = self._sealed(subsystem_dir)
        open_home(home).shred_keys(scope="acme-industries", reason=REASON)
        put_segment(subsystem_dir, _line(41, "acme-industries"), number=1, encrypt=BY_TENANT)
        seal_home(home)
        first, second = open_home(home).data_keys(scope="acme-industries")
        assert (first.state, second.state, second.kid) == ("shredded", "present", f"{first.kid}.2")
        assert 41 in _read(home)[0]
        (result,) = open_home(home).shred_keys(scope="acme-industries", reason=REASON)
        assert result.keys == (second.kid,)
        assert 41 not in _read(home)[0]
        assert _ok(home, ALICE)["erased"] == 2

    @pytest.mark.slow
    def test_a_whole_period_is_erased(self, subsystem_dir: SubsystemDir) -> None:
        """With all its values, by as many acts as are needed; then no one can tell which values there were."""
        content = b"".join(_line(seq, f"tenant {seq}") for seq in range(1, 50))
        put_segment(subsystem_dir, content, encrypt=BY_TENANT)
        home = subsystem_dir.path.parent
        seal_home(home)
        period = open_home(home).data_keys()[0].period
        results = open_home(home).shred_keys(period, reason=REASON)
        assert [len(result.keys) for result in results] == [32, 17]
        assert _read(home)[0] == []
        assert scope_keys.load(HomeDir(home), "logs", period) is None
        assert _ok(home, ALICE)["erased"] == 49
        put_segment(subsystem_dir, _line(50, "tenant 1"), number=1, encrypt=BY_TENANT)
        seal_home(home)
        assert _read(home)[0] == [50]
        assert len(open_home(home).data_keys(scope="tenant 1")) == 1

    def test_a_hold_refuses_it(self, subsystem_dir: SubsystemDir) -> None:
        """As for a period; then all can still be read."""
        home = self._sealed(subsystem_dir)
        open_home(home).set_hold("logs", reason="a lawsuit")
        with pytest.raises(HeldError):
            open_home(home).shred_keys(scope="acme-industries", reason=REASON)
        assert len(_read(home)[0]) == 40

    def test_an_unknown_value(self, subsystem_dir: SubsystemDir) -> None:
        """The error says what it means."""
        home = self._sealed(subsystem_dir)
        with pytest.raises(Exception, match="no key of this value"):
            open_home(home).shred_keys(scope="hooli", reason=REASON)
        with pytest.raises(Exception, match="say what is erased"):
            open_home(home).shred_keys(reason=REASON)


class TestReaders:
    def test_a_follower_shows_each_record_once(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """Also those that it has read in the spool, whatever batch of the group has the last number."""
        live = put_live(subsystem_dir, _lines(1, 9), encrypt=BY_TENANT)
        home = subsystem_dir.path.parent
        made = sealer()
        with open_home(home).dataset(identity=ALICE) as dataset:
            following = dataset.follow(last=1000)
            seen = [json.loads(match.line)["seq"] for match in following.poll()]
            for first in range(10, 40, 7):
                os.write(live.descriptor, _lines(first, first + 6))
                seen += [json.loads(match.line)["seq"] for match in following.poll()]
                seal_all(made)
                cursor = following.cursor
                following.close()
                following = dataset.follow(cursor)
                seen += [json.loads(match.line)["seq"] for match in following.poll()]
            following.close()
        assert sorted(seen) == list(range(1, 45))
        live.close()

    def test_a_home_without_a_head_is_read(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """Sequence numbers show then which lines are in batches: none is shown twice, and none is sealed again."""
        live = put_live(subsystem_dir, _lines(1, 10), encrypt=BY_TENANT)
        seal_all(sealer())
        os.write(live.descriptor, _lines(11, 12))
        subsystem_dir.current.head.unlink()
        home = subsystem_dir.path.parent
        for _ in range(2):
            with open_home(home).dataset(identity=ALICE, on_gap=list[Any]().append) as dataset:
                assert sorted(found["seq"] for found in dataset) == list(range(1, 13))
                assert sorted(found["seq"] for found in dataset.records("logs")) == list(range(1, 13))
            seal_all(sealer())
        live.close()

    def test_the_beginning_of_a_group_without_a_head(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]
    ) -> None:
        """It was not sealed, so its lines are in the spool: no record is lost, though those of the batch come twice."""
        live = put_live(subsystem_dir, _lines(1, 10), encrypt=BY_TENANT)
        seal_all(sealer())
        batches = Batches(subsystem_dir.current.batches)
        for index in (2, 3):
            batches.file(index).unlink()
        subsystem_dir.current.head.unlink()
        made = sealer()
        assert made.consumed == {}
        seal_all(made)
        with open_home(subsystem_dir.path.parent).dataset(identity=ALICE, on_gap=list[Any]().append) as dataset:
            assert {found["seq"] for found in dataset} == set(range(1, 11))
        live.close()


def test_a_disk_that_refuses_in_the_middle_of_a_group(
    subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the group is sealed; its files are gone before the next batch, and the same log goes on."""
    put_segment(subsystem_dir, _lines(1, 1), encrypt=BY_TENANT)
    made = sealer()
    seal_all(made)
    assert made.sealed is not None
    log = made.sealed.log
    put_segment(subsystem_dir, _lines(2, 9), number=1, encrypt=BY_TENANT)
    real, written = Batches.write, list[int]()

    def write(batches: Batches, index: int, *args: Any) -> int:
        written.append(index)
        if len(written) == 3:
            raise OSError(errno.EIO, "refused")
        return real(batches, index, *args)

    with monkeypatch.context() as refusing:
        refusing.setattr(Batches, "write", write)
        with pytest.raises(OSError, match="refused"):
            seal_all(made)
    batches = Batches(subsystem_dir.current.batches)
    assert (made.sealed.index, written, list(batches.indexes())) == (0, [1, 2, 3], [0, 1, 2])
    made._writer.begin()
    assert list(batches.indexes()) == [0]
    seal_all(made)
    assert (made.sealed.index, made.sealed.log) == (4, log)
    next_keeper = sealer()
    assert next_keeper.sealed is not None
    assert next_keeper.sealed.log == log
    assert _read(subsystem_dir.path.parent) == (list(range(1, 10)), [])
    assert _ok(subsystem_dir.path.parent, ALICE)["records"] == 9


@pytest.mark.parametrize("restore", [over, with_links], ids=["over", "with_links"])
def test_a_backup_that_is_copied_back_loses_no_group(tmp_path: Path, restore: Callable[[Path, Path], None]) -> None:
    """A group above the head of the backup was sealed, and is no leftover of a crash: the log ends with it."""
    home, backup = tmp_path / "home", tmp_path / "backup"
    subsystem_dir = HomeDir(home).subsystem_dir("logs")
    put_segment(subsystem_dir, _lines(1, 4), encrypt=BY_TENANT)
    seal_home(home)
    subprocess.run(["cp", "-al" if restore is with_links else "-a", str(home), str(backup)], check=True)
    put_segment(subsystem_dir, _lines(5, 12), number=1, encrypt=BY_TENANT)
    seal_home(home)
    restore(backup, home)
    put_segment(subsystem_dir, _lines(13, 16), number=2, encrypt=BY_TENANT)
    seal_home(home)
    assert _read(home) == (list(range(1, 17)), [])
    reports = open_home(home).verify(identity=ALICE)
    assert [(report.ok, report.records, report.gaps) for report in reports] == [(True, 12, 0), (True, 4, 0)]


def _seal_and_die(home: Path, number: int) -> None:
    kill_steps.kill_at(number)
    seal_home(home)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0, pytest.param(1, marks=pytest.mark.soak), pytest.param(2, marks=pytest.mark.soak)])
@pytest.mark.parametrize("is_first", [True, False])
def test_killed_at_each_step(tmp_path: Path, is_first: bool, share: int) -> None:
    """All batches of a group are in the log, or none: each record is in one batch that opens, and the log goes on."""
    number, ended = 1 + share, False
    while not ended:
        home = tmp_path / f"home-{number}"
        subsystem_dir = HomeDir(home).subsystem_dir("logs")
        put_segment(subsystem_dir, _lines(1, 4), encrypt=BY_TENANT)
        if not is_first:
            seal_home(home)
        put_segment(subsystem_dir, _lines(5, 9), number=1, encrypt=BY_TENANT)
        put_segment(subsystem_dir, _lines(1, 3), writer=OTHER, encrypt=BY_TENANT)
        ended = forked.run_in_child(_seal_and_die, home, number)
        put_segment(subsystem_dir, _lines(10, 10), number=2, encrypt=BY_TENANT)
        seal_home(home)
        assert _read(home) == (sorted([*range(1, 11), *range(1, 4)]), []), number
        (report,) = open_home(home).verify(identity=ALICE)  # of one log
        assert (report.ok, report.records, report.gaps, report.encrypted) == (True, 13, 0, 0), number
        number += 29 if share == 0 else 3
    assert number > (150 if is_first else 100)  # the kill reaches to the end of sealing


def _shred_and_die(home: Path, number: int) -> None:
    kill_steps.kill_at(number)
    open_home(home).shred_keys(scope="globex-corporation", reason=REASON)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0, pytest.param(1, marks=pytest.mark.soak), pytest.param(2, marks=pytest.mark.soak)])
def test_erasure_killed_at_each_step(tmp_path: Path, share: int) -> None:
    """Other values are read at any time; the next call ends it, with one act, and then no secret of it is left."""
    number, ended = 1 + share, False
    while not ended:
        home = tmp_path / f"home-{number}"
        put_segment(HomeDir(home).subsystem_dir("logs"), _lines(1, 12), encrypt=BY_TENANT)
        seal_home(home)
        ended = forked.run_in_child(_shred_and_die, home, number)
        others = [seq for seq in range(1, 13) if seq % 4 != 1]
        (key,) = open_home(home).data_keys(scope="globex-corporation")
        seqs, gaps = _read(home)
        assert set(others) <= set(seqs), number
        if key.state == "shredded":
            assert (seqs, gaps) == (others, [("erased", 3)]), number
        assert not (ended and key.state != "shredded")
        for result in open_home(home).shred_keys(scope="globex-corporation", reason=REASON):
            assert result.keys in ((key.kid,), ())
        assert _read(home) == (others, [("erased", 3)]), number
        assert not list((home / "keys").rglob(f"*{key.scope}.age*"))
        (report,) = open_home(home).verify(identity=ALICE)
        assert (report.ok, report.records, report.erased) == (True, 12, 1), number
        assert report.batches == 5, number  # four of a group, and one with the act
        number += 13 if share == 0 else 3
    assert number > 40


_VALUES = st.sampled_from(["a", "b", "c", None, 4])


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_logged_and_erased(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """What is read, is what was logged without the values that were erased since; it always verifies without a gap."""
    home = tmp_path_factory.mktemp("by-scope") / "home"
    subsystem_dir = HomeDir(home).subsystem_dir("logs")
    expected: dict[tuple[str, int], object] = {}
    at = {WRITER: 0, OTHER: 0}
    for number in range(data.draw(st.integers(1, 4), "turns")):
        for writer in (WRITER, OTHER):
            values = data.draw(st.lists(_VALUES, max_size=30), "values")
            content = b""
            for value in values:
                at[writer] += 1
                expected[writer, at[writer]] = value
                content += _line(at[writer], value, origin=writer)
            if values:
                put_segment(
                    subsystem_dir,
                    content,
                    writer=writer,
                    number=number,
                    encrypt=BY_TENANT,
                    records=data.draw(st.sampled_from([3, 10, 1000]), "records"),
                )
        seal_home(home)
        erased = data.draw(st.sampled_from([None, "a", "b", "4"]), "erased")
        if erased is not None and any(str(value) == erased for value in expected.values()):
            open_home(home).shred_keys(scope=erased, reason=REASON)
            expected = {place: value for place, value in expected.items() if str(value) != erased}
    with open_home(home).dataset(verify="chain", identity=ALICE, on_gap=list[Any]().append) as dataset:
        assert sorted((found["origin"], found["seq"]) for found in dataset) == sorted(expected)
    for report in open_home(home).verify(identity=ALICE):
        assert (report.ok, report.gaps, report.encrypted) == (True, 0, 0)
        assert report.records == sum(at.values())
