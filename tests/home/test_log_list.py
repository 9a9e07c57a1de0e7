"""The signed list of logs: it names each log that was sealed, and no line of it can be changed or taken out."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ipfs_log_handlers.format.checkpoint import SecretKey, log_name
from ipfs_log_handlers.home import disk, keys, log_list
from ipfs_log_handlers.home.layout import HomeDir
from tests.support import sample_homes

KEY = SecretKey.generate(bytes(32))
OTHER = SecretKey.generate(bytes(31) + b"\x01")
LOGS = [log_name(KEY.name, "audit", f"{number:08x}") for number in range(4)]


@pytest.fixture
def listed(home: Path) -> HomeDir:
    """Make a home whose list has four logs."""
    home.mkdir(mode=0o700)
    for log in LOGS:
        log_list.add(HomeDir(home), KEY, [log])
    return HomeDir(home)


def problems(home: HomeDir) -> list[tuple[str, str]]:
    """Return what is wrong with the list."""
    return list(log_list.load(home).problems({KEY.name: KEY.verifier}))


def test_each_log_is_listed_once_in_the_order_in_which_they_began(listed):
    """A log that stands in the list already adds no line."""
    log_list.add(listed, KEY, LOGS)
    assert LOGS == log_list.load(listed).names
    assert [] == problems(listed)


def test_no_list_is_an_empty_list(home):
    """A home that has sealed nothing has no list, and that is no problem."""
    home.mkdir()
    assert ([], []) == (log_list.load(HomeDir(home)).names, problems(HomeDir(home)))


def test_a_log_of_another_key_is_not_listed(listed):
    """This home cannot sign for it."""
    log_list.add(listed, KEY, [log_name(OTHER.name, "audit", "00000000")])
    assert LOGS == log_list.load(listed).names


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_line_that_was_taken_out_is_found(listed, number):
    """Each signature covers all lines before it; only lines at the end can go without a trace in the list."""
    lines = listed.log_list.read_bytes().splitlines(keepends=True)
    listed.log_list.write_bytes(b"".join(line for at, line in enumerate(lines) if at != number))
    assert problems(listed)


def test_every_flipped_bit_is_found(listed):
    """No byte can be changed."""
    data, draw = listed.log_list.read_bytes(), random.Random(1)
    for at in range(0, len(data) - 1, 3):
        listed.log_list.write_bytes(data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :])
        assert problems(listed), at


def test_junk_is_a_problem_and_raises_nothing(listed):
    """Whatever stands in the file, reading it ends with a list and its problems."""
    draw = random.Random(2)
    for size in (1, 40, 3000):
        listed.log_list.write_bytes(draw.randbytes(size))
        assert problems(listed)
    listed.log_list.unlink()
    listed.log_list.symlink_to("/etc/passwd")
    assert [] == log_list.load(listed).names
    assert problems(listed)


def test_a_damaged_list_is_kept_and_written_anew(listed):
    """The names that can still be read stay listed."""
    data = listed.log_list.read_bytes()
    damaged = data.replace(LOGS[1].encode(), b"?" * len(LOGS[1]))
    listed.log_list.write_bytes(damaged)
    new = log_name(KEY.name, "audit", "0000000a")
    log_list.add(listed, KEY, [new])
    assert [LOGS[0], LOGS[2], LOGS[3], new] == log_list.load(listed).names
    assert [] == problems(listed)
    assert damaged == (listed.path / "logs.list.0").read_bytes()


def test_a_damaged_name_does_not_become_a_log_that_vanished(listed):
    """Each signature says which of the logs of the home its line named, so the new list has these logs and no other."""
    data, draw = listed.log_list.read_bytes(), random.Random(3)
    for at in range(0, len(data) - 1, 5):
        listed.log_list.write_bytes(data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :])
        log_list.add(listed, KEY, LOGS)
        assert sorted(LOGS) == sorted(log_list.load(listed).names), at
        assert [] == problems(listed)


def test_a_log_that_vanished_stays_in_a_list_that_was_damaged(listed):
    """Its name is kept where another line is damaged."""
    lines = listed.log_list.read_bytes().splitlines(keepends=True)
    listed.log_list.write_bytes(lines[0].replace(b"/audit", b"/audut", 1) + b"".join(lines[1:]))
    log_list.add(listed, KEY, [LOGS[0], LOGS[2]])
    assert sorted(LOGS) == sorted(log_list.load(listed).names)


def test_a_keeper_lists_each_log_when_its_first_batch_is_sealed(home):
    """Also the logs of several subsystems, and the one that follows a log that has ended."""
    sample_homes.make(home, 10)
    sample_homes.make(home, 10, "wal")
    sample_homes.end(home)
    sample_homes.make(home, 10)
    names = log_list.load(HomeDir(home)).names
    assert ["audit", "wal", "audit"] == [name.split("/")[2] for name in names]
    key = keys.load(HomeDir(home))
    assert key is not None
    assert [] == list(log_list.load(HomeDir(home)).problems({key.name: key.verifier}))


def test_a_log_that_is_not_listed_is_listed_by_the_next_keeper(home):
    """As after a crash between the head and the list, and in a home that was made before there was a list."""
    sample_homes.make(home, 10)
    sample_homes.end(home)
    sample_homes.make(home, 10)
    names = log_list.load(HomeDir(home)).names
    HomeDir(home).log_list.unlink()
    sample_homes.make(home, 10)
    assert names == log_list.load(HomeDir(home)).names


def test_a_list_that_cannot_be_written_stops_no_sealing(home, monkeypatch):
    """The disk may refuse it: the batch is sealed, and the next keeper adds the line."""
    real = disk.replace

    def refusing(path, *args, **options):
        if path.name == "logs.list":
            raise OSError(28, "No space left on device")
        real(path, *args, **options)

    monkeypatch.setattr(disk, "replace", refusing)
    sample_homes.make(home, 10)
    assert [] == log_list.load(HomeDir(home)).names
    monkeypatch.undo()
    sample_homes.make(home, 10)
    assert 1 == len(log_list.load(HomeDir(home)).names)
