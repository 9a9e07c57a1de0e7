"""`/api/download`: what is shown, as a file."""

from __future__ import annotations

import csv
import http.client
import io
import json
import logging
import threading
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from ipfs_log_handlers.errors import StoreUnavailable
from tests.support import query_homes, sample_homes
from tests.support.serving import asked, serving, sources_of


def test_jsonl_has_every_record_in_the_order_that_was_asked_for(server, queried):
    """Each line is a record; the newest may come first."""
    answer = server.get("/api/download", format="jsonl")
    newest = server.get("/api/download", format="jsonl", order="newest")
    records = [json.loads(line) for line in answer.body.splitlines()]

    assert query_homes.records_of(queried)[0] == records[0]
    assert 150 == len(records)
    assert records == [json.loads(line) for line in newest.body.splitlines()][::-1]
    assert 'attachment; filename="records.jsonl"' == answer.headers["content-disposition"]


def test_csv_has_the_chosen_records(server):
    """The first row has the names."""
    answer = server.get("/api/download", format="csv", where="user_id=mira")
    rows = list(csv.DictReader(io.StringIO(answer.body.decode())))

    assert rows
    assert {"mira"} == {json.loads(row["fields"])["user_id"] for row in rows}
    assert answer.headers["content-type"].startswith("text/csv")


def test_a_file_that_would_be_too_long_says_so(server, monkeypatch):
    """The last line says that there are more records."""
    monkeypatch.setattr("ipfs_log_handlers.server.download.MAX_DOWNLOADED", 10)

    lines = server.get("/api/download").body.splitlines()
    rows = server.get("/api/download", format="csv", contains="login").body.splitlines()
    assert (11, {"truncated": True}) == (len(lines), json.loads(lines[-1]))
    assert b"truncated" == rows[-1]


def test_a_file_without_the_records_of_a_damaged_batch_says_so(home, monkeypatch):
    """A line behind the records names the batch; the line about further records is still the last one."""
    sample_homes.make(home, 30)
    sample_homes.damage(home, 1)
    with serving(sources_of(home)) as server:
        lines = [json.loads(line) for line in server.get("/api/download").body.splitlines()]
        rows = list(csv.reader(io.StringIO(server.get("/api/download", format="csv").body.decode())))
        monkeypatch.setattr("ipfs_log_handlers.server.download.MAX_DOWNLOADED", 15)
        cut = [json.loads(line) for line in server.get("/api/download").body.splitlines()]

    assert [*range(10), *range(20, 30)] == [line["number"] for line in lines[:-1]]
    assert [("damaged", 1)] == [(gap["kind"], gap["index"]) for gap in lines[-1]["gaps"]]
    assert ["gaps", lines[-1]["gaps"]] == [rows[-1][0], json.loads(rows[-1][1])]
    assert 22 == len(rows)
    assert (["gaps"], {"truncated": True}) == (list(cut[-2]), cut[-1])


def test_files_that_are_sent_keep_no_other_request_waiting(home, monkeypatch):
    """Two files are sent, four wait, and one more is refused; the page is answered meanwhile."""
    go_on = threading.Event()

    def nothing(*_, **__):
        assert go_on.wait(30)
        return iter(())

    monkeypatch.setattr("ipfs_log_handlers.server.download._chunks", nothing)
    sample_homes.make(home, 3)
    with serving(sources_of(home)) as server, ExitStack() as stack:
        stack.callback(go_on.set)
        asking = [stack.enter_context(closing(asked(server.port, "/api/download"))) for _ in range(6)]
        assert 200 == server.get("/healthz").status
        one_more = server.get("/api/download").status
        assert 3 == len(server.json("/api/records")["records"])
        go_on.set()
        assert [503, *[200] * 6] == [one_more, *(connection.getresponse().status for connection in asking)]


def test_an_error_after_the_first_bytes_ends_the_connection_and_is_logged(home, monkeypatch, caplog):
    """The status is sent by then: the client sees that the file is not whole, and the log of the server says why."""
    monkeypatch.setattr("ipfs_log_handlers.server.download._CHUNK_BYTES", 1)
    sample_homes.make(home, 30)
    sample_homes.damage(home, 1)
    sources = sources_of(home)

    def refuse(gap):
        raise StoreUnavailable(str(gap))

    with (
        caplog.at_level(logging.WARNING, "ipfs_log_handlers.server"),
        serving(replace(sources, open=lambda _: sources.open(refuse))) as server,
        pytest.raises((ConnectionError, http.client.IncompleteRead)),
    ):
        server.get("/api/download")

    [record] = caplog.records
    assert "a download ended before its file was whole" in record.getMessage()
    assert "damaged" in record.getMessage()


def test_a_wrong_choice_is_refused(server):
    """The forms and orders are named."""
    assert "jsonl, csv" == server.get("/api/download", format="exe").json["error"]["expected"]
    assert 400 == server.get("/api/download", order="up").status
