"""A subsystem with more than one log: a batch is named with its log, and what is lost with the file to restore."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipfs_log_handlers.home import delivery_state
from ipfs_log_handlers.home.delivery_state import Aside, DeliveryState
from ipfs_log_handlers.home.layout import HomeDir, LogPaths
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import sample_homes
from tests.support.archives import archiver, facts
from tests.support.cli import Ended, run


@pytest.fixture
def draws(home: Path) -> list[str]:
    """Make a home with an ended log of two batches and a new log; return the ends of their names."""
    sample_homes.make(home, 20)
    sample_homes.end(home)
    sample_homes.make(home, 3)
    logs = [each["log"] for each in run("ls", home=home).objects]
    return [name.rpartition("/")[2] for name in dict.fromkeys(logs)]


def log_dirs(home: Path) -> list[LogPaths]:
    """Their files, in the same order."""
    return sample_homes.subsystem_dir(home).log_dirs()


def damage(path: Path) -> bytes:
    """Turn a bit in the last block of a file; what it was."""
    whole = path.read_bytes()
    path.write_bytes(whole[:-10] + bytes([whole[-10] ^ 1]) + whole[-9:])
    return whole


def batch(log_dir: LogPaths, index: int = 0) -> Path:
    """Return the file of a batch."""
    return log_dir.batches / "000" / f"{index:06}.car"


def failed(ended: Ended) -> dict[str, str]:
    """Return the hint of each failed check, except those of a repair."""
    return {
        each["check"]: each["hint"]
        for each in ended.objects
        if each["state"] == "fail" and not each["check"].startswith("repair")
    }


class TestNames:
    def test_ls_shows_the_log_in_a_column(self, home, draws):
        """As text, `ls` tells logs apart by the end of their names, in a column."""
        head, *rows = run("ls", "-o", "text", home=home).out.splitlines()
        assert ["SUBSYSTEM", "LOG", "BATCH"] == head.split()[:3]
        assert [[draws[0], "0"], [draws[0], "1"], [draws[1], "0"]] == [row.split()[1:3] for row in rows]
        assert {head.index("LOG")} == {row.index(draw) for row in rows for draw in draws if draw in row}

    def test_ls_needs_no_column_for_one_log_each(self, home):
        """Two subsystems with one log each need none."""
        sample_homes.make(home, 3)
        sample_homes.make(home, 3, "wal")
        head, *rows = run("ls", "-o", "text", home=home).out.splitlines()
        assert (["SUBSYSTEM", "BATCH"], 2) == (head.split()[:2], len(rows))

    def test_doctor_names_the_log_of_a_damaged_batch(self, home, draws):
        """`doctor` names the log of each damaged batch, before and in a repair."""
        for log_dir in log_dirs(home):
            damage(batch(log_dir))
        titles = [f"audit {draw} batch 0" for draw in draws]
        assert titles == list(failed(run("doctor", home=home)))
        told = [each["check"] for each in run("doctor", "--repair", home=home).objects]
        assert {f"repair {title}" for title in titles} <= set(told)

    def test_doctor_names_the_log_of_heads_states_and_leftovers(self, home, draws):
        """The other files of a log are named with it, too."""
        for log_dir in log_dirs(home):
            log_dir.head.write_bytes(b"junk")
            log_dir.shipped.mkdir(exist_ok=True)
            (log_dir.shipped / "store").write_bytes(b"junk")
            (log_dir.path / "head.77.tmp").write_bytes(b"half")
        checks = {each["check"] for each in run("doctor", home=home).objects}
        assert {f"audit {draw} {kind}" for draw in draws for kind in ("head", "mark", "leftover")} <= checks

    def test_a_log_whose_name_is_lost_is_called_current(self, home, draws):
        """A log that no file names any more is called current, and the list of logs says that one is missing."""
        current = log_dirs(home)[1]
        current.head.write_bytes(b"junk")
        batch(current).write_bytes(b"junk")
        assert {"audit current head", "audit current batch 0", "logs"} == failed(run("doctor", home=home)).keys()

    def test_one_log_needs_no_name(self, home):
        """A subsystem with one log is name enough."""
        sample_homes.make(home, 3)
        damage(batch(log_dirs(home)[0]))
        assert ["audit batch 0"] == list(failed(run("doctor", home=home)))

    def test_ship_names_the_log_of_the_first_batch_that_is_left(self, home, draws):
        """`ship` says which log the first batch that is left belongs to."""
        ended = run("ship", "--kubo", "http://127.0.0.1:9", "--timeout", "0", home=home)
        assert f" not shipped, audit {draws[0]} batch 0 first: " in ended.err

    def test_doctor_and_ship_name_the_log_of_a_batch_set_aside(self, home, draws):
        """`doctor` and `ship` say which log a batch belongs to that a store refused."""
        store = MemoryStore.named("aside")
        for log_dir, name in zip(
            log_dirs(home), {each["log"]: 0 for each in run("ls", home=home).objects}, strict=True
        ):
            aside = (Aside(0, "no such codec"),)
            delivery_state.store(
                log_dir.shipped,
                store.name,
                DeliveryState(log=name, address=store.address, confirmed_through=1, aside=aside),
            )
        checks = [each["check"] for each in run("doctor", home=home).objects]
        assert [f"audit {draw} set aside" for draw in draws] == [each for each in checks if "aside" in each]
        ended = run("ship", "--kubo", "memory:aside", "--timeout", "0", home=home)
        assert f"audit {draws[0]} batch 0 is set aside: no such codec" in ended.err


class TestWhatIsLost:
    """A repair that failed does not advise itself."""

    def test_the_file_to_restore_is_named_and_restored_all_is_well(self, home):
        """The file to restore is named; restored from a copy, all is well."""
        sample_homes.make(home, 20)
        path = batch(log_dirs(home)[0])
        whole = damage(path)
        hint = failed(run("doctor", home=home))["audit batch 0"]
        assert "Run `ipfs-logs doctor --repair`, with --kubo if a store has this batch." == hint
        hint = failed(run("doctor", "--repair", home=home))["audit batch 0"]
        wanted = f"Name a store that has it with --kubo, or restore {path} from a copy; all other batches are whole."
        assert wanted == hint
        path.write_bytes(whole)
        assert 0 == run("doctor", home=home).code

    def test_of_several_lost_batches_each_file_is_named(self, home, draws):
        """Where another batch is lost too, nothing else is said of the others."""
        paths = [batch(log_dir) for log_dir in log_dirs(home)]
        for path in paths:
            damage(path)
        hints = failed(run("doctor", "--repair", home=home))
        wanted = [f"Name a store that has it with --kubo, or restore {path} from a copy." for path in paths]
        assert wanted == list(hints.values())

    def test_the_two_files_of_an_archive_are_named(self, home):
        """The blocks of an archive lie in a file of their own, which is named beside that of its batch."""
        archiver(home, "logs").put_bytes(b"x" * 1000, facts)
        sample_homes.seal(home)
        damage(next(home.rglob("*.payload.car")))
        (hint,) = failed(run("doctor", "--repair", home=home)).values()
        path = batch(HomeDir(home).subsystem_dir("logs").current)
        assert f"restore {path} and {path.with_suffix('.payload.car')} from a copy; all other" in hint

    def test_a_head_that_needs_the_batch_says_so(self, home):
        """A head that needs the batch says that it does."""
        sample_homes.make(home, 20)
        (log_dir,) = log_dirs(home)
        batch(log_dir).write_bytes(b"")
        log_dir.head.write_bytes(b"junk")
        hints = failed(run("doctor", "--repair", home=home))
        assert "It can be rebuilt when every batch of its log can be read." == hints["audit head"]
        assert str(batch(log_dir)) in hints["audit batch 0"]

    def test_no_address_is_asked_for_where_a_store_is_configured(self, home):
        """Where a repair can ask a store by itself, no address is asked for."""
        MemoryStore.named("lost")
        sample_homes.make(home, 3, kubo="memory:lost")
        damage(batch(log_dirs(home)[0]))
        assert {"audit batch 0": "Run `ipfs-logs doctor --repair`."} == failed(run("doctor", home=home))
