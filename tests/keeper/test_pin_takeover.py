"""A keeper that a pin service refuses gives the lock to a process with the credential, for one command or for good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.home import delivery_state, lock
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.testing import FakeKubo
from tests.support import programs
from tests.support.cli import run
from tests.support.logging_home import wait_until
from tests.support.pin_services import FakeCluster

pytestmark = pytest.mark.slow  # each test waits for several programs

PROGRAM = """
    configure(kubo=KUBO, pins=PINS, pins_token=TOKEN, replicas=2, flush_timeout=0.1, batch={"records": 1})
    for line in sys.stdin: log.info("%s", line.strip())
"""


@pytest.fixture
def store() -> Iterator[FakeKubo]:
    """Serve a daemon that takes everything."""
    with FakeKubo() as running:
        yield running


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    """Serve a cluster that requires a credential."""
    with FakeCluster(token="Bearer right") as running:
        yield running


@pytest.fixture
def without(home: Path, store: FakeKubo, cluster: FakeCluster) -> Iterator[int]:
    """Start a keeper without the credential, wait until the cluster has refused it, and return its pid."""
    address = f"http://127.0.0.1:{store.port}"
    with programs.start(home, PROGRAM, KUBO=address, PINS=cluster.address, TOKEN=None) as program:
        say(program, "one")
        wait_until(lambda: "denied" in error_kinds(home))
        yield program.pid
        program.communicate(timeout=20)


def say(program: Any, event: str) -> None:
    """Let a program log."""
    program.stdin.write(f"{event}\n")
    program.stdin.flush()


def error_kinds(home: Path) -> set[str]:
    """Return the kinds of the errors that are written down."""
    states = delivery_state.load_all(HomeDir(home).subsystem_dir("logs").current.shipped).values()
    return {state.last_error.kind for state in states if state.last_error is not None}


def keeper_of(home: Path) -> int | None:
    """Return the pid of the keeper."""
    holder = lock.holder(HomeDir(home))
    return None if holder is None else holder["pid"]


@pytest.mark.usefixtures("without")
def test_one_command_with_the_credential(home: Path, store: FakeKubo, cluster: FakeCluster) -> None:
    """`ship --pins-token` takes over, gets the copy, and leaves; the credential is written nowhere."""
    options = ("--kubo", f"http://127.0.0.1:{store.port}", "--pin", cluster.address)
    ended = run("ship", *options, "--pins-token", "bearer:right", home=home)
    assert 0 == ended.code
    assert [cluster.address] == [each["store"] for each in ended.objects if each["store"].startswith("cluster")]
    assert 2 == len(cluster.pinned())  # the manifest and the head block
    assert b"bearer:right" not in b"".join(each.read_bytes() for each in home.rglob("*") if each.is_file())
    assert [] == list(HomeDir(home).requests.iterdir())


def test_the_first_program_is_the_keeper_again(home: Path, store: FakeKubo, cluster: FakeCluster, without: int) -> None:
    """After the command the lock goes back to the program that logs, which is refused again and goes on."""
    options = ("--kubo", f"http://127.0.0.1:{store.port}", "--pin", cluster.address)
    assert 0 == run("ship", *options, "--pins-token", "bearer:right", home=home).code
    wait_until(lambda: keeper_of(home) == without)


def test_a_program_with_the_credential(home: Path, store: FakeKubo, cluster: FakeCluster, without: int) -> None:
    """A second program of the same home takes over for good, and what the first has logged gets its copy."""
    address = f"http://127.0.0.1:{store.port}"
    with programs.start(home, PROGRAM, KUBO=address, PINS=cluster.address, TOKEN="bearer:right") as program:
        say(program, "two")
        wait_until(lambda: len(cluster.pinned()) >= 3)
        assert program.pid == keeper_of(home) != without
        program.communicate(timeout=20)


def test_a_wrong_credential_leaves_it_as_it_was(
    home: Path, store: FakeKubo, cluster: FakeCluster, without: int
) -> None:
    """The command is refused too: exit code 4, and the program is the keeper again."""
    options = ("--kubo", f"http://127.0.0.1:{store.port}", "--pin", cluster.address, "--timeout", "3")
    ended = run("ship", *options, "--pins-token", "bearer:wrong", home=home)
    assert 4 == ended.code
    assert "unauthorized" in ended.err
    assert [] == cluster.pinned()
    wait_until(lambda: keeper_of(home) == without)
