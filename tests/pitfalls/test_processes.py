"""Forks, workers without threads, containers: many processes and one home."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace

from ipfs_log_handlers.home import segments
from tests.support import logging_home, oracle, programs


def test_where_threads_never_run(home, kubo):
    """Pitfall 13: `Thread.start` does nothing: records are durable, status names no keeper, the next start delivers."""
    body = """
        threading.Thread.start = lambda self: None
        configure(kubo=KUBO)
        for i in range(100): log.info("r%d", i)
        [h] = logging.getLogger().handlers
        [told] = h.status()
        print(json.dumps([told["durable"], told["sealed"], told["keeper"]]))
        sys.stdout.flush()
        os._exit(0)
    """

    ended = programs.run(home, body, KUBO=kubo.url).clean()
    programs.run(home, "configure(kubo=KUBO, flush_timeout=20.0); log.info('next')", KUBO=kubo.url).clean()

    assert [100, 0, None] == json.loads(ended.out)
    [log] = oracle.read_home(home)["logs"]
    oracle.exactly_once([*(f"r{i}" for i in range(100)), "next"], [record["event"] for record in log.records])
    assert log.head_cid in kubo.pins()


def apart_by_pid() -> tuple[list[str], str]:
    """Return the command that runs a program as pid 1; where that is forbidden, it only claims pid 1."""
    for user in ([], ["--user", "--map-root-user"]):
        apart = ["unshare", *user, "--fork", "--pid"]
        if shutil.which(apart[0]) and not subprocess.run([*apart, "true"], capture_output=True).returncode:
            return apart, ""
    return [], "os.getpid = lambda: 1"


def test_two_containers_on_one_volume(home):
    """Pitfall 15: two processes that are both pid 1, at once on one home: each is a writer of its own, none is lost."""
    apart, same = apart_by_pid()
    body = f"""
        {same}
        configure(batch={{"records": 20, "seconds": 0.05}})
        print("ready", flush=True); sys.stdin.readline()
        for i in range(200): log.info("%s %d", NAME, i); time.sleep(0.001)
    """
    started = []
    for name in ("one", "two"):
        path = home.parent / f"{name}.py"
        path.write_text(programs.text(home, body, NAME=name))
        started.append(
            subprocess.Popen(
                [*apart, sys.executable, str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=programs.environment(),
                text=True,
            )
        )
    for each in started:
        assert each.stdout is not None
        assert "ready\n" == each.stdout.readline()
    for each in started:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in started:
        _, err = each.communicate(timeout=60)
        assert (0, "") == (each.returncode, err)

    records = programs.adopted(home)
    oracle.exactly_once(
        [f"{name} {i}" for name in ("one", "two") for i in range(200)], [record["event"] for record in records]
    )
    assert {1} == {record["pid"] for record in records}
    assert 2 == len({record["_writer"] for record in records})


def test_a_segment_belongs_to_whoever_holds_its_lock(home):
    """Pitfall 15: a dead writer whose pid lives on is adopted, a living one whose pid means nobody is not."""
    spool, torn = home / "logs" / "spool", b'0123abcd {"time":"torn'
    made = []
    for writer, pid in ((logging_home.WRITER, os.getpid()), (logging_home.OTHER, 2**22 + 1)):
        header = replace(logging_home.header(writer), pid=pid, host=socket.gethostname())
        made.append(segments.create(spool, header, 0, sync=False))
        os.write(made[-1].descriptor, logging_home.lines(1, 5, pid=pid) + torn)
    dead, living = made
    dead.close()

    logging_home.seal_home(home)

    assert [os.getpid()] * 5 + [2**22 + 1] * 5 == [record["pid"] for record in oracle.sealed_records(home)]
    assert [f"{logging_home.WRITER}-0"] == [
        path.name.partition(".")[0] for path in (home / "logs/quarantine").iterdir()
    ]
    assert [living.path] == list(spool.iterdir())
    living.close()
