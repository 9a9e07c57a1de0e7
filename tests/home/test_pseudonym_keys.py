"""The key of a period is one for all processes, whole or not there after a crash, and gone for good once erased."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import disk, pseudonym_keys
from ipfs_log_handlers.home.layout import HomeDir

PERIOD = "2026-03"


@pytest.fixture
def home_dir(home: Path) -> HomeDir:
    """Name a home that does not exist yet."""
    return HomeDir(home)


def key_file(home: HomeDir) -> Path:
    """Name the file of the key that the tests use."""
    return home.path / "keys" / "pseudonyms" / "audit" / PERIOD


def test_a_key_is_made_once_for_this_user_alone(home_dir: HomeDir) -> None:
    """32 bytes, the same at each call, other ones for each subsystem and period; 0600 in directories with 0700."""
    keys = {
        pseudonym_keys.load_or_make(home_dir, subsystem, period)
        for subsystem, period in (("audit", PERIOD), ("audit", PERIOD), ("audit", "2026-04"), ("wal", PERIOD))
    }
    assert 3 == len(keys)
    assert {32} == {len(key or b"") for key in keys}
    path = key_file(home_dir)
    modes = [path.stat().st_mode & 0o777, *(above.stat().st_mode & 0o777 for above in list(path.parents)[:3])]
    assert [0o600, 0o700, 0o700, 0o700] == modes
    assert [PERIOD, "2026-04"] == pseudonym_keys.periods(home_dir, "audit")
    assert [] == [name for name in disk.names(path.parent) if name.endswith(".tmp")]


def test_the_directory_of_keys_is_no_subsystem(home_dir: HomeDir) -> None:
    """It is there before the first record, and no list of subsystems has it."""
    pseudonym_keys.load_or_make(home_dir, "audit", PERIOD)
    home_dir.make()
    assert [] == home_dir.subsystem_dirs()
    assert not home_dir.may_be_subsystem("keys")


MAKE_ONE = """
import sys, time
from pathlib import Path
from ipfs_log_handlers.home import pseudonym_keys
from ipfs_log_handlers.home.layout import HomeDir
sys.stdin.readline()
print(pseudonym_keys.load_or_make(HomeDir(Path(sys.argv[1])), "audit", "2026-03").hex())
"""


def test_many_processes_agree_on_one_key(home_dir: HomeDir) -> None:
    """Eight processes that make the key at the same moment all have the same one, in one file."""
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE_ONE, str(home_dir.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
    keys = {program.communicate()[0].strip() for program in programs}
    assert 1 == len(keys)
    assert [PERIOD] == disk.names(key_file(home_dir).parent)


def test_the_loser_of_a_race_takes_the_key_of_the_winner(home_dir: HomeDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process links its key just before this one does."""
    real, theirs = disk.link, b"ab" * 32 + b"\n"

    def link(path: Path, to: Path) -> None:
        if not to.exists():
            disk.write_new(to, [theirs])
        real(path, to)

    monkeypatch.setattr(disk, "link", link)
    assert b"\xab" * 32 == pseudonym_keys.load_or_make(home_dir, "audit", PERIOD)
    assert theirs == key_file(home_dir).read_bytes()


@pytest.mark.parametrize("step", ["write_new", "link", "remove", "sync_directory"])
def test_a_failure_at_any_step_leaves_a_whole_key_or_none(
    home_dir: HomeDir, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The disk refuses one step: the error comes out, and the next call makes the key or reads a whole one."""
    pseudonym_keys.load_or_make(home_dir, "audit", "2026-02")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(disk, step, refuse)
        if step == "sync_directory":
            patched.setattr("ipfs_log_handlers.home.directories.sync_directory", lambda _: None)
        with pytest.raises(OSError, match="no space"):
            pseudonym_keys.load_or_make(home_dir, "audit", PERIOD)
    before = key_file(home_dir).read_bytes() if key_file(home_dir).exists() else None
    key = pseudonym_keys.load_or_make(home_dir, "audit", PERIOD)
    assert key is not None
    assert before in (None, key.hex().encode() + b"\n")


def test_an_erased_key_is_gone_and_never_made_again(home_dir: HomeDir) -> None:
    """The file is overwritten and removed; the mark stays, for this period of this subsystem alone."""
    pseudonym_keys.load_or_make(home_dir, "audit", PERIOD)
    other = pseudonym_keys.load_or_make(home_dir, "wal", PERIOD)
    descriptor = os.open(key_file(home_dir), os.O_RDONLY)
    assert pseudonym_keys.remove(home_dir, "audit", PERIOD)
    assert bytes(65) == os.read(descriptor, 100)
    os.close(descriptor)
    assert not key_file(home_dir).exists()
    assert pseudonym_keys.load(home_dir, "audit", PERIOD) is None
    assert pseudonym_keys.load_or_make(home_dir, "audit", PERIOD) is None
    assert not pseudonym_keys.remove(home_dir, "audit", PERIOD)
    assert other == pseudonym_keys.load_or_make(home_dir, "wal", PERIOD)
    assert [] == pseudonym_keys.periods(home_dir, "audit")


def test_a_key_that_was_never_made_can_be_erased_ahead(home_dir: HomeDir) -> None:
    """Then none is made in that period."""
    assert not pseudonym_keys.remove(home_dir, "audit", PERIOD)
    assert pseudonym_keys.load_or_make(home_dir, "audit", PERIOD) is None


@pytest.mark.parametrize("step", ["sweep", "open_file", "write_all", "sync_data", "remove", "sync_directory"])
def test_a_crash_while_a_key_is_erased_leaves_none_that_is_used(
    home_dir: HomeDir, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """From the first step on nobody gets the key; the second call ends the work."""
    pseudonym_keys.load_or_make(home_dir, "audit", PERIOD)
    mark = key_file(home_dir).with_name(PERIOD + ".erased")
    real = getattr(disk, step)

    def die(*arguments: object, **keywords: object) -> object:
        if mark.exists():
            raise KeyboardInterrupt
        return real(*arguments, **keywords)

    with monkeypatch.context() as patched:
        patched.setattr(disk, step, die)
        with pytest.raises(KeyboardInterrupt):
            pseudonym_keys.remove(home_dir, "audit", PERIOD)
    assert pseudonym_keys.load_or_make(home_dir, "audit", PERIOD) is None
    pseudonym_keys.remove(home_dir, "audit", PERIOD)
    assert [mark.name] == disk.names(mark.parent)


def test_a_key_that_is_erased_while_it_is_made_is_not_used(home_dir: HomeDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark comes after the look and before the link: the maker sees it, and removes what it has made."""
    pseudonym_keys.load_or_make(home_dir, "audit", "2026-02")
    real = disk.link

    def link(path: Path, to: Path) -> None:
        monkeypatch.undo()
        disk.write_new(key_file(home_dir).with_name(PERIOD + ".erased"), [b""])
        real(path, to)

    monkeypatch.setattr(disk, "link", link)
    assert pseudonym_keys.load_or_make(home_dir, "audit", PERIOD) is None
    assert not key_file(home_dir).exists()


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [(b"ab" * 32 + b"\n", 0o644, "other users can read"), (b"short\n", 0o600, "not a key"), (b"", 0o600, "not a key")],
)
def test_a_bad_file_is_refused(home_dir: HomeDir, content: bytes, mode: int, words: str) -> None:
    """A key that others can read is none, and nor is a torn one; it is not replaced, because a backup may have it."""
    pseudonym_keys.load_or_make(home_dir, "audit", PERIOD)
    key_file(home_dir).write_bytes(content)
    key_file(home_dir).chmod(mode)
    with pytest.raises(HomeError, match=words):
        pseudonym_keys.load_or_make(home_dir, "audit", PERIOD)


@pytest.mark.parametrize("period", ["", "..", "2026-3", "2026-03/x", "march"])
def test_only_a_period_becomes_a_file(home_dir: HomeDir, period: str) -> None:
    """A name that is no period, or no subsystem, never becomes a path."""
    with pytest.raises(HomeError, match="not a subsystem and a period"):
        pseudonym_keys.load_or_make(home_dir, "audit", period)
    with pytest.raises(HomeError, match="not a subsystem and a period"):
        pseudonym_keys.remove(home_dir, "../x", PERIOD)


@pytest.mark.parametrize(
    ("seconds", "period"), [(0, "1970-01"), (1_772_323_199.999, "2026-02"), (1_772_323_200, "2026-03")]
)
def test_the_period_is_the_month_in_utc(seconds: float, period: str) -> None:
    """At the edge of a month the new one begins with its first second."""
    assert period == pseudonym_keys.period_of(seconds)
