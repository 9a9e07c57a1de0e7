"""A log that was signed and has vanished, whole, is missed: verify names it and is not ok, whatever key is trusted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ipfs_log_handlers.home import head, keys, log_list
from ipfs_log_handlers.home.layout import HomeDir
from tests.support import sample_homes
from tests.support.cli import Ended, run


@pytest.fixture
def several(home: Path) -> Path:
    """Make a home with three logs of one subsystem and one of another."""
    for _ in range(2):
        sample_homes.make(home, 10)
        sample_homes.end(home)
    sample_homes.make(home, 10)
    sample_homes.make(home, 10, "wal")
    return home


def verified(home: Path, *names: str) -> Ended:
    """Run `verify` with the verifier key of the home."""
    key = keys.load(HomeDir(home))
    assert key is not None
    return run("verify", *names, "--key", key.verifier.text, home=home)


def missing(ended: Ended) -> list[str]:
    """Return the logs of which nothing is there."""
    return [
        report["log"]
        for report in ended.objects
        if not report["batches"] and "no file of it" in [problem["found"] for problem in report["problems"]]
    ]


def count_without(home: Path, records: int) -> None:
    """Let the count in the head, which nobody signs, be that of the logs that are left."""
    path = sample_homes.subsystem_dir(home).current.head
    sealed = head.load(path)
    assert sealed is not None
    head.store(path, replace(sealed, records=records))


def all_former(home: Path) -> None:
    """Delete all former logs of `audit`."""
    shutil.rmtree(sample_homes.subsystem_dir(home).former)


def oldest(home: Path) -> None:
    """Delete the oldest log of `audit`."""
    shutil.rmtree(sample_homes.subsystem_dir(home).former_log_dirs()[0].path)


def middle(home: Path) -> None:
    """Delete the second log of `audit`."""
    shutil.rmtree(sample_homes.subsystem_dir(home).former_log_dirs()[1].path)


def oldest_emptied(home: Path) -> None:
    """Leave nothing but the directory of the oldest log of `audit`."""
    path = sample_homes.subsystem_dir(home).former_log_dirs()[0].path
    shutil.rmtree(path)
    path.mkdir(mode=0o700)


def current(home: Path) -> None:
    """Delete the log of `audit` that grows."""
    paths = sample_homes.subsystem_dir(home).current
    shutil.rmtree(paths.batches)
    paths.head.unlink()


def subsystem(home: Path) -> None:
    """Delete the directory of `wal`."""
    shutil.rmtree(home / "wal")


def emptied(home: Path) -> None:
    """Leave the directory of `wal` empty."""
    subsystem(home)
    (home / "wal").mkdir(mode=0o700)


def hidden(home: Path) -> None:
    """Give the directory of `wal` a name that no subsystem has."""
    (home / "wal").rename(home / ".wal")


LOSSES: list[tuple[Callable[[Path], None], list[int]]] = [
    (all_former, [0, 1]),
    (oldest, [0]),
    (oldest_emptied, [0]),
    (middle, [1]),
    (current, [2]),
    (subsystem, [3]),
    (emptied, [3]),
    (hidden, [3]),
]


def test_nothing_is_missing_in_a_whole_home(several):
    """Three logs in a row and another subsystem are ok."""
    ended = verified(several)
    assert (0, 4, []) == (ended.code, len(ended.objects), missing(ended))


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "lost"), LOSSES, ids=[loss.__name__ for loss, _ in LOSSES])
def test_a_log_that_vanished_is_named(several, loss, lost):
    """Whichever it is: the exit code is 3, and the log is named."""
    names = log_list.load(HomeDir(several)).names
    loss(several)
    ended = verified(several)
    assert (3, [names[number] for number in lost]) == (ended.code, sorted(missing(ended), key=names.index))


@pytest.mark.parametrize("loss", [all_former, middle])
def test_without_the_list_the_next_log_names_the_missing_one(several, loss):
    """The evidence in a signed manifest is enough; the counts in the head, which nobody signs, are not needed."""
    names = log_list.load(HomeDir(several)).names
    HomeDir(several).log_list.unlink()
    loss(several)
    count_without(several, 10 if loss is all_former else 20)
    ended = verified(several)
    assert (3, [names[1]]) == (ended.code, missing(ended))


def test_a_subsystem_that_vanished_can_be_asked_for(several):
    """Its name is known; a name that the home never had is a usage error."""
    subsystem(several)
    assert (3, ["wal"]) == (verified(several, "wal").code, [r["subsystem"] for r in verified(several, "wal").objects])
    assert 0 == verified(several, "audit").code
    assert 2 == verified(several, "health").code


def test_a_home_in_which_every_subsystem_vanished_is_not_ok(several):
    """A home without a batch is nothing to verify; one that has lost them all is a loss."""
    for name in ("audit", "wal"):
        shutil.rmtree(several / name)
    ended = verified(several)
    assert (3, 4) == (ended.code, len(missing(ended)))


def test_a_line_that_was_taken_out_of_the_list_is_told(several):
    """Whoever deletes a subsystem and its line breaks the signatures of the lines after it."""
    shutil.rmtree(several / "audit")
    lines = HomeDir(several).log_list.read_bytes().splitlines(keepends=True)
    HomeDir(several).log_list.write_bytes(lines[-1])
    ended = verified(several)
    assert 3 == ended.code
    assert ["logs.list"] == [problem["field"] for problem in ended.objects[0]["problems"]]


def test_the_text_says_what_is_missing(several):
    """People read the name of the log, and that nothing of it is there."""
    names = log_list.load(HomeDir(several)).names
    subsystem(several)
    ended = run("verify", "-o", "text", home=several)
    assert 3 == ended.code
    assert f"wal: NOT OK: 0 batches, 0 records: {names[3]}" in ended.out
    assert f"expected the batches of {names[3]}, which this home has signed, found no file of it" in ended.out


def test_two_manifests_of_one_number_in_one_home_are_told(several):
    """As where a copy of a log lies beside it and both went on."""
    ended = sample_homes.subsystem_dir(several)
    newest = ended.former_log_dirs()[1]
    twin = ended.former / f"007-{newest.path.name[-8:]}"
    shutil.copytree(newest.path, twin)
    (twin / "batches" / "000" / "000000.car").write_bytes(
        (sample_homes.subsystem_dir(several).current.batches / "000" / "000000.car").read_bytes()
    )
    fields = [problem["field"] for report in verified(several).objects for problem in report["problems"]]
    assert "manifest" in fields
