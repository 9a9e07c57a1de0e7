"""The live tail: each record once, across sealing, restarts of the server, and connections that are lost."""

from __future__ import annotations

import http.client
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import open_home
from ipfs_log_handlers.api import Dataset
from ipfs_log_handlers.server.hub import MAX_QUEUED_BYTES, Client
from tests.support import sample_homes
from tests.support.logging_home import wait_until
from tests.support.programs import start
from tests.support.serving import serving, sources_of

LOGGING = """
configure(keeper="thread", batch={"records": 20, "seconds": 1})
for number in range(400):
    log.info("did", extra={"number": number})
    if number % 10 == 0: time.sleep(0.01)
"""


def _numbers(records: list[dict[str, Any]]) -> list[int]:
    return [item["record"]["number"] for item in records]


def test_new_records_come_to_every_client_that_wants_them(home):
    """A record comes to each tail whose filter takes it, once, also when the keeper seals it and a subsystem begins."""
    sample_homes.make(home, 5)
    with serving(sources_of(home)) as server, server.tail() as every, server.tail(level="warning") as some:
        assert ["ready", "ready"] == [every.next().name, some.next().name]
        sample_homes.log(home, range(5, 15))
        sample_homes.seal(home)
        sample_homes.log(home, range(15, 25), "wal")
        shown = every.until(lambda records: len(records) >= 20)
        chosen = some.until(lambda records: len(records) >= 10)

    assert list(range(5, 25)) == sorted(_numbers(shown))
    assert list(range(5, 25, 2)) == sorted(_numbers(chosen))
    assert {("spool", None, None)} == {(item["state"], item["batch"], item["number"]) for item in shown}
    assert len({item["id"] for item in shown}) == 20


def test_a_restart_of_the_server_loses_no_record(home):
    """A client goes on with `Last-Event-ID` at the next server: it gets what was logged meanwhile, nothing twice."""
    sample_homes.make(home, 5)
    with serving(sources_of(home)) as server, server.tail() as tail:
        assert tail.next().name == "ready"
        sample_homes.log(home, range(5, 10))
        first = tail.until(lambda records: len(records) >= 5)
        cursor = tail.cursor
    sample_homes.log(home, range(10, 30))
    sample_homes.seal(home)
    sample_homes.end(home)
    sample_homes.log(home, range(30, 35))
    with serving(sources_of(home)) as server, server.tail(cursor) as tail:
        missed = tail.until(lambda records: len(records) >= 25)
        sample_homes.log(home, range(35, 40))
        after = tail.until(lambda records: len(records) >= 5)
    with serving(sources_of(home)) as server, server.tail(cursor=tail.cursor) as tail:
        assert tail.next().name == "ready"
        sample_homes.log(home, range(40, 41))
        last = tail.until(lambda records: records)

    assert list(range(5, 41)) == sorted(_numbers([*first, *missed, *after, *last]))


def test_clients_that_come_back_all_the_time_get_every_record_once(home):
    """While a program logs and its keeper seals, connections are cut after each event, and no record is lost."""
    program = start(home, LOGGING)
    wait_until(lambda: list(home.glob("*/spool/*.seg")))
    collected: dict[int, list[str]] = {0: [], 1: []}
    try:
        with serving(sources_of(home)) as server:
            cursors: dict[int, str | None] = {0: "[{}]", 1: "[{}]"}
            while min(map(len, collected.values())) < 400:
                for client, ids in collected.items():
                    with server.tail(cursors[client]) as tail:
                        while len(ids) < 400 and (event := tail.next()).name != "":
                            if event.name == "records":
                                ids += [item["id"] for item in event.data["records"]]
                                break
                        cursors[client] = tail.cursor
    finally:
        program.communicate(timeout=30)
    assert [400, 400] == [len(ids) for ids in collected.values()]
    assert [400, 400] == [len(set(ids)) for ids in collected.values()]


def test_a_tail_says_that_the_server_stops(home):
    """The stream ends with a reason, and the server does not wait for its clients."""
    sample_homes.make(home, 1)
    with ExitStack() as stack:
        with serving(sources_of(home)) as server:
            tail = stack.enter_context(server.tail())
            assert tail.next().name == "ready"
        end = tail.next()
    assert (end.name, end.data) == ("end", {"reason": "the server stops"})


def test_a_fault_of_the_server_is_logged_and_its_text_is_told_to_nobody(home, monkeypatch, caplog):
    """Clients are told that the tail ends because of a fault; the log of the server has the fault itself."""

    def fail(*_: object, **__: object) -> str:
        raise KeyError("a secret of the program")

    sample_homes.make(home, 1)
    with serving(sources_of(home)) as server, server.tail() as tail:
        assert tail.next().name == "ready"
        monkeypatch.setattr("ipfs_log_handlers.server.hub.new_item", fail)
        sample_homes.log(home, range(1, 2))
        end = tail.next()

    assert ("end", {"reason": "the records cannot be followed: a fault of the server"}) == (end.name, end.data)
    [record] = caplog.records
    assert "a secret of the program" in str(record.exc_info)


def test_a_car_file_cannot_be_followed(home, tmp_path):
    """What does not change has no tail: 409, before any stream, and the page is told beforehand."""
    sample_homes.make(home, 3)
    open_home(home).export_car(tmp_path / "log.car")
    with serving(sources_of(others=[tmp_path / "log.car"])) as server:
        answer = server.get("/api/tail")
        about = server.json("/api/about")
        again = server.get("/api/tail", cursor="[{}]")

    assert (409, 409) == (answer.status, again.status)
    assert (False, False) == (about["live"], about["home"])


def test_a_visit_of_the_page_opens_no_follower(home, monkeypatch):
    """Whether the sources can be followed is found out once; the subsystems are those of now."""
    opened: list[Dataset] = []
    real = Dataset.follow

    def follow(dataset: Dataset, *given: Any, **named: Any) -> Any:
        opened.append(dataset)
        return real(dataset, *given, **named)

    monkeypatch.setattr(Dataset, "follow", follow)
    sample_homes.make(home, 3)
    with serving(sources_of(home)) as server:
        first = server.json("/api/about")
        sample_homes.make(home, 3, "wal")
        second = server.json("/api/about")

    assert ([True, True], 1) == ([first["live"], second["live"]], len(opened))
    assert (["audit"], ["audit", "wal"]) == (first["subsystems"], second["subsystems"])


@pytest.mark.parametrize("cursor", ["x", "[]", "[{}, {}]", '[{"audit": "x"}]', "[" * 5000])
def test_a_malformed_cursor_is_refused(server, cursor):
    """It is a 400 before any stream."""
    assert 400 == server.get("/api/tail", cursor=cursor).status
    assert 400 == server.get("/api/tail", until="1h").status


def test_one_client_too_many_is_refused(home, monkeypatch):
    """503, and those that are there go on; a place is free again when one of them goes."""
    monkeypatch.setattr("ipfs_log_handlers.server.tail.MAX_CLIENTS", 1)
    sample_homes.make(home, 1)
    with serving(sources_of(home)) as server:
        with server.tail() as tail:
            assert tail.next().name == "ready"
            assert 503 == server.get("/api/tail").status
        while (again := server.tail()).status == 503:
            again.close()
        again.close()


@pytest.mark.slow
def test_a_client_that_takes_nothing_is_dropped(home, monkeypatch):
    """It is closed after its time, and does not keep the server from serving others."""
    monkeypatch.setattr("ipfs_log_handlers.server.tail._CLIENT_S", 2.0)
    with serving(sources_of(home_with_one(home))) as server, server.tail() as slow, server.tail() as quick:
        assert ["ready", "ready"] == [slow.next().name, quick.next().name]
        with sample_homes.Writing(home) as writing:
            for number in range(3000):
                writing.handler.handle(sample_homes.record(number, text="x" * 9000))
                if number % 25 == 0:
                    quick.until(lambda records: records)
        with pytest.raises((ConnectionError, http.client.IncompleteRead)):
            slow.until(lambda records: len(records) > 5000)


def home_with_one(home: Path) -> Path:
    """Make a home with one record."""
    sample_homes.make(home, 1)
    return home


def test_records_that_a_client_is_too_slow_for_are_counted():
    """What waits for a client is bounded; the count of what is left out is told."""
    client = Client(lambda _: True)
    text = "x" * (MAX_QUEUED_BYTES // 4)
    for number in range(10):
        client.put([text], str(number))

    assert 6 == client.skipped
    taken = []
    while (waiting := client.take()) is not None:
        taken.append(waiting[1])
    assert ["0", "1", "2", "3"] == taken
    client.put([text], "10")
    assert client.take() == ([text], "10")


def test_a_quiet_tail_sends_comments(home, monkeypatch):
    """So a proxy keeps the connection, and a client that has gone is noticed."""
    monkeypatch.setattr("ipfs_log_handlers.server.tail._QUIET_S", 0.05)
    with serving(sources_of(home_with_one(home))) as server, server.tail() as tail:
        assert tail.next().name == "ready"
        assert b":\n" == tail._answer.readline()


def test_a_damaged_batch_is_told_as_a_gap(home):
    """A client that goes on over a damaged batch is told which one it did not get."""
    sample_homes.make(home, 30)
    sample_homes.damage(home, 1)
    with serving(sources_of(home)) as server, server.tail("[{}]") as tail:
        events = [tail.next()]
        while events[-1].name != "gap":
            events.append(tail.next())

    assert ("damaged", 1) == (events[-1].data["kind"], events[-1].data["index"])
