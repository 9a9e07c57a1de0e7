from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import lock
from ipfs_log_handlers.home.layout import HomeDir


class TestKeeperLock:
    def test_one_keeper(self, home: Path) -> None:
        """Of all that share a home one is the keeper; given back, the next one is."""
        first = lock.take(HomeDir(home))
        assert first is not None
        assert lock.take(HomeDir(home)) is None
        first.release()
        second = lock.take(HomeDir(home))
        assert second is not None
        second.release()

    def test_who(self, home: Path) -> None:
        """Home rule 29: the file says which host and process; it is believed only while the lock is held."""
        assert lock.holder(HomeDir(home)) is None
        held = lock.take(HomeDir(home))
        assert held is not None
        assert {"host": socket.gethostname(), "pid": os.getpid()} == lock.holder(HomeDir(home))
        held.release()
        assert lock.holder(HomeDir(home)) is None

    @pytest.mark.parametrize("content", [b"", b"[]", b'{"pid":"x"}', b'{"pid":null}', b"\xff", b"[" * 100_000])
    def test_unreadable(self, home: Path, content: bytes) -> None:
        """A file that is just being written still says that there is a keeper."""
        held = lock.take(HomeDir(home))
        assert held is not None
        HomeDir(home).lock.write_bytes(content)
        found = lock.holder(HomeDir(home))
        assert found is not None
        assert {"host", "pid"} == set(found)
        held.release()

    def test_still_held(self, home: Path) -> None:
        """Home rule 9: a keeper whose lock file was deleted or replaced knows that it is the keeper no more."""
        held = lock.take(HomeDir(home))
        assert held is not None
        assert held.holds()
        HomeDir(home).lock.unlink()
        assert not held.holds()
        other = lock.take(HomeDir(home))
        assert other is not None
        assert (False, True) == (held.holds(), other.holds())
        held.release()
        other.release()

    def test_foreign_home(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 29: nobody becomes the keeper of another user's home."""
        home.mkdir()
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
        with pytest.raises(HomeError, match="another user"):
            lock.take(HomeDir(home))
