"""`Dataset.prove` finds exactly the record that it was given, or says why it cannot."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ipfs_log_handlers import ConfigurationError, RecordError, check, open_dataset, open_home
from tests.support import sample_homes
from tests.support.line_source import LineSource
from tests.support.logging_home import OTHER, WRITER, lines, put_segment, record, seal_home


def key_of(home: Path) -> str:
    """Return the verifier key of a home."""
    key = open_home(home).public_key()
    assert key is not None
    return key.verifier


def two_processes(home: Path, *, pids: tuple[int, int] = (7, 8)) -> None:
    """Seal three records of each of two processes, whose numbers are the same."""
    directory = sample_homes.subsystem_dir(home, "logs")
    put_segment(directory, lines(1, 3, pid=pids[0], event="one"))
    put_segment(directory, lines(1, 3, pid=pids[1], event="two"), writer=OTHER)
    seal_home(home)


class TestByRecord:
    def test_what_select_keeps_is_enough(self, home: Path) -> None:
        """A record without some of its keys is found; without one of the four, the error names it."""
        sample_homes.make(home, 20)
        with open_dataset(home) as dataset:
            whole = list(dataset)[12]
            few = list(dataset.select("subsystem", "time", "pid", "seq"))[12]
            assert check(dataset.prove(few), key_of(home)).record == whole
            with pytest.raises(ConfigurationError, match="it has no pid and no seq"):
                dataset.prove({"subsystem": "audit", "time": whole["time"]})

    def test_a_changed_record_is_not_found(self, home: Path) -> None:
        """A record with another value, or with a key that it never had, is no record of the dataset."""
        sample_homes.make(home, 20)
        with open_dataset(home) as dataset:
            whole = list(dataset)[12]
            for changed in ({"number": 13}, {"event": "x"}, {"more": None}, {"seq": 12}, {"subsystem": "wal"}):
                with pytest.raises(RecordError, match="no record") as caught:
                    dataset.prove({**whole, **changed})
                assert caught.value.kind == "missing"

    def test_filters_have_no_effect(self, home: Path) -> None:
        """A record is proved also by a dataset that would not show it."""
        sample_homes.make(home, 20)
        with open_dataset(home) as dataset:
            whole = list(dataset)[12]
            assert dataset.filter(subsystem="audit", level="critical").limit(0).prove(whole) == dataset.prove(whole)

    def test_not_sealed(self, home: Path) -> None:
        """A record that is only in the spool must be sealed first, and can be proved then."""
        sample_homes.make(home, 10)
        sample_homes.log(home, range(10, 11))
        with open_dataset(home) as dataset:
            waiting = list(dataset)[-1]
            with pytest.raises(RecordError, match=r"is in no batch yet.*Seal it first: `ipfs-logs ship`") as caught:
                dataset.prove(waiting)
            assert caught.value.kind == "unsealed"
            sample_homes.seal(home)
            assert check(dataset.prove(waiting), key_of(home)).record == waiting

    def test_twice(self, home: Path) -> None:
        """The very same record in two batches is told with both places; a match says which it is."""
        directory = sample_homes.subsystem_dir(home, "logs")
        for writer in (WRITER, OTHER):
            put_segment(directory, lines(1, 1), writer=writer)
            seal_home(home)
        with open_dataset(home) as dataset:
            first, second = dataset.matches()
            with pytest.raises(RecordError, match="2 records are") as caught:
                dataset.prove(first.record)
            assert caught.value.kind == "several"
            assert [0, 1] == [check(dataset.prove(match), key_of(home)).index for match in (first, second)]

    def test_a_copy_is_the_same_place(self, home: Path, tmp_path: Path) -> None:
        """The same log in two sources is one log."""
        sample_homes.make(home, 10)
        shutil.copytree(home, tmp_path / "copy")
        with open_dataset([home, tmp_path / "copy"]) as dataset:
            for whole in dataset:
                assert check(dataset.prove(whole), key_of(home)).record == whole

    def test_a_source_without_a_log(self) -> None:
        """A dataset that nobody opened, or of a source that has no log, proves nothing."""
        from ipfs_log_handlers.query.dataset import Dataset

        source = LineSource([[record(1)]])
        with pytest.raises(ConfigurationError, match="cannot prove"):
            Dataset((source,)).prove({})


class TestBySeq:
    def test_several_processes(self, home: Path) -> None:
        """The error lists the processes that have the number, and `pid` chooses."""
        two_processes(home)
        opened = open_home(home)
        with pytest.raises(RecordError, match=r"2 records are record 2 in logs: pid 7 at .*; pid 8 at ") as caught:
            opened.prove_seq("logs", 2)
        assert caught.value.kind == "several"
        assert check(opened.prove_seq("logs", 2, pid=7), key_of(home)).record["event"] == "one"
        assert check(opened.prove_seq("logs", 2, pid=8), key_of(home)).record["event"] == "two"

    def test_two_processes_of_one_pid(self, home: Path) -> None:
        """Two processes with one number, as in containers, are told with CID and number, which choose."""
        two_processes(home, pids=(1, 1))
        opened = open_home(home)
        cid = next(iter(opened.batches())).cid
        with pytest.raises(RecordError, match=rf"{cid}/1; pid 1 at .*: {cid}/4"):
            opened.prove_seq("logs", 2, pid=1)
        assert check(opened.prove(cid, 4), key_of(home)).record["event"] == "two"

    def test_one_waits(self, home: Path) -> None:
        """A record of the number that waits for its batch is one of the choices."""
        two_processes(home)
        put_segment(sample_homes.subsystem_dir(home, "logs"), lines(2, 2, pid=9), writer="1" * 16)
        with pytest.raises(RecordError, match=r"pid 9 at .*: not sealed yet"):
            open_home(home).prove_seq("logs", 2)
        with pytest.raises(RecordError, match="record 2 of process 9 in logs is in no batch yet"):
            open_home(home).prove_seq("logs", 2, pid=9)

    def test_no_such_number(self, home: Path) -> None:
        """A number that no process has, and a process that does not have it, are said so."""
        two_processes(home)
        for seq, pid in ((4, None), (1, 99)):
            with pytest.raises(RecordError, match=f"no record {seq}"):
                open_home(home).prove_seq("logs", seq, pid=pid)
        with pytest.raises(ConfigurationError, match="no subsystem 'wal'"):
            open_home(home).prove_seq("wal", 1)

    def test_progress(self, home: Path) -> None:
        """The search says how far it is."""
        two_processes(home)
        told: list[tuple[int, int]] = []
        open_home(home).prove_seq("logs", 3, pid=7, progress=lambda done, total: told.append((done, total)))
        assert told[-1] == (1, 1)
