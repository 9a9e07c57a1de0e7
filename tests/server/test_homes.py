"""Logs, batches, the health of a home, and its metrics."""

from __future__ import annotations

import shutil
import threading
from contextlib import ExitStack, closing

from ipfs_log_handlers import open_home
from ipfs_log_handlers.server.work import Work
from tests.support import sample_homes
from tests.support.serving import asked, serving, sources_of


def test_the_logs_are_verified_and_compared_with_what_was_seen(home, tmp_path, monkeypatch):
    """The first look remembers each head; a home that was set back to an older copy is found at the next look."""
    monkeypatch.setattr("ipfs_log_handlers.server.homes._KEPT_S", -1.0)
    sample_homes.make(home, 30)
    shutil.copytree(home, tmp_path / "copy", symlinks=True)
    with serving(sources_of(home)) as server:
        (first,) = server.json("/api/logs")["logs"]
        sample_homes.log(home, range(30, 45))
        sample_homes.seal(home)
        (second,) = server.json("/api/logs")["logs"]
        shutil.rmtree(home)
        shutil.copytree(tmp_path / "copy", home, symlinks=True)
        (third,) = server.json("/api/logs")["logs"]
        (unchecked,) = server.json("/api/logs", verify="false")["logs"]

    assert (3, 30, "ok", None) == (first["batches"], first["records"], first["result"], first["seen"])
    assert (5, "ok", {"size": 3, "consistent": True}) == (second["batches"], second["result"], second["seen"])
    assert third["result"] != "ok"
    assert third["problems"]
    assert (3, None) == (unchecked["batches"], unchecked["result"])
    assert sample_homes.head_of(home) == unchecked["head"]


def test_a_dear_answer_is_made_once_at_a_time(home, monkeypatch):
    """Clients that go while the logs are verified begin no second check; those that wait are counted."""
    go_on, begun = threading.Event(), threading.Semaphore(0)
    made: list[str] = []

    def logs(reading, *, verify):
        made.append("begun")
        begun.release()
        assert go_on.wait(30)
        made.append("ended")
        return {"logs": []}

    monkeypatch.setattr("ipfs_log_handlers.server.homes._logs", logs)
    monkeypatch.setitem(Work.__init__.__kwdefaults__, "waiting", 3)
    sample_homes.make(home, 3)
    with serving(sources_of(home)) as server, ExitStack() as stack:
        stack.callback(go_on.set)
        with closing(asked(server.port, "/api/logs")):
            assert begun.acquire(timeout=30)
        assert 200 == server.get("/healthz").status
        others = [stack.enter_context(closing(asked(server.port, "/api/logs"))) for _ in range(4)]
        assert 200 == server.get("/healthz").status
        refused = server.get("/api/logs").status
        go_on.set()
        assert [503, *[200] * 4] == [refused, *(connection.getresponse().status for connection in others)]

    assert ["begun", "ended"] == made


def test_batches_are_listed_newest_first(server, queried):
    """Each has the keys of `ls`; a page goes on below a number of a log."""
    expected = [batch.as_json() for batch in open_home(queried).batches()]
    answer = server.json("/api/batches", limit=1000)
    audit = server.json("/api/batches", subsystem="audit", limit=2)
    rest = server.json("/api/batches", log=audit["batches"][0]["log"], before=audit["batches"][1]["index"])

    assert sorted(map(str, expected)) == sorted(map(str, answer["batches"]))
    lasts = [batch["last"] for batch in answer["batches"]]
    assert sorted(lasts, reverse=True) == lasts
    assert (False, True, 2) == (answer["more"], audit["more"], len(audit["batches"]))
    total = sum(batch["subsystem"] == "audit" for batch in expected)
    assert total - 2 == len(rest["batches"])
    assert 400 == server.get("/api/batches", before=3).status


def test_a_batch_that_cannot_be_listed_is_said(home, monkeypatch):
    """The others are listed; so many errors are answered, and the number of the rest."""
    sample_homes.make(home, 30)
    for index in (0, 1):
        sample_homes.cut_off(home, index)
    with serving(sources_of(home)) as server:
        answer = server.json("/api/batches")
        monkeypatch.setattr("ipfs_log_handlers.server.homes._MAX_PROBLEMS", 1)
        fewer = server.json("/api/batches")

    assert [2] == [batch["index"] for batch in answer["batches"]]
    assert 2 == len(answer["problems"])
    assert [answer["problems"][0], "and 1 more"] == fewer["problems"]


def test_a_car_file_has_logs_and_batches_and_no_health(home, tmp_path):
    """What no index says is `null`; routes of a home are missing."""
    sample_homes.make(home, 25)
    open_home(home).export_car(tmp_path / "log.car")
    with serving(sources_of(others=[tmp_path / "log.car"], keys=[sample_homes.key_of(home)])) as server:
        (log,) = server.json("/api/logs")["logs"]
        batches = server.json("/api/batches")["batches"]
        health, metrics = server.get("/api/health"), server.get("/metrics")

    assert (3, 25, "ok", "given") == (log["batches"], log["records"], log["result"], log["trust"])
    assert [2, 1, 0] == [batch["index"] for batch in batches]
    assert (404, 404) == (health.status, metrics.status)


def test_health_is_status_and_doctor(server, queried):
    """The same objects as the command line prints."""
    answer = server.json("/api/health")
    quick = server.json("/api/health", checks="false")

    expected = [status.as_json() for status in open_home(queried).status()]
    assert [status["subsystem"] for status in expected] == [status["subsystem"] for status in answer["subsystems"]]
    assert [status["durable"] for status in expected] == [status["durable"] for status in answer["subsystems"]]
    assert {"home", "key", "space"} <= {check["check"] for check in answer["checks"]}
    assert None is quick["checks"]
    assert None is answer["keeper"]


def test_metrics_are_the_openmetrics_text(server, queried):
    """The text that `ipfs-logs status --openmetrics` prints, with its content type."""
    answer = server.get("/metrics")

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert open_home(queried).openmetrics().encode() == answer.body


def test_two_homes_are_one_dataset(home, tmp_path):
    """Records of both are merged; each object of health names its home; metrics are those of one home."""
    sample_homes.make(home, 5)
    sample_homes.make(tmp_path / "other", 5, "wal")
    with serving(sources_of(home, tmp_path / "other")) as server:
        records = server.json("/api/records")["records"]
        health = server.json("/api/health", checks="false")
        metrics = server.get("/metrics")

    assert 10 == len(records)
    assert {str(home), str(tmp_path / "other")} == {status["home"] for status in health["subsystems"]}
    assert 409 == metrics.status
