"""Home rule 27: a keeper that a store refuses gives the lock to a candidate that has the credential."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers.home import delivery_state, lock, requests
from ipfs_log_handlers.home.delivery_state import DeliveryState, LastError
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper import election
from ipfs_log_handlers.keeper.election import Candidate
from tests.kubo.daemon import Daemon
from tests.support import oracle, programs
from tests.support.cli import run, start
from tests.support.logging_home import wait_until
from tests.support.sample_homes import status

ADDRESS = "http://127.0.0.1:5001"
PROGRAM = """
    configure(kubo=KUBO, token=TOKEN, flush_timeout=0.1, batch={"records": 1})
    for line in sys.stdin: log.info("%s", line.strip())
"""


@pytest.fixture
def guarded(kubo_daemon: Callable[..., Daemon]) -> Daemon:
    """Start a daemon that requires a token."""
    return kubo_daemon(authorizations={"us": "bearer:right"})


@pytest.fixture
def without(home: Path, guarded: Daemon) -> Iterator[int]:
    """Start a keeper without the token, wait until the daemon has refused it, and return its pid."""
    with programs.start(home, PROGRAM, KUBO=guarded.url, TOKEN=None) as program:
        say(program, "from the one without")
        wait_until(lambda: refused(home))
        yield program.pid
        program.communicate(timeout=20)


def say(program, event: str) -> None:
    """Let a program log."""
    program.stdin.write(f"{event}\n")
    program.stdin.flush()


def refused(home: Path) -> bool:
    """Say whether the daemon has refused the keeper."""
    marks = delivery_state.load_all(HomeDir(home).subsystem_dir("logs").current.shipped).values()
    return any(mark.last_error is not None and mark.last_error.kind == "denied" for mark in marks)


def shipped_records(home: Path) -> int:
    """Return the records that are pinned."""
    return sum(each["shipped"] for each in status(home))


def keeper_of(home: Path) -> int | None:
    """Return the pid of the keeper."""
    who = lock.holder(HomeDir(home))
    return None if who is None else who["pid"]


class TestPrograms:
    def test_the_program_with_the_token_ships_for_all(self, home, guarded, without):
        """The token stays in its process; what both logged is pinned while the one without it still runs."""
        with programs.start(home, PROGRAM, KUBO=guarded.url, TOKEN="bearer:right") as program:
            say(program, "from the one with")
            wait_until(lambda: shipped_records(home) == 2)
            assert keeper_of(home) == program.pid
            assert b"bearer:right" not in b"".join(each.read_bytes() for each in home.rglob("*") if each.is_file())
            program.communicate(timeout=20)
        assert [] == list(HomeDir(home).requests.iterdir())
        [log] = oracle.read_home(home)["logs"]
        assert {"from the one with", "from the one without"} == {each["event"] for each in log.records}

    def test_ship_with_the_token(self, home, guarded, without):
        """`ipfs-logs ship --token` beside a keeper without one becomes the keeper, ships, and leaves."""
        ended = run("ship", "--kubo", guarded.url, "--token", "bearer:right", home=home)
        assert (0, 1) == (ended.code, len(ended.objects))
        assert 1 == shipped_records(home)
        assert [] == list(HomeDir(home).requests.iterdir())

    def test_follow_with_the_token(self, home, guarded, without):
        """`ipfs-logs ship --follow --token` takes over from a keeper without one."""
        with start("--home", home, "ship", "--follow", "--kubo", guarded.url, "--token", "bearer:right") as follower:
            wait_until(lambda: shipped_records(home) == 1)
            assert keeper_of(home) == follower.pid
            follower.send_signal(signal.SIGTERM)
            out, err = follower.communicate(timeout=20)
        assert (0, b"") == (follower.returncode, err)
        assert [0] == [json.loads(each)["index"] for each in out.splitlines()]

    def test_a_token_that_is_wrong_too(self, home, guarded, without):
        """A candidate whose token is wrong too takes over, and when it leaves the first one keeps the home again."""
        with start("--home", home, "ship", "--follow", "--kubo", guarded.url, "--token", "bearer:wrong") as follower:
            wait_until(lambda: keeper_of(home) == follower.pid)
            wait_until(lambda: not list(HomeDir(home).requests.iterdir()))
            follower.send_signal(signal.SIGTERM)
            follower.communicate(timeout=20)
        wait_until(lambda: keeper_of(home) == without)
        assert 0 == shipped_records(home)


class TestCandidate:
    @pytest.fixture
    def denied(self, home: Path) -> Path:
        """Make a home whose keeper a store refuses."""
        self.mark(home, LastError("denied", "403", time.time(), time.time() + 60))
        return home

    def mark(self, home: Path, trouble: LastError | None) -> None:
        """Return what the keeper has noted of the store."""
        subsystem_dir = HomeDir(home).subsystem_dir("logs")
        delivery_state.store(
            subsystem_dir.current.shipped, "store", DeliveryState(log="l", address=ADDRESS, last_error=trouble)
        )

    def offers(self, home: Path) -> frozenset[str]:
        """Return the offers in the home."""
        return requests.pending(HomeDir(home).requests).offered

    def test_offers_once(self, denied):
        """An offer stands until it is accepted, and is then made anew while the store still refuses the keeper."""
        candidate = Candidate(HomeDir(denied), {ADDRESS: "bearer:x"}.get)
        assert [True, False] == [candidate.offer(), candidate.offer()]
        [first] = self.offers(denied)
        pending = requests.pending(HomeDir(denied).requests)
        assert not election.accept(HomeDir(denied), pending, {"another"})
        assert election.accept(HomeDir(denied), pending, {"store"})
        assert frozenset() == self.offers(denied)
        assert candidate.offer()
        assert {first} != self.offers(denied)
        candidate.withdraw()
        assert frozenset() == self.offers(denied)

    def test_without_a_credential(self, denied):
        """Without a credential for that very address nothing is offered."""
        assert not Candidate(HomeDir(denied), {"http://127.0.0.1:1": "bearer:x"}.get).offer()
        assert frozenset() == self.offers(denied)

    def test_was_refused_itself(self, denied):
        """Who was refused there makes no offer for that store."""
        candidate = Candidate(HomeDir(denied), {ADDRESS: "bearer:x"}.get)
        candidate.note_denied({"store"})
        assert not candidate.offer()

    @pytest.mark.parametrize("trouble", [None, LastError("unreachable", "down", 1.0, 2.0)])
    def test_no_need(self, denied, trouble):
        """A store that is down, or well, wants no other keeper; an offer that was made before is taken back."""
        candidate = Candidate(HomeDir(denied), {ADDRESS: "bearer:x"}.get)
        assert candidate.offer()
        self.mark(denied, trouble)
        assert not candidate.offer()
        assert frozenset() == self.offers(denied)
