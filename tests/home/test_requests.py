from __future__ import annotations

import os
from pathlib import Path

import pytest

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

    def test_a_request_may_name_stores(self, tmp_path: Path) -> None:
        """Home rule 18: the stores of all requests that stand are given, normalised and each once."""
        one = requests.ask(tmp_path, ["http://127.0.0.1:5001/", "/ip4/127.0.0.1/tcp/5002"])
        two = requests.ask(tmp_path, ["http://127.0.0.1:5001"])
        found = requests.pending(tmp_path)
        assert {one.name, two.name} == found.asked
        assert {"http://127.0.0.1:5001", "http://127.0.0.1:5002"} == set(found.stores)
        assert 2 == len(found.stores)
        requests.drop(one)
        assert ("http://127.0.0.1:5001",) == requests.pending(tmp_path).stores

    @pytest.mark.parametrize(
        "content",
        [
            b"junk",
            b"[",
            b'"http://x"',
            b"{}",
            b"[5, null, {}]",
            b'["foo"]',
            b"[" * 100_000,
            b'["' + b"x" * 70_000,
            b"\xff",
        ],
        ids=lambda content: repr(content[:12]),
    )
    def test_a_request_with_odd_content_is_a_request_all_the_same(self, tmp_path: Path, content: bytes) -> None:
        """Home rule 18: what is no list of addresses names no store, and nothing is raised."""
        asked = requests.ask(tmp_path)
        asked.write_bytes(content)
        assert requests.Pending(asked=frozenset({asked.name})) == requests.pending(tmp_path)

    def test_a_request_to_publish(self, tmp_path: Path) -> None:
        """It asks to seal and ship, too, and names no store; a keeper without this word only does these."""
        path = requests.ask_to_publish(tmp_path / "requests")
        pending = requests.pending(tmp_path / "requests")
        assert pending.asked == pending.publish == frozenset({path.name})
        assert pending.stores == ()
        requests.drop(path)
        requests.ask(tmp_path / "requests", ["http://127.0.0.1:5001"])
        assert frozenset() == requests.pending(tmp_path / "requests").publish

    def test_a_pipe_in_place_of_a_request_is_not_waited_for(self, tmp_path: Path) -> None:
        """Home rule 18: it names no store."""
        os.mkfifo(tmp_path / "1-a")
        assert () == requests.pending(tmp_path).stores

    def test_a_request_that_is_being_written_is_none_yet(self, tmp_path: Path) -> None:
        """Home rule 18: the file has its name when it is whole."""
        (tmp_path / "1-a.7.tmp").write_bytes(b"[")
        assert requests.Pending() == requests.pending(tmp_path)

    def test_offers(self, tmp_path: Path) -> None:
        """Home rule 27: an offer to take over names the store that it is about, and asks for nothing else."""
        offer = requests.offer(tmp_path, "a-store.example")
        found = requests.pending(tmp_path)
        assert not found.asked
        assert {offer.name} == found.offered
        assert {offer.name} == found.offers_for(frozenset({"other", "a-store.example"}))
        assert frozenset() == found.offers_for(frozenset({"a", "a-store"}))
