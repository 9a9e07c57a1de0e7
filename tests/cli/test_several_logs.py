"""A subsystem with more than one log: a batch is named with its log, and what is lost with the file to restore."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipfs_log_handlers.home import shipped
from ipfs_log_handlers.home.layout import Home, Shelf
from ipfs_log_handlers.home.shipped import Aside, Mark
from ipfs_log_handlers.stores.memory import MemoryStore
from tests.archived import archiver, facts
from tests.cli.running import Ended, run
from tests.reading import homes


@pytest.fixture
def draws(home: Path) -> list[str]:
    """A home whose subsystem has ended a log of two batches and begun another; how their names end."""
    homes.make(home, 20)
    homes.end(home)
    homes.make(home, 3)
    logs = [each["log"] for each in run("ls", home=home).objects]
    return [name.rpartition("/")[2] for name in dict.fromkeys(logs)]


def shelves(home: Path) -> list[Shelf]:
    """Their files, in the same order."""
    return homes.room(home).shelves()


def damage(path: Path) -> bytes:
    """Turn a bit in the last block of a file; what it was."""
    whole = path.read_bytes()
    path.write_bytes(whole[:-10] + bytes([whole[-10] ^ 1]) + whole[-9:])
    return whole


def batch(shelf: Shelf, index: int = 0) -> Path:
    """The file of a batch."""
    return shelf.batches / "000" / f"{index:06}.car"


def failed(ended: Ended) -> dict[str, str]:
    """The hint of each check that failed, those of a repair apart."""
    return {
        each["check"]: each["hint"]
        for each in ended.objects
        if each["state"] == "fail" and not each["check"].startswith("repair")
    }


class TestNames:
    def test_a_column_of_ls(self, home, draws):
        """As text, `ls` tells logs apart by the end of their names, in a column."""
        head, *rows = run("ls", "-o", "text", home=home).out.splitlines()
        assert ["SUBSYSTEM", "LOG", "BATCH"] == head.split()[:3]
        assert [[draws[0], "0"], [draws[0], "1"], [draws[1], "0"]] == [row.split()[1:3] for row in rows]
        assert {head.index("LOG")} == {row.index(draw) for row in rows for draw in draws if draw in row}

    def test_no_column_for_one_log_each(self, home):
        """Two subsystems with one log each need none."""
        homes.make(home, 3)
        homes.make(home, 3, "wal")
        head, *rows = run("ls", "-o", "text", home=home).out.splitlines()
        assert (["SUBSYSTEM", "BATCH"], 2) == (head.split()[:2], len(rows))

    def test_of_damaged_batches(self, home, draws):
        """`doctor` names the log of each damaged batch, before and in a repair."""
        for shelf in shelves(home):
            damage(batch(shelf))
        titles = [f"audit {draw} batch 0" for draw in draws]
        assert titles == list(failed(run("doctor", home=home)))
        told = [each["check"] for each in run("doctor", "--repair", home=home).objects]
        assert {f"repair {title}" for title in titles} <= set(told)

    def test_of_heads_marks_and_leftovers(self, home, draws):
        """The other files of a log are named with it, too."""
        for shelf in shelves(home):
            shelf.head.write_bytes(b"junk")
            shelf.shipped.mkdir(exist_ok=True)
            (shelf.shipped / "store").write_bytes(b"junk")
            (shelf.path / "head.77.tmp").write_bytes(b"half")
        checks = {each["check"] for each in run("doctor", home=home).objects}
        assert {f"audit {draw} {kind}" for draw in draws for kind in ("head", "mark", "leftover")} <= checks

    def test_of_a_log_whose_name_is_lost(self, home, draws):
        """Where nothing tells the name of the current log any more, it is called that."""
        current = shelves(home)[1]
        current.head.write_bytes(b"junk")
        batch(current).write_bytes(b"junk")
        assert {"audit current head", "audit current batch 0"} == failed(run("doctor", home=home)).keys()

    def test_of_one_log(self, home):
        """A subsystem with one log is name enough."""
        homes.make(home, 3)
        damage(batch(shelves(home)[0]))
        assert ["audit batch 0"] == list(failed(run("doctor", home=home)))

    def test_of_what_is_not_shipped(self, home, draws):
        """`ship` says which log the first batch that is left belongs to."""
        ended = run("ship", "--kubo", "http://127.0.0.1:9", "--timeout", "0", home=home)
        assert f" not shipped, audit {draws[0]} batch 0 first: " in ended.err

    def test_of_what_is_set_aside(self, home, draws):
        """`doctor` and `ship` say which log a batch belongs to that a store refused."""
        store = MemoryStore.named("aside")
        for shelf, name in zip(shelves(home), {each["log"]: 0 for each in run("ls", home=home).objects}, strict=True):
            aside = (Aside(0, "no such codec"),)
            shipped.store(shelf.shipped, store.name, Mark(log=name, address=store.address, upto=1, aside=aside))
        checks = [each["check"] for each in run("doctor", home=home).objects]
        assert [f"audit {draw} set aside" for draw in draws] == [each for each in checks if "aside" in each]
        ended = run("ship", "--kubo", "memory:aside", "--timeout", "0", home=home)
        assert f"audit {draws[0]} batch 0 is set aside: no such codec" in ended.err


class TestWhatIsLost:
    """A repair that failed does not advise itself."""

    def test_one_batch(self, home):
        """The file to restore is named; restored from a copy, all is well."""
        homes.make(home, 20)
        path = batch(shelves(home)[0])
        whole = damage(path)
        hint = failed(run("doctor", home=home))["audit batch 0"]
        assert "Run `ipfs-logs doctor --repair`, with --kubo where a store has this batch." == hint
        hint = failed(run("doctor", "--repair", home=home))["audit batch 0"]
        wanted = f"Name a store that has it with --kubo, or restore {path} from a copy; all other batches are whole."
        assert wanted == hint
        path.write_bytes(whole)
        assert 0 == run("doctor", home=home).code

    def test_several(self, home, draws):
        """Where another batch is lost too, nothing else is said of the others."""
        paths = [batch(shelf) for shelf in shelves(home)]
        for path in paths:
            damage(path)
        hints = failed(run("doctor", "--repair", home=home))
        wanted = [f"Name a store that has it with --kubo, or restore {path} from a copy." for path in paths]
        assert wanted == list(hints.values())

    def test_an_archive(self, home):
        """The blocks of an archive lie in a file of their own, which is named beside that of its batch."""
        archiver(home, "logs").put_bytes(b"x" * 1000, facts)
        homes.seal(home)
        damage(next(home.rglob("*.payload.car")))
        (hint,) = failed(run("doctor", "--repair", home=home)).values()
        path = batch(Home(home).room("logs").current)
        assert f"restore {path} and {path.with_suffix('.payload.car')} from a copy; all other" in hint

    def test_a_head_behind_it(self, home):
        """A head that needs the batch says that it does."""
        homes.make(home, 20)
        (shelf,) = shelves(home)
        batch(shelf).write_bytes(b"")
        shelf.head.write_bytes(b"junk")
        hints = failed(run("doctor", "--repair", home=home))
        assert "It can be rebuilt when every batch of its log can be read." == hints["audit head"]
        assert str(batch(shelf)) in hints["audit batch 0"]

    def test_a_store_is_configured(self, home):
        """Where a repair can ask a store by itself, no address is asked for."""
        MemoryStore.named("lost")
        homes.make(home, 3, kubo="memory:lost")
        damage(batch(shelves(home)[0]))
        assert {"audit batch 0": "Run `ipfs-logs doctor --repair`."} == failed(run("doctor", home=home))
