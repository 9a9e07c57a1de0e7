"""ship --again, and doctor: a store has lost what it had confirmed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import sample_homes
from tests.support.cli import run
from tests.support.sample_homes import status


@pytest.fixture
def emptied(home: Path) -> Iterator[MemoryStore]:
    """Run the test with a home whose store was replaced by an empty one."""
    store = MemoryStore.named("emptied")
    sample_homes.log(home, range(25), kubo="memory:emptied")
    assert run("ship", home=home).code == 0
    store.pins.clear()
    store.blocks.clear()
    yield store
    MemoryStore.forget()


@pytest.mark.parametrize("asked", [("--fetch",), ("--fetch", "--all"), ("--kubo", "memory:emptied")])
def test_doctor_notices_a_store_that_lost_its_data(home: Path, emptied: MemoryStore, asked: tuple[str, ...]) -> None:
    """A sample of the confirmed batches, or all of them, is asked for; the hint says how to send them again."""
    ended = run("doctor", *asked, home=home)
    [check] = [check for check in ended.objects if check["check"] == "batches"]
    assert (2, "fail") == (ended.code, check["state"])
    assert "does not have 3 of 3 confirmed batches" in check["found"]
    assert "ipfs-logs ship --again" in check["hint"]


def test_doctor_asks_no_store_for_batches_that_only_the_home_names(home: Path, emptied: MemoryStore) -> None:
    """The home may come from somebody else; the hint says how to ask."""
    ended = run("doctor", home=home)
    assert 0 == ended.code
    [check] = [check for check in ended.objects if check["check"] == "store"]
    assert "was not asked" in check["found"]
    assert "--fetch" in check["hint"]


def test_again_sends_what_the_store_lost(home: Path, emptied: MemoryStore) -> None:
    """Afterwards the store has everything, and doctor is content."""
    ended = run("ship", "--again", home=home)
    assert (0, [0, 1, 2]) == (ended.code, [each["index"] for each in ended.objects])
    assert "memory:emptied has lost 3 batches that it had confirmed" in ended.err
    checks = run("doctor", "--fetch", "--all", home=home).objects
    assert ["ok"] == [check["state"] for check in checks if check["check"] == "batches"]


@pytest.mark.parametrize("asked", [("--again",), ()])
def test_a_lost_head_block_is_pinned_again(home: Path, emptied: MemoryStore, asked: tuple[str, ...]) -> None:
    """The store has all batches, and has lost the pin of the head block alone."""
    assert run("ship", "--again", home=home).code == 0
    pins = set(emptied.pins)
    head = Cid.parse(status(home)[0]["head"])
    del emptied.pins[head]
    ended = run("ship", *asked, home=home)
    assert (0, []) == (ended.code, ended.objects)
    assert pins == set(emptied.pins)
    assert head in pins


@pytest.mark.slow
@pytest.mark.parametrize("asked", [("--again",), ()])
def test_a_lost_head_block_of_a_damaged_batch(home: Path, emptied: MemoryStore, asked: tuple[str, ...]) -> None:
    """The delivery state names no head block as long as none can be made; then the next run pins it."""
    assert run("ship", "--again", home=home).code == 0
    head = status(home)[0]["head"]
    del emptied.pins[Cid.parse(head)]
    file = sample_homes.batches_of(home).file(2)
    content = file.read_bytes()
    file.write_bytes(bytes(len(content)))
    for damaged in (True, False):
        assert run("ship", *asked, home=home).code == 0
        (found,) = LogDir.former_of(sample_homes.subsystem_dir(home))[0].delivery_states().values()
        assert found.head == (None if damaged else head)
        assert (Cid.parse(head) in emptied.pins) is not damaged
        (former,) = home.rglob(file.name)  # a log whose newest batch is damaged has ended
        former.write_bytes(content)


def test_again_takes_the_store_to_check(home: Path, emptied: MemoryStore) -> None:
    """An address after it is the store that is asked; the others are not."""
    other = MemoryStore.named("untouched")
    other.state = "down"
    ended = run("ship", "--again", "memory:emptied", "--timeout", "10", home=home)
    assert (0, [0, 1, 2]) == (ended.code, [each["index"] for each in ended.objects])


def test_again_says_what_nobody_has_any_more(home: Path, emptied: MemoryStore) -> None:
    """The payload left the home before the store lost it: exit code 4, and the batch is named."""
    LogDir.current_of(HomeDir(home).subsystem_dir("audit")).sealed_batches.strip(0)
    ended = run("ship", "--again", "--timeout", "5", home=home)
    assert 4 == ended.code
    assert (
        "audit batch 0 cannot be sent to memory:emptied: its payload has left this home, and no store has it any more"
        in ended.err
    )


def test_ship_notices_by_itself_that_a_store_is_empty(home: Path, emptied: MemoryStore) -> None:
    """The newest batches are asked for when a store is reached again, and then all; everything is sent again."""
    assert [0, 1, 2] == [batch["index"] for batch in run("ship", home=home).objects]
    assert [] == status(home)[0]["warnings"]


def test_ship_says_what_nobody_has_any_more(home: Path, emptied: MemoryStore) -> None:
    """A payload has left the home before the store lost it: exit code 4, and the batch is named."""
    LogDir.current_of(HomeDir(home).subsystem_dir("audit")).sealed_batches.strip(0)
    ended = run("ship", "--timeout", "2", home=home)
    assert 4 == ended.code
    assert "audit batch 0 first" in ended.err
    assert 1 == status(home)[0]["set_aside"]
