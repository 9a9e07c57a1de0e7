"""ship --follow: keep a home, or wait for it, until a signal."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from ipfs_log_handlers.home import lock
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.testing import FakeDaemon
from tests.support import sample_homes
from tests.support.cli import run, start
from tests.support.logging_home import wait_until
from tests.support.programs import environment
from tests.support.sample_homes import counts

pytestmark = pytest.mark.slow  # each test starts several programs and waits for them


def wait_for_try_in_vain(process: subprocess.Popen[bytes]) -> None:
    """Return once a traced program has found the lock taken."""
    assert process.stderr is not None
    assert process.stderr.readline() == b"tried the lock in vain\n"


def wait_for_wait(process: subprocess.Popen[bytes]) -> None:
    """Return once a program says that it waits for its home."""
    assert process.stderr is not None
    assert process.stderr.readline().startswith(b"ipfs-logs: waiting for ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_follow_is_the_keeper_until_a_signal(home, daemon, number):
    """`--follow` keeps the home of a program without a keeper until a signal, then ends well."""
    home.mkdir(mode=0o700)
    with start("--home", home, "ship", "--follow", "--kubo", daemon.url) as process:
        wait_until(lambda: lock.holder(HomeDir(home)) is not None)
        with sample_homes.Writing(home, records=5) as writing:
            writing.log(range(10))
            wait_until(lambda: counts(home) == (10, 10, 10))
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, b"")
    assert len(out.splitlines()) == 2


@pytest.mark.parametrize("named", [True, False])
def test_follow_waits_for_the_home(tmp_path, daemon, named):
    """`--follow` before the first record waits for the home, does not make it, and ships what is logged later."""
    directory = tmp_path / "state" / "ipfs-logs" / "shop"
    variables = environment(XDG_STATE_HOME=str(tmp_path / "state"))
    given = ["--home", directory] if named else []
    with start(*given, "ship", "--follow", "--kubo", daemon.url, env=variables) as process:
        wait_for_wait(process)
        assert not directory.exists()
        sample_homes.log(directory, range(5), batch={"seconds": 0.2})
        wait_until(lambda: counts(directory) == (5, 5, 5))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, b"")


@pytest.mark.parametrize("named", [True, False])
def test_a_signal_ends_the_wait_for_the_home(tmp_path, named):
    """A sidecar that never saw a home ends well."""
    given = ["--home", tmp_path / "home"] if named else []
    with start(*given, "ship", "--follow", env=environment(XDG_STATE_HOME=str(tmp_path))) as process:
        wait_for_wait(process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_follow_ships_where_the_variable_says(home, daemon):
    """`--follow` obeys `IPFS_LOGS_KUBO` for as long as no program has configured a store, and then that one."""
    home.mkdir(mode=0o700)
    named = environment(IPFS_LOGS_KUBO=daemon.url)
    with FakeDaemon() as configured, start("--home", home, "ship", "--follow", env=named) as process:
        elsewhere = configured.url
        lines = (json.loads(line) for line in process.stdout or ())
        told = ((each["subsystem"], each["store"]) for each in lines)
        sample_homes.log(home, range(3), records=1)
        first = next(told)
        sample_homes.log(home, range(3), "wal", kubo=elsewhere, records=1)
        then = [next(told) for _ in range(3)]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert ("audit", daemon.url) == first
    assert ("wal", elsewhere) in then
    assert ("wal", daemon.url) not in then


def test_follow_refuses_a_variable_that_names_no_store(home):
    """A variable that names no store ends it at once, and says so."""
    home.mkdir(mode=0o700)
    ended = run("ship", "--follow", home=home, IPFS_LOGS_KUBO="foo")
    assert 2 == ended.code
    assert ended.err.startswith("ipfs-logs: error: IPFS_LOGS_KUBO: ")


def test_follow_waits_for_the_lock(home, daemon):
    """`--follow` waits while somebody else keeps the home, and a signal ends the wait."""
    sample_homes.make(home, 5)
    held = lock.take(HomeDir(home))
    assert held is not None
    with start("--home", home, "ship", "--follow", "--kubo", daemon.url, traced=True) as process:
        wait_for_try_in_vain(process)
        held.release()
        wait_until(lambda: counts(home) == (5, 5, 5))
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    held = lock.take(HomeDir(home))
    assert held is not None
    with start("--home", home, "ship", "--follow", traced=True) as process:
        wait_for_try_in_vain(process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    held.release()
    assert process.returncode == 0
