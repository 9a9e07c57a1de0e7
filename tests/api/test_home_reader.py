"""What programs, notebooks and the command line read from a home."""

from __future__ import annotations

import dataclasses
import json

import pytest

from ipfs_log_handlers import (
    ConfigurationError,
    FormatError,
    HomeError,
    StoreUnavailable,
    VerificationError,
    api,
    open_home,
)
from ipfs_log_handlers.home import keys
from ipfs_log_handlers.home.layout import HomeDir
from tests.support import sample_homes
from tests.support.cli import run


class TestResults:
    @pytest.mark.parametrize(
        ("verb", "method"),
        [
            ("status", lambda home: home.status()),
            ("ls", lambda home: home.batches()),
            ("verify --no-memory", lambda home: home.verify()),
            ("versions", lambda home: reversed(home.archives())),
            ("doctor", lambda home: home.health()),
        ],
    )
    def test_as_json_is_what_the_command_prints(self, two, tmp_path, verb, method):
        """Each result is a frozen value, and `as_json` of it is the object that the command prints."""
        (tmp_path / "a.txt").write_text("a")
        two.archive(tmp_path / "a.txt")
        found = list(method(two))

        assert found
        for each in found:
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(each, dataclasses.fields(each)[0].name, "another")
        shown = [each.as_json() for each in found]
        printed = run(*verb.split(), home=two.path).objects
        assert drop_ages(printed) == drop_ages(shown)

    def test_the_key_is_printed_with_the_earlier_keys(self, two):
        """`keys show` prints two results as one object: the key, and the earlier keys under `earlier`."""
        two.rotate_key()
        earlier = [key.as_json() for key in two.earlier_keys()]
        assert 1 == len(earlier)
        assert [{**two.public_key().as_json(), "earlier": earlier}] == run("keys", "show", home=two.path).objects

    def test_subsystems_are_chosen_in_the_order_that_is_given(self, two):
        """Names are taken once each; an unknown one is refused with those that there are."""
        assert two.subsystems == ("audit", "wal")
        assert [batch.subsystem for batch in two.batches(["wal", "audit", "wal"])] == ["wal", *["audit"] * 3]
        assert [report.subsystem for report in two.verify(["wal"])] == ["wal"]
        for method in (two.status, two.batches, two.verify, two.openmetrics, two.chosen):
            with pytest.raises(ConfigurationError, match=r"no subsystem 'audits' in .*; it has: audit, wal"):
                method(["audits"])


def drop_ages(found):
    """Leave out what differs from one look to the next."""
    return [{name: value for name, value in each.items() if "free" not in str(value)} for each in found]


class TestBatches:
    def test_a_damaged_batch_is_raised_or_given_to_the_callback(self, two):
        """Without a callback the listing ends with the error; with one it goes on."""
        sample_homes.cut_off(two.path, 1)
        with pytest.raises(FormatError):
            list(two.batches())
        errors: list[Exception] = []
        assert [batch.index for batch in two.batches(["audit"], on_damage=errors.append)] == [0, 2]
        assert len(errors) == 1

    def test_a_damaged_head_is_reported_too(self, two):
        """The batches are listed all the same."""
        sample_homes.subsystem_dir(two.path).current.head.write_bytes(b"junk")
        errors: list[Exception] = []
        assert [batch.index for batch in two.batches(["audit"], on_damage=errors.append)] == [0, 1, 2]
        assert "head" in str(errors[0])


class TestDataset:
    def test_records_come_in_log_order_with_their_subsystem(self, two):
        """Each record is a mapping; the batch of a CID can be read alone, in any form of the CID."""
        with two.dataset() as dataset:
            assert sample_homes.numbers(dataset.records("audit")) == list(range(25))
            cid = next(iter(two.batches(["wal"]))).cid
            lines = dataset.batch(f"ipfs://{cid}")
            assert lines is not None
            assert [subsystem for subsystem, _ in lines] == ["wal"] * 3

    def test_a_gap_is_raised_unless_a_callback_takes_it(self, two):
        """Damage is a VerificationError, a payload that no store has a StoreUnavailable."""
        sample_homes.damage(two.path)
        sample_homes.strip(two.path, 0, "wal")
        with two.dataset() as dataset:
            with pytest.raises(VerificationError, match="audit batch 1 is damaged"):
                list(dataset.records("audit"))
            with pytest.raises(StoreUnavailable, match="wal batch 0 is absent"):
                list(dataset.records("wal"))
        gaps: list[api.Gap] = []
        with two.dataset(on_gap=gaps.append) as dataset:
            assert sample_homes.numbers(dataset.records("audit")) == [*range(10), *range(20, 25)]
            assert list(dataset.records("wal")) == []
        assert [(gap.subsystem, gap.kind, gap.index) for gap in gaps] == [("audit", "damaged", 1), ("wal", "absent", 0)]

    def test_one_record_of_a_batch_is_given_after_all_of_it_was_verified(self, two):
        """A number beyond the last, and a CID of nothing, give `None`; damage behind it is a gap or an error."""
        detail = two.batch_at("audit", 0)
        assert detail is not None
        subsystem, line = two.record_at(detail.cid, 4)
        assert (subsystem, json.loads(line)["number"]) == ("audit", 4)
        assert two.record_at(f"/ipfs/{detail.payload}", 4) == (subsystem, line)
        assert two.record_at(detail.cid, 10) is None
        assert two.record_at("bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", 0) is None
        sample_homes.damage(two.path, 0)
        with pytest.raises(VerificationError):
            two.record_at(detail.cid, 0)
        gaps: list[api.Gap] = []
        assert two.record_at(detail.cid, 0, on_gap=gaps.append) is None
        assert [gap.index for gap in gaps] == [0]


class TestVerify:
    def test_progress_counts_the_batches(self, two):
        """The callback hears of the subsystem, the checked batches and all batches."""
        heard: list[tuple[str, int, int]] = []
        reports = list(two.verify(progress=lambda *step: heard.append(step)))
        assert [report.ok for report in reports] == [True, True]
        assert heard == [("audit", 1, 3), ("audit", 2, 3), ("audit", 3, 3), ("wal", 1, 1)]

    def test_the_keys_to_trust_are_given_as_text(self, two):
        """A key that is no key is a FormatError; a foreign key makes no log ok."""
        own = two.public_key()
        assert own is not None
        assert all(report.ok for report in two.verify(keys=[own.verifier]))
        with pytest.raises(FormatError):
            list(two.verify(keys=["junk"]))


class TestKey:
    def test_there_is_none_before_the_first_batch(self, home):
        """`None`, and no file is made."""
        sample_homes.log(home, range(1))
        assert open_home(home).public_key() is None
        assert not HomeDir(home).key.exists()

    def test_a_key_that_is_missing_beside_logs_is_an_error(self, two):
        """The error names the key that signed."""
        own = keys.load(HomeDir(two.path))
        assert own is not None
        HomeDir(two.path).key.unlink()
        with pytest.raises(HomeError, match=f"signed with {own.name}"):
            two.public_key()
