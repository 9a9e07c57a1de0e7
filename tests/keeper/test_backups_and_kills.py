"""A keeper that is killed while it handles a backup that was copied back: the next one does the rest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.home import lock
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper import new_log
from tests.support import sample_homes
from tests.support.backups import go_on, over, shown, signed
from tests.support.cli import run

pytestmark = pytest.mark.slow  # kills at each step


def kill_keeper(home: Path, monkeypatch: pytest.MonkeyPatch, step: int, *names: str, before: bool = False) -> None:
    """Let a keeper look at the home, and kill it at a call of one of these functions of `os`.

    Args:
        home: the home; its log must end.
        monkeypatch: undone at the end, but for the time in which a home must not change.
        step: number of the call.
        names: the functions.
        before: die before the call, and not after it.
    """
    log = next(iter(signed(home)))[0]
    calls = iter(range(1000))
    real: dict[str, Callable[..., None]] = {name: getattr(os, name) for name in names}

    class Killed(BaseException):
        pass

    def dying(name: str) -> Callable[..., None]:
        def call(*args: Any, **options: Any) -> None:
            number = next(calls)
            if number == step and before:
                raise Killed
            real[name](*args, **options)
            if number == step:
                raise Killed

        return call

    held = lock.take(HomeDir(home))
    assert held is not None
    for name in real:
        monkeypatch.setattr(os, name, dying(name))
    try:
        new_log.resume_or_end(sample_homes.subsystem_dir(home), log.rpartition("/audit/")[0])
    except Killed:
        pass
    finally:
        monkeypatch.undo()
        held.release()
    monkeypatch.setattr(new_log, "_QUIET_S", 0)


@pytest.mark.parametrize("step", range(0, 24, 2))
def test_a_keeper_killed_as_it_sorts_the_batches_loses_nothing(home, tmp_path, monkeypatch, step):
    """The next keeper does the rest: after each rename and each removal."""
    backup = tmp_path / "backup"
    go_on(home, 0, 2)
    shutil.copytree(home, backup)
    go_on(home, 2, 3)
    over(backup, home)
    go_on(home, 3, 7)
    before = signed(home)
    over(backup, home)
    kill_keeper(home, monkeypatch, step, "rename", "unlink")
    go_on(home, 7, 8)
    after = signed(home)
    assert all(after[key] == cid for key, cid in before.items() if key in after)
    assert [0, 1, 2, 5, 6, 7] == sorted(shown(home))


@pytest.mark.parametrize("step", range(8))
def test_a_keeper_killed_as_it_ends_the_log_loses_nothing(home, tmp_path, monkeypatch, step):
    """Wherever it dies between two renames, the next keeper ends the same log, and signs no number again."""
    go_on(home, 0, 2)
    shutil.copytree(home, tmp_path / "backup")
    go_on(home, 2, 5)
    before = signed(home)
    over(tmp_path / "backup", home)
    sample_homes.log(home, range(5, 6), records=1)
    kill_keeper(home, monkeypatch, step // 2, "rename", before=step % 2 == 0)
    go_on(home, 6, 7)
    assert before == {key: signed(home)[key] for key in before}
    assert list(range(7)) == sorted(shown(home))
    assert 0 == run("verify", home=home).code
