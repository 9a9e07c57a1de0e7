"""OpenMetrics tells what status tells, in text that somebody else's parser accepts; and both do without a daemon."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.home import delivery_state, lock
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.delivery_state import DeliveryState, LastError
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.monitoring import openmetrics
from tests.support import programs, sample_homes
from tests.support.cli import run
from tests.support.sample_homes import status

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
ONE: dict[str, Any] = {
    "subsystem": "audit", "durable": 30, "sealed": 20, "shipped": 10, "dropped": {"ENOSPC": 3, "the spool is full": 4},
    "quarantined": 1, "set_aside": 2, "spool_bytes": 4096, "store_bytes": 8192, "bounded_bytes": 5000,
    "max_spool_bytes": 100_000, "oldest_unshipped": 12.5,
    "head": "bafyhead", "keeper": {"host": "box", "pid": 7}, "last_error": 'no "answer"\\\n', "incomplete": 5,
    "archives_waiting": 6, "warnings": ["one", "two"], "failures": {"OSError at exit": 7},
    "next_retry": "2026-01-02T03:04:05.500000Z",
    "pins": [
        {"service": "remote:x", "pinned": 8, "waiting": 3, "last_error": "no", "next_retry": "2026-01-02T03:04:06Z"},
        {"service": "remote:y", "pinned": 10, "waiting": 0, "last_error": None, "next_retry": None},
    ],
    "published": 8,
    "name": {"name": "k51", "cid": "bafyhome", "age": 2.5, "until": "2026-01-04T03:04:05.500000Z", "last_error": None,
             "next_retry": None},
}  # fmt: skip


def parsed(text: str) -> Samples:
    """Every sample, by name and labels, as the reference parser reads them; it raises at what is against the rules."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation.endswith(".")
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def of(found: Samples, name: str, **labels: str) -> float:
    """One sample of the subsystem audit, or of the home."""
    return found[name, tuple(sorted(labels.items()))]


def test_every_key_of_a_status_is_a_sample():
    """Each counter, gauge and text of a status is a sample with its unit, and nothing else is there."""
    found = parsed(openmetrics.render([ONE]))
    audit = {"subsystem": "audit"}
    assert (30, 20, 10, 5) == tuple(
        of(found, f"ipfs_logs_{name}_records_total", **audit) for name in ("durable", "sealed", "shipped", "incomplete")
    )
    assert 3 == of(found, "ipfs_logs_dropped_records_total", reason="ENOSPC", **audit)
    assert 4 == of(found, "ipfs_logs_dropped_records_total", reason="the spool is full", **audit)
    assert (1, 2) == (
        of(found, "ipfs_logs_quarantined_pieces", **audit),
        of(found, "ipfs_logs_set_aside_batches", **audit),
    )
    assert (4096, 8192) == (of(found, "ipfs_logs_spool_bytes", **audit), of(found, "ipfs_logs_store_bytes", **audit))
    assert (5000, 100_000) == tuple(of(found, f"ipfs_logs_{name}_bytes", **audit) for name in ("bounded", "max_spool"))
    assert 12.5 == of(found, "ipfs_logs_oldest_unshipped_seconds", **audit)
    assert (1, 1) == (of(found, "ipfs_logs_failing", **audit), of(found, "ipfs_logs_keeper_alive"))
    assert 1 == of(found, "ipfs_logs_last_error_info", message='no "answer"\\\n', **audit)
    assert 1767323045.5 == of(found, "ipfs_logs_next_retry_timestamp_seconds", **audit)
    assert 1 == of(found, "ipfs_logs_keeper_info", host="box", pid="7")
    assert (6, 2) == (of(found, "ipfs_logs_waiting_archives", **audit), of(found, "ipfs_logs_warnings", **audit))
    assert 7 == of(found, "ipfs_logs_failures_total", what="OSError at exit")
    x, y = ({**audit, "service": service} for service in ("remote:x", "remote:y"))
    assert [(8, 3, 1), (10, 0, 0)] == [
        tuple(
            of(found, f"ipfs_logs_{name}", **labels)
            for name in ("pinned_records", "pin_waiting_batches", "pin_failing")
        )
        for labels in (x, y)
    ]
    assert 1767323046 == of(found, "ipfs_logs_pin_next_retry_timestamp_seconds", **x)
    assert 8 == of(found, "ipfs_logs_published_records_total", **audit)
    assert (2.5, 0) == (of(found, "ipfs_logs_published_age_seconds"), of(found, "ipfs_logs_publish_failing"))
    assert 31 == len(found)


def test_a_healthy_home_has_no_samples_of_errors():
    """Without trouble, keeper or drops the samples of these are 0 or not there; `None` as an age is 0."""
    calm = {**ONE, "dropped": {}, "keeper": None, "last_error": None, "next_retry": None, "oldest_unshipped": None}
    del calm["incomplete"], calm["failures"]
    found = parsed(openmetrics.render([calm]))
    assert 0 == of(found, "ipfs_logs_failing", subsystem="audit") == of(found, "ipfs_logs_keeper_alive")
    assert 0 == of(found, "ipfs_logs_oldest_unshipped_seconds", subsystem="audit")
    names = {name for name, _ in found}
    unpublished = parsed(openmetrics.render([{**calm, "published": 0, "name": None}]))
    assert not {"ipfs_logs_published_age_seconds", "ipfs_logs_publish_failing"} & {name for name, _ in unpublished}
    failed = parsed(openmetrics.render([{**calm, "name": {**ONE["name"], "age": None, "last_error": "no routing"}}]))
    assert 1 == of(failed, "ipfs_logs_publish_failing")
    assert not names & {
        "ipfs_logs_dropped_records_total", "ipfs_logs_incomplete_records_total", "ipfs_logs_last_error_info",
        "ipfs_logs_keeper_info", "ipfs_logs_failures_total", "ipfs_logs_next_retry_timestamp_seconds",
    }  # fmt: skip


def test_samples_of_a_family_stay_together():
    """Two subsystems: each family is written once, its samples together, one keeper for the home."""
    text = openmetrics.render([ONE, {**ONE, "subsystem": "wal"}])
    assert 2 * 31 - 5 == len(parsed(text))
    names = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert [family.name for family in openmetrics.FAMILIES] == names


def test_a_home_without_a_subsystem_is_valid_text():
    """A home without a subsystem is the end of the text alone."""
    assert "# EOF\n" == openmetrics.render([])
    assert {} == parsed("# EOF\n")


@pytest.mark.parametrize("text", ["a\ud800b", "x" * 5000, "\x1b[2J\r\0", '\\"\\n\n"'])
def test_any_text_of_an_error_gives_valid_text(text):
    """Whatever a reason or an error holds, the text stays one that can be encoded and parsed."""
    made = openmetrics.render([{**ONE, "last_error": text, "dropped": {text[:64]: 1}}])
    assert 31 - 1 == len(parsed(made.encode().decode()))


def test_the_verb_prints_the_same_numbers_as_json(home):
    """`status -o openmetrics` prints the same numbers as `-o json`, and ends as the format wants it."""
    sample_homes.make(home, 25)
    sample_homes.log(home, range(5), kubo="memory:verb")
    ended = run("status", "-o", "openmetrics", home=home)
    assert (0, "") == (ended.code, ended.err)
    assert ended.out.endswith("\n# EOF\n")
    found, (told,) = parsed(ended.out), run("status", "-o", "json", home=home).objects
    for name in ("durable", "sealed", "shipped"):
        assert told[name] == of(found, f"ipfs_logs_{name}_records_total", subsystem="audit")
    assert (30, 25, 0) == (told["durable"], told["sealed"], told["shipped"])
    assert told["spool_bytes"] == of(found, "ipfs_logs_spool_bytes", subsystem="audit") > 0


def test_no_other_verb_has_this_form(home):
    """No other verb knows this form."""
    sample_homes.make(home, 3)
    assert 2 == run("ls", "-o", "openmetrics", home=home).code


def test_a_handler_gives_the_same_and_what_its_process_knows(home):
    """`render(handler.status())` is what a program serves of itself; it adds what only the process knows."""
    handler = IPFSHandler("audit", home=home, keeper="none")
    handler.handle(sample_homes.record(1, event="audit.event"))
    found = parsed(openmetrics.render(handler.status()))
    handler.close()
    assert 1 == of(found, "ipfs_logs_durable_records_total", subsystem="audit")
    assert 1 == of(found, "ipfs_logs_incomplete_records_total", subsystem="audit")
    assert 0 == of(found, "ipfs_logs_keeper_alive")


def test_escape_sequences_in_errors_reach_no_terminal(home):
    """An error of a store and a host name with escape sequences are shown, not obeyed, in each form of output."""
    sample_homes.make(home, 10, kubo="memory:evil")
    name = Batches(sample_homes.subsystem_dir(home).current.batches).facts(0).manifest.log
    trouble = LastError("unreachable", "\x1b]0;pwned\x07 \x9b2J down", 1.0, 2.0)
    where = sample_homes.subsystem_dir(home).current.shipped
    delivery_state.store(where, "x", DeliveryState(log=name, address="memory:evil", last_error=trouble))
    held = lock.take(HomeDir(home))
    assert held is not None
    HomeDir(home).lock.write_text('{"host": "\\u001b[31mbox", "pid": 7}')
    try:
        for form in ("text", "json", "openmetrics"):
            out = run("status", "-o", form, home=home).out
            assert "pwned" in out
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", out)
    finally:
        held.release()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["down", "silent"])
def test_health_during_an_outage_needs_no_daemon(home, kubo_daemon, how):
    """While the daemon is down or silent, a running program and the verb beside it tell what is kept and what fails."""
    daemon = kubo_daemon()
    daemon.stop() if how == "down" else daemon.suspend()
    body = """
        configure(kubo=KUBO, flush_timeout=1.0, batch={"records": 10, "seconds": 0.1})
        for i in range(50): log.info("r%d", i)
        [h] = logging.getLogger().handlers
        h.flush()
        print(json.dumps(h.status()), flush=True)
        sys.stdin.read()
    """
    process = programs.start(home, body, KUBO=daemon.url)
    assert process.stdout is not None
    try:
        own = process.stdout.readline()
        until = time.monotonic() + 60
        while not (found := _seen(home))[1] and time.monotonic() < until:
            time.sleep(0.1)
    finally:
        process.kill()
        process.communicate()
    assert '"durable": 50' in own
    samples, failing = found
    assert failing
    assert (50, 0) == tuple(
        of(samples, f"ipfs_logs_{each}_records_total", subsystem="logs") for each in ("durable", "shipped")
    )
    assert of(samples, "ipfs_logs_oldest_unshipped_seconds", subsystem="logs") > 0
    assert 1 == of(samples, "ipfs_logs_keeper_alive")
    assert of(samples, "ipfs_logs_next_retry_timestamp_seconds", subsystem="logs") > time.time() - 120
    assert str(process.pid) in {dict(labels).get("pid") for _, labels in samples}


def _seen(home: Path) -> tuple[Samples, bool]:
    """Return the metrics that the command prints, and whether they show an error."""
    found = parsed(run("status", "-o", "openmetrics", home=home).out)
    return found, found.get(("ipfs_logs_failing", (("subsystem", "logs"),))) == 1


def test_status_of_the_home_alone_says_that_no_keeper_runs(home):
    """Where nobody keeps the home, the keeper is null and its sample 0: the first thing to alert on."""
    sample_homes.log(home, range(3))
    assert status(home)[0]["keeper"] is None
    assert 0 == of(parsed(openmetrics.render(status(home))), "ipfs_logs_keeper_alive")
