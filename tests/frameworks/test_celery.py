"""Celery with prefork workers and a directory as its broker."""

from __future__ import annotations

from pathlib import Path

from tests.support import celery_children, oracle
from tests.support.framework_programs import Program, exactly_once, read_back


def test_every_task_of_prefork_children_is_kept_once(home: Path, tmp_path: Path) -> None:
    """Tasks in worker processes that end after five: each record once; the main process seals for those that ended."""
    queue = str(tmp_path / "queue")
    options = ("--concurrency", 2, "--max-tasks-per-child", 5, "--without-gossip", "--without-mingle")
    include = ("--include", celery_children.__name__)  # without it, Celery itself sometimes does not end
    with Program(home, "celery_app.py", 20, SHOP_QUEUE=queue) as sender:
        sender.end()
    with Program(home, "-m", "celery", "-A", "celery_app", "worker", *options, *include, SHOP_QUEUE=queue) as worker:
        worker.wait_until(lambda: 20 == worker.printed.count("succeeded in"))
        worker.stop()

    records = read_back(home)
    exactly_once(range(20), records)
    children = {record["pid"] for record in records if record["event"] == "order placed"}
    assert 4 <= len(children)
    assert worker.process.pid not in children
    assert 20 == len([record for record in records if record["logger"] == "celery.app.trace"])
    assert 20 == len([record for record in records if record["logger"] == "celery.worker.strategy"])
    assert [] == oracle.spooled(home)
