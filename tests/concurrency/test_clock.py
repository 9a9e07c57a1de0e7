"""Deadlines and pauses go on while a test holds the time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ipfs_log_handlers.concurrency import clock
from tests.support import programs


def test_the_clocks_are_those_of_the_time_module() -> None:
    """They show the same as `time` does, and are other functions, which nobody can find by comparing."""
    assert clock.monotonic() == pytest.approx(time.monotonic(), abs=1)
    assert clock.wall() == pytest.approx(time.time(), abs=1)
    assert clock.monotonic is not time.monotonic
    assert clock.wall is not time.time


FREEZERS = {
    "freezegun": "from freezegun import freeze_time as held",
    "time-machine": "import time_machine; held = lambda moment: time_machine.travel(moment, tick=False)",
}


@pytest.mark.parametrize("freezer", FREEZERS.values(), ids=FREEZERS)
@pytest.mark.parametrize("imported", ["before", "while the time is held"])
@pytest.mark.parametrize("moment", ["2001-02-03", "2038-02-03"])
@pytest.mark.parametrize("store", ["silent", "there"])
def test_a_flush_under_a_held_clock_keeps_its_deadline(
    home: Path, kubo, freezer: str, imported: str, moment: str, store: str
) -> None:
    """Pitfall 63: beside a silent daemon a flush waits for `flush_timeout`, else until all is shipped."""
    body = f"""
        import socket, subprocess
        silent = socket.socket(); silent.bind(("127.0.0.1", 0)); silent.listen(50)
        if STORE == "silent": KUBO = f"http://127.0.0.1:{{silent.getsockname()[1]}}"
        real = time.monotonic
        {freezer}
        if IMPORTED == "before": configure(kubo=KUBO, flush_timeout=FLUSH_S); log.info("real")
        with held("{moment}"):
            if IMPORTED != "before": configure(kubo=KUBO, flush_timeout=FLUSH_S)
            log.info("held")
            [h] = logging.getLogger().handlers
            begun = real(); h.flush(); print(real() - begun, flush=True)
            print(h.status()[0]["shipped"])
        logging.shutdown()
        os._exit(0)
    """

    flush_s = 2.0 if store == "silent" else 30.0  # a busy machine needs its time until all is shipped
    names = {"KUBO": kubo.url, "IMPORTED": imported, "STORE": store}
    ended = programs.run(home, body, deadline_s=60.0, FLUSH_S=flush_s, **names).clean()

    took, shipped = ended.out.split()
    records = 1 + (imported == "before")
    assert (0 if store == "silent" else records) == int(shipped)
    assert float(took) < flush_s + 2.0
    times = {record["event"]: record["time"] for record in programs.adopted(home)}
    assert times["held"].startswith(moment)  # what a record says of its time is the time that the test set


def test_a_keeper_that_began_under_a_held_clock_goes_on_afterwards(home: Path) -> None:
    """The time is held for a moment only: batches of the program are sealed by their age, before and after."""
    body = """
        from freezegun import freeze_time
        with freeze_time("2001-02-03"):
            configure(batch={"seconds": 0.2})
            log.info("held")
            [h] = logging.getLogger().handlers
            while h.status()[0]["sealed"] < 1: time.sleep(0.01)
        log.info("real")
        while h.status()[0]["sealed"] < 2: time.sleep(0.01)
        os._exit(0)
    """

    programs.run(home, body, deadline_s=60).clean()


MOCKS = {
    "the clock stands still": "mock.patch('time.monotonic', return_value=1.0)",
    "the time of day stands still": "mock.patch('time.time', return_value=981158400.0)",
    "sleep returns at once": "mock.patch('time.sleep')",
    "sleep raises": "mock.patch('time.sleep', side_effect=AssertionError)",
}


@pytest.mark.parametrize("patch", MOCKS.values(), ids=MOCKS)
def test_a_flush_ends_at_its_deadline_whatever_is_mocked(home: Path, patch: str) -> None:
    """Pitfall 63: tests replace functions of `time`; the store is silent, so that only the deadline ends the flush."""
    body = f"""
        import socket
        from unittest import mock
        silent = socket.socket(); silent.bind(("127.0.0.1", 0)); silent.listen(50)
        configure(kubo=f"http://127.0.0.1:{{silent.getsockname()[1]}}", flush_timeout=1.0)
        [h] = logging.getLogger().handlers
        real, used = time.monotonic, time.process_time
        with {patch}:
            log.info("mocked")
            begun, cpu = real(), used(); h.flush(); print(real() - begun, used() - cpu, flush=True)
        os._exit(0)
    """

    ended = programs.run(home, body, deadline_s=30).clean()

    seconds, cpu_seconds = map(float, ended.out.split())
    assert 0.9 < seconds < 10
    assert cpu_seconds < 0.9  # it slept, and did not spin
    assert ["mocked"] == [record["event"] for record in programs.adopted(home)]


def test_a_home_is_shipped_from_python_under_a_held_clock(home: Path, kubo) -> None:
    """`open_home(…).ship` runs an event loop, and verifies, on a thread where the time stands still."""
    body = """
        from freezegun import freeze_time
        from ipfs_log_handlers import open_home
        configure(keeper="none", kubo=KUBO)
        with freeze_time("2020-01-01"):
            log.info("held")
            logging.shutdown()
            opened = open_home(HOME)
            result = opened.ship(timeout=20)
            print(result.shipped, result.unshipped, [report.ok for report in opened.verify()])
    """

    ended = programs.run(home, body, KUBO=kubo.url, deadline_s=60).clean()

    assert ended.out == "1 0 [True]\n"
