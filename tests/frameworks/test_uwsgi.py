"""uWSGI, which forks its workers without Python's hooks, as it is deployed: each record once, under its own process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kubo.daemon import Daemon
from tests.support import oracle, programs
from tests.support.framework_programs import EXAMPLES, Program, exactly_once, free_port, read_back

UWSGI = Path(sys.executable).parent / "uwsgi"
MODES = {
    "as it starts by default": (),
    "Python's hooks at each fork": ("--py-call-uwsgi-fork-hooks",),
    "threads in each worker": ("--threads", "2"),
}
if sys.version_info < (3, 13):  # uWSGI 2.0.30 answers no request there with this option, whatever the application
    MODES["Python's hook in the child alone"] = ("--py-call-osafterfork",)


def _uwsgi(port: int, *options: str, ini: object = "uwsgi.ini") -> tuple[object, ...]:
    """Return the example's command, on a port."""
    return UWSGI, "--ini", ini, "--http-socket", f"127.0.0.1:{port}", *options


def _serve(
    home: Path, *options: str, ini: object = "uwsgi.ini", requests: int = 20, loads: int = 1, **env: Any
) -> Program:
    """Start the server, have it answer, and stop it."""
    port = free_port()
    with Program(home, *_uwsgi(port, *options, ini=ini), port=port, **env) as server:
        server.wait_until(lambda: server.printed.count("WSGI app 0") == loads)  # a signal would break an import
        server.wait_until(lambda: server.printed.count("spawned uWSGI worker") == 2)
        assert {200} == {server.ask(f"/orders/{number}")[0] for number in range(requests)}
        server.stop()
    assert "Fault" not in server.printed, server.printed
    return server


@pytest.mark.parametrize("options", MODES.values(), ids=MODES)
def test_every_request_is_kept_once_and_sealed_at_the_end(home: Path, options: tuple[str, ...]) -> None:
    """Pitfall 57: the application is loaded before the fork; every request is answered, and the chain verifies."""
    server = _serve(home, *options)

    records = read_back(home)
    exactly_once(range(20), records)
    assert [server.process.pid] == [record["pid"] for record in records if record["event"] == "loaded"]
    served = {record["pid"] for record in records if record["event"] == "order placed"}
    assert server.process.pid not in served
    assert all(f"pid: {pid}" in server.printed for pid in served)
    assert [] == oracle.spooled(home)


def test_a_server_without_threads_keeps_every_request(home: Path, tmp_path: Path) -> None:
    """The default of uWSGI runs no thread of a worker, so there is no keeper while it serves."""
    ini = tmp_path / "no_threads.ini"
    ini.write_text((EXAMPLES / "uwsgi.ini").read_text().replace("enable-threads = true\n", ""))
    _serve(home, ini=ini)

    records = programs.adopted(home)
    exactly_once(range(20), records)
    read_back(home)


def test_workers_that_load_the_application_leave_the_last_records_to_the_next_start(home: Path) -> None:
    """With `lazy-apps` OpenSSL is gone when a worker's Python ends: nothing is sealed then, and nothing crashes."""
    _serve(home, "--lazy-apps", loads=2)

    records = programs.adopted(home)
    exactly_once(range(20), records)
    assert 2 == len({record["pid"] for record in records if record["event"] == "loaded"})
    read_back(home)


def test_workers_ship_before_they_end(home: Path, tmp_path: Path, kubo: Daemon) -> None:
    """With a daemon everything is there when the server has ended, if the daemon answers within `flush_timeout`."""
    patient = (EXAMPLES / "uwsgi_app.py").read_text().replace('"logs"}', '"logs", "flush_timeout": 40.0}')
    assert "flush_timeout" in patient  # a busy machine may need longer than the five seconds of the example
    (tmp_path / "patient_app.py").write_text(patient)
    ini = tmp_path / "patient.ini"
    ini.write_text((EXAMPLES / "uwsgi.ini").read_text().replace("uwsgi_app:", "patient_app:"))
    _serve(home, "--pythonpath", str(tmp_path), ini=ini, requests=6, IPFS_LOGS_KUBO=kubo.url)

    exactly_once(range(6), read_back(home))
    [log] = oracle.read_home(home)["logs"]
    assert log.head_cid in kubo.pins()


FAKE = """
    import types
    uwsgi = types.SimpleNamespace(worker_id=lambda: worker, mule_id=lambda: 0, i_am_the_spooler=lambda: None)
    uwsgi.has_threads = THREADS
    sys.modules["uwsgi"] = uwsgi
    worker = 0 if MASTER else 1
    configure()
    log.info("loaded")
    assert threading.active_count() == 1
    worker = 1
    log.info("served")
    print(threading.active_count())
"""


@pytest.mark.parametrize("threads", [1, 0], ids=["threads", "no threads"])
@pytest.mark.parametrize("master", [True, False], ids=["loaded by the master", "loaded by a worker"])
def test_no_thread_starts_in_the_master_nor_where_none_would_run(home: Path, master: bool, threads: int) -> None:
    """Pitfall 57: a worker that is forked while a thread holds the GIL never runs; threads may be off, too."""
    body = FAKE if master else FAKE.replace("    assert threading.active_count() == 1\n", "")

    ended = programs.run(home, body, MASTER=master, THREADS=threads).clean()

    assert f"{1 + threads}\n" == ended.out
    waiting = [] if master else ["loaded", "served"]
    assert waiting == [record["event"] for record in oracle.spooled(home)]
    oracle.exactly_once(["loaded", "served"], [record["event"] for record in programs.adopted(home)])
