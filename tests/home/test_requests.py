from __future__ import annotations

import os
from pathlib import Path

from ipfs_log_handlers.home import requests


class TestRequests:
    def test_asked_and_taken_back(self, tmp_path: Path) -> None:
        """Home rule 18: a request is a file that stands until whoever asked takes it back; each is another one."""
        one, two = requests.ask(tmp_path / "requests"), requests.ask(tmp_path / "requests")
        assert {one.name, two.name} == requests.pending(tmp_path / "requests").asked
        requests.drop(one)
        requests.drop(one)
        assert {two.name} == requests.pending(tmp_path / "requests").asked

    def test_stale(self, tmp_path: Path) -> None:
        """Home rule 18: the request of a process that died while it waited is forgotten after an hour."""
        old, new = requests.ask(tmp_path), requests.ask(tmp_path)
        then = old.stat().st_mtime - requests.STALE - 10
        os.utime(old, (then, then))
        assert {new.name} == requests.pending(tmp_path).asked
        assert not old.exists()

    def test_none(self, tmp_path: Path) -> None:
        """Without a directory, or with something else in its place, nothing is asked."""
        (tmp_path / "file").touch()
        assert requests.Pending() == requests.pending(tmp_path / "no") == requests.pending(tmp_path / "file")

    def test_offers(self, tmp_path: Path) -> None:
        """Home rule 27: an offer to take over names the store that it is about, and asks for nothing else."""
        offer = requests.offer(tmp_path, "a-store.example")
        found = requests.pending(tmp_path)
        assert not found.asked
        assert {offer.name} == found.offered
        assert {offer.name} == found.offers_for(frozenset({"other", "a-store.example"}))
        assert frozenset() == found.offers_for(frozenset({"a", "a-store"}))
