"""Readers outside the home learn from the acts in the logs what was pruned and erased, also after a key change."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ipfs_log_handlers import ErasedError, open_dataset, open_home
from ipfs_log_handlers.api import verify_sources
from ipfs_log_handlers.config import Encrypt
from ipfs_log_handlers.format.home_head import HomeHead, LogHead
from ipfs_log_handlers.home import acts, keys
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.keeper.acts import record_act
from tests.support import gateways, sample_homes
from tests.support.encrypted import ALICE, ALICE_KEY
from tests.support.logging_home import lines, put_segment

ENCRYPT = Encrypt(recipients=(ALICE_KEY,), period="day")


def _directories(home: Path, subsystem: str = "audit") -> list[str]:
    return [str(log_dir.batches) for log_dir in LogDir.all_of(sample_homes.subsystem_dir(home, subsystem))]


def _kinds(source: str | list[str], **reading: object) -> Counter[str]:
    gaps: list[str] = []
    with open_dataset(source, on_gap=lambda gap: gaps.append(gap.kind), **reading) as dataset:  # type: ignore[arg-type]
        list(dataset)
    return Counter(gaps)


class TestErased:
    @pytest.fixture
    def erased(self, home: Path) -> Path:
        """Return a home with two encrypted batches that were erased, and two that were not."""
        directory = HomeDir(home).subsystem_dir("audit")
        put_segment(directory, lines(1, 4), encrypt=ENCRYPT, records=2)
        sample_homes.seal(home)
        (key,) = open_home(home).data_keys()
        open_home(home).shred_keys(key.period, subsystem="audit", reason="asked for")
        put_segment(directory, lines(5, 8), number=1, encrypt=ENCRYPT, records=2)
        sample_homes.seal(home)
        return home

    def test_without_the_key_directory_the_log_says_erased(self, erased: Path) -> None:
        """The batches of a destroyed key are erased, those of another key encrypted: in records, counts and errors."""
        source = _directories(erased)
        assert _kinds(source, identity=()) == {"erased": 2, "encrypted": 2}
        (report,) = verify_sources(source, keys=[sample_homes.key_of(erased)], deep=True)
        assert (report.ok, report.erased, report.encrypted) == (True, 2, 2)
        with open_dataset(source, identity=ALICE) as dataset, pytest.raises(ErasedError, match="asked for"):
            list(dataset)

    def test_an_identity_that_was_handed_out_still_opens_it(self, home: Path) -> None:
        """An act does not hide records from a reader who has the key of the period."""
        import pyrage

        put_segment(HomeDir(home).subsystem_dir("audit"), lines(1, 4), encrypt=ENCRYPT)
        sample_homes.seal(home)
        (wrapped,) = home.glob("keys/periods/audit/*.age")
        period = pyrage.decrypt(wrapped.read_bytes(), [pyrage.x25519.Identity.from_str(ALICE)]).decode()
        (secret,) = [line for line in period.splitlines() if line.startswith("AGE")]
        (key,) = open_home(home).data_keys()
        open_home(home).shred_keys(key.period, subsystem="audit", reason="asked for")
        with open_dataset(_directories(home), identity=secret) as dataset:
            assert len(list(dataset)) == 4


def _pruned_after_a_key_change(home: Path) -> list[str]:
    """Make a home whose first log is of an earlier key, and pruned by an act in the second; return both keys."""
    sample_homes.log(home, range(30))
    sample_homes.seal(home)
    names = [sample_homes.key_of(home)]
    open_home(home).rotate_key()
    sample_homes.log(home, range(30, 40))
    sample_homes.seal(home)
    former, _ = LogDir.all_of(sample_homes.subsystem_dir(home))
    record_act(HomeDir(home), "audit", acts.draw("prune", reason="old", batches=((str(former.name()), ((0, 1),)),)))
    for index in (0, 1):
        former.sealed_batches.strip(index)
    return [*names, sample_homes.key_of(home)]


class TestAfterAKeyChange:
    def test_an_act_counts_for_the_log_of_the_earlier_key(self, home: Path, tmp_path: Path) -> None:
        """Its key was named as the next one by the earlier key; the evidence is in the first batch of the new log."""
        trusted = _pruned_after_a_key_change(home)
        source = _directories(home)
        assert _kinds(source, keys=trusted) == {"pruned": 2}
        together = tmp_path / "together"
        together.mkdir()
        for number, file in enumerate(path for directory in source for path in sorted(Path(directory).rglob("*.car"))):
            (together / f"{number}.car").hardlink_to(file)
        reports = list(verify_sources([str(together)], keys=trusted, deep=True))
        assert sorted((report.ok, report.pruned) for report in reports) == [(True, 0), (True, 2)]

    def test_without_the_evidence_it_counts_not(self, home: Path) -> None:
        """A file without the first batch of the new log does not prove that the keys belong together."""
        trusted = _pruned_after_a_key_change(home)
        former, current = LogDir.all_of(sample_homes.subsystem_dir(home))
        (current.batches / "000" / "000000.car").unlink()
        assert _kinds([str(former.batches), str(current.batches)], keys=trusted) == {"absent": 2}


def test_in_all_logs_of_a_home_head(home: Path) -> None:
    """Each log is read on its own from a daemon or gateway; acts in one count for the others."""
    sample_homes.log(home, range(30))
    sample_homes.seal(home)
    sample_homes.end(home)
    sample_homes.log(home, range(30, 40))
    sample_homes.seal(home)
    former, _ = LogDir.all_of(sample_homes.subsystem_dir(home))
    record_act(HomeDir(home), "audit", acts.draw("prune", reason="old", batches=((str(former.name()), ((0, 1),)),)))
    for index in (0, 1):
        former.sealed_batches.strip(index)
    heads: list[LogHead] = []
    for log_dir in LogDir.all_of(sample_homes.subsystem_dir(home)):
        header = log_dir.newest_batch()
        assert header is not None
        heads.append(LogHead(header.head.log, header.head.index, header.head_cid))
    key = keys.load(HomeDir(home))
    assert key is not None
    head = HomeHead.sign(key, counter=1, time=0, logs=sorted(heads, key=lambda head: head.log))
    with gateways.gateway({**gateways.blocks_of(home), head.cid: head.encode()}) as served:
        assert _kinds(head.cid.text, gateway=served.url, keys=[sample_homes.key_of(home)]) == {"pruned": 2}


class TestSeparateSources:
    """`verify` of sources that are given one by one: acts in one of them count for the others."""

    def _heads(self, home: Path) -> list[str]:
        """Return the CIDs of the heads of the logs."""
        headers = [log_dir.newest_batch() for log_dir in LogDir.all_of(sample_homes.subsystem_dir(home))]
        return [header.head_cid.text for header in headers if header is not None]

    @pytest.mark.slow
    def test_of_two_cids(self, home: Path) -> None:
        """The first log alone lacks payloads; with the second one they are known to be pruned, in any order."""
        trusted = _pruned_after_a_key_change(home)
        heads = self._heads(home)
        with gateways.gateway(gateways.blocks_of(home)) as served:

            def results(*sources: str, keys: list[str] = trusted) -> list[tuple[str, int]]:
                reports = verify_sources(sources, keys=keys, gateway=served.url, deep=True)
                return [(report.result, report.pruned) for report in reports]

            assert results(heads[0]) == [("incomplete", 0)]
            assert results(*heads) == [("ok", 2), ("ok", 0)]
            assert results(*reversed(heads)) == [("ok", 0), ("ok", 2)]
            assert results(*heads, keys=[]) == [("ok", 2), ("ok", 0)]
            # nobody who is trusted has signed the second log, so its act counts not
            assert results(*heads, keys=trusted[:1]) == [("incomplete", 0), ("tampered", 0)]
            with open_dataset(heads, keys=trusted, gateway=served.url) as dataset:
                assert [report.as_json()["pruned"] for report in dataset.verify()] == [2, 0]

    def test_of_two_directories(self, home: Path) -> None:
        """A destroyed key is named in the next log of the same key."""
        put_segment(HomeDir(home).subsystem_dir("audit"), lines(1, 4), encrypt=ENCRYPT)
        sample_homes.seal(home)
        (key,) = open_home(home).data_keys()
        sample_homes.end(home)
        open_home(home).shred_keys(key.period, subsystem="audit", reason="asked for")
        former, current = _directories(home)
        trusted = [sample_homes.key_of(home)]

        def counts(*sources: str) -> list[tuple[bool, int, int]]:
            reports = verify_sources(sources, keys=trusted, deep=True, identity=ALICE)
            return [(report.ok, report.erased, report.encrypted) for report in reports]

        assert counts(former) == [(True, 0, 1)]
        assert counts(former, current) == [(True, 1, 0), (True, 0, 0)]

    def test_one_that_cannot_be_read_spoils_no_other(self, home: Path, tmp_path: Path) -> None:
        """It has a report of its own."""
        sample_homes.log(home, range(20))
        sample_homes.seal(home)
        (tmp_path / "no.car").write_bytes(b"no car")
        reports = list(verify_sources([str(tmp_path / "no.car"), *_directories(home)], deep=True))
        assert [report.ok for report in reports] == [False, True]


def test_an_act_in_the_log_of_another_subsystem_counts_not(home: Path) -> None:
    """A key signs the logs of all subsystems; an act is about its own one."""
    for subsystem in ("audit", "wal"):
        sample_homes.log(home, range(20), subsystem)
    sample_homes.seal(home)
    (former,) = LogDir.all_of(sample_homes.subsystem_dir(home))
    record_act(HomeDir(home), "wal", acts.draw("prune", reason="old", batches=((str(former.name()), ((0, 0),)),)))
    former.sealed_batches.strip(0)
    assert _kinds([*_directories(home), *_directories(home, "wal")]) == {"absent": 1}
