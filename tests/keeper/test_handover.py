"""Home rule 27: a keeper that a store refuses gives the lock to a candidate that has the credential."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers.home import lock, requests, shipped
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.home.shipped import Mark, Trouble
from ipfs_log_handlers.keeper import handover
from ipfs_log_handlers.keeper.handover import Candidate
from ipfs_log_handlers.status import status
from tests import oracle, programs
from tests.cli.running import run, start
from tests.kubo.daemon import Daemon
from tests.workshop import wait_until

ADDRESS = "http://127.0.0.1:5001"
PROGRAM = """
    configure(kubo=KUBO, token=TOKEN, flush_timeout=0.1, batch={"records": 1})
    for line in sys.stdin: log.info("%s", line.strip())
"""


@pytest.fixture
def guarded(kubo_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon that wants a token."""
    return kubo_daemon(authorizations={"us": "bearer:right"})


@pytest.fixture
def without(home: Path, guarded: Daemon) -> Iterator[int]:
    """A program without the token that keeps the home; the daemon has refused it. Its pid."""
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
    """Whether the daemon has refused the keeper."""
    marks = shipped.load_all(Home(home).room("logs").current.shipped).values()
    return any(mark.trouble is not None and mark.trouble.kind == "denied" for mark in marks)


def shipped_records(home: Path) -> int:
    """Records that are pinned."""
    return sum(each["shipped"] for each in status(home))


def keeper_of(home: Path) -> int | None:
    """The pid of the keeper."""
    who = lock.holder(Home(home))
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
        assert [] == list(Home(home).requests.iterdir())
        [log] = oracle.read_home(home)["logs"]
        assert {"from the one with", "from the one without"} == {each["event"] for each in log.records}

    def test_ship_with_the_token(self, home, without):
        """`ipfs-logs ship --token` beside a keeper without one becomes the keeper, ships, and leaves."""
        ended = run("ship", "--token", "bearer:right", home=home)
        assert (0, 1) == (ended.code, len(ended.objects))
        assert 1 == shipped_records(home)
        assert [] == list(Home(home).requests.iterdir())

    def test_follow_with_the_token(self, home, without):
        """`ipfs-logs ship --follow --token` takes over from a keeper without one."""
        with start("--home", home, "ship", "--follow", "--token", "bearer:right") as follower:
            wait_until(lambda: shipped_records(home) == 1)
            assert keeper_of(home) == follower.pid
            follower.send_signal(signal.SIGTERM)
            out, err = follower.communicate(timeout=20)
        assert (0, b"") == (follower.returncode, err)
        assert [0] == [json.loads(each)["index"] for each in out.splitlines()]

    def test_a_token_that_is_wrong_too(self, home, without):
        """A candidate whose token is wrong too takes over, and when it leaves the first one keeps the home again."""
        with start("--home", home, "ship", "--follow", "--token", "bearer:wrong") as follower:
            wait_until(lambda: keeper_of(home) == follower.pid)
            wait_until(lambda: not list(Home(home).requests.iterdir()))
            follower.send_signal(signal.SIGTERM)
            follower.communicate(timeout=20)
        wait_until(lambda: keeper_of(home) == without)
        assert 0 == shipped_records(home)


class TestCandidate:
    @pytest.fixture
    def denied(self, home: Path) -> Path:
        """A home whose keeper a store refuses."""
        self.mark(home, Trouble("denied", "403", time.time(), time.time() + 60))
        return home

    def mark(self, home: Path, trouble: Trouble | None) -> None:
        """What the keeper has noted of the store."""
        room = Home(home).room("logs")
        shipped.store(room.current.shipped, "store", Mark(log="l", address=ADDRESS, trouble=trouble))

    def offers(self, home: Path) -> frozenset[str]:
        """The offers that stand."""
        return requests.pending(Home(home).requests).offered

    def test_offers_once(self, denied):
        """An offer stands until it is accepted, and is then made anew while the store still refuses the keeper."""
        candidate = Candidate(Home(denied), {ADDRESS: "bearer:x"}.get)
        assert [True, False] == [candidate.offer(), candidate.offer()]
        [first] = self.offers(denied)
        pending = requests.pending(Home(denied).requests)
        assert not handover.accept(Home(denied), pending, {"another"})
        assert handover.accept(Home(denied), pending, {"store"})
        assert frozenset() == self.offers(denied)
        assert candidate.offer()
        assert {first} != self.offers(denied)
        candidate.withdraw()
        assert frozenset() == self.offers(denied)

    def test_without_a_credential(self, denied):
        """Without a credential for that very address nothing is offered."""
        assert not Candidate(Home(denied), {"http://127.0.0.1:1": "bearer:x"}.get).offer()
        assert frozenset() == self.offers(denied)

    def test_was_refused_itself(self, denied):
        """Who was refused there makes no offer for that store."""
        candidate = Candidate(Home(denied), {ADDRESS: "bearer:x"}.get)
        candidate.was_refused({"store"})
        assert not candidate.offer()

    @pytest.mark.parametrize("trouble", [None, Trouble("refused", "down", 1.0, 2.0)])
    def test_no_need(self, denied, trouble):
        """A store that is down, or well, wants no other keeper; an offer that was made before is taken back."""
        candidate = Candidate(Home(denied), {ADDRESS: "bearer:x"}.get)
        assert candidate.offer()
        self.mark(denied, trouble)
        assert not candidate.offer()
        assert frozenset() == self.offers(denied)
