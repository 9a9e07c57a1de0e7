"""Web frameworks as they are deployed: real servers on loopback, stopped by a signal, read back."""

from __future__ import annotations

import importlib.util
import json
import signal
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
import yaml

from tests.kubo.daemon import Daemon
from tests.support import oracle
from tests.support.framework_programs import EXAMPLES, Program, exactly_once, free_port, read_back

DJANGO = EXAMPLES / "django_project"


def test_django_and_its_commands_share_one_log(home: Path) -> None:
    """What a Django server logged before SIGTERM ended it is sealed by the next start, here a management command."""
    port = free_port()
    with Program(
        home, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}", directory=DJANGO, port=port
    ) as server:
        assert [(200, b"placed %d\n" % n) for n in range(3)] == [server.ask(f"/orders/{n}") for n in range(3)]
        assert 404 == server.ask("/nowhere")[0]
        server.stop(-signal.SIGTERM)
        printed = server.printed
    assert [1, 3, 1] == [printed.count(text) for text in ('"GET /orders/1 ', "shop.orders order placed", "Not Found: ")]
    with Program(home, "manage.py", "restock", 7, directory=DJANGO) as command:
        command.end()

    assert [] == oracle.spooled(home)
    records = read_back(home)
    exactly_once(range(3), records)
    lines = [(record["event"], record["status_code"]) for record in records if record["logger"] == "django.server"]
    assert ('"GET /orders/1 HTTP/1.1" 200 9', 200) in lines
    assert {"127.0.0.1"} == {
        record["request"]["peer"].rpartition(":")[0] for record in records if "server" in record["logger"]
    }
    assert [("warning", 404)] == [(r["level"], r["status_code"]) for r in records if r["logger"] == "django.request"]
    assert [7] == [record["article"] for record in records if record["logger"] == "shop.stock"]


def test_every_request_of_fastapi_is_kept(home: Path) -> None:
    """Uvicorn, configured with a dict: application, access and server lines; the lifespan's end has sealed them."""
    port = free_port()
    with Program(home, "fastapi_app.py", port, port=port) as server:
        assert {200} == {server.ask(f"/orders/{n}", "POST")[0] for n in range(5)}
        server.stop(-signal.SIGTERM)

    records = read_back(home)
    exactly_once(range(5), records)
    assert 5 == len([record for record in records if record["logger"] == "uvicorn.access"])
    waiting = [record["event"] for record in oracle.spooled(home)]
    assert ["Application shutdown complete.", f"Finished server process [{server.process.pid}]"] == waiting


def test_the_module_of_an_application_configures_uvicorn(home: Path) -> None:
    """`uvicorn fastapi_app:app` without further options: all is kept, and the console has each line once."""
    port = free_port()
    with Program(home, "-m", "uvicorn", "fastapi_app:app", "--port", port, port=port) as server:
        assert {200} == {server.ask(f"/orders/{n}", "POST")[0] for n in range(3)}
        server.stop(-signal.SIGTERM)
        printed = server.printed

    records = read_back(home)
    exactly_once(range(3), records)
    assert 3 == len([record for record in records if record["logger"] == "uvicorn.access"])
    assert [1, 3] == [printed.count(text) for text in ("POST /orders/1", "order placed")]


def test_uvicorn_takes_the_configuration_as_json(home: Path) -> None:
    """Uvicorn, configured with a JSON file on its command line."""
    port = free_port()
    command = ("-m", "uvicorn", "fastapi_app:app", "--log-config", "logging.json", "--port", port)
    with Program(home, *command, port=port) as server:
        assert 200 == server.ask("/orders/0", "POST")[0]
        server.stop(-signal.SIGTERM)

    exactly_once(range(1), read_back(home))


def test_workers_of_uvicorn_share_one_log(home: Path) -> None:
    """Uvicorn with two workers, configured with a YAML file: each process is a writer, and the parent seals for all."""
    port = free_port()
    command = ("-m", "uvicorn", "fastapi_app:app", "--log-config", "logging.yaml", "--workers", 2, "--port", port)
    with Program(home, *command, port=port) as server:
        server.wait_until(lambda: 2 == server.printed.count("Application startup complete."))
        assert {200} == {server.ask(f"/orders/{n}", "POST")[0] for n in range(20)}
        server.stop()

    records = read_back(home)
    exactly_once(range(20), records)
    workers = {record["pid"] for record in records if record["event"].startswith("Started server process")}
    assert 2 == len(workers)
    assert {server.process.pid, *workers} == {record["pid"] for record in records}
    assert [] == oracle.spooled(home)


@pytest.mark.parametrize("configured", ["logging.json", "logging.yaml"])
def test_one_configuration_in_three_forms(configured: str) -> None:
    """The dict, the JSON file and the YAML file of the FastAPI example say the same."""
    text = (EXAMPLES / configured).read_text(encoding="utf-8")
    found = json.loads(text) if configured.endswith(".json") else yaml.safe_load(text)

    assert _module("fastapi_app").LOGGING == found


def test_every_request_of_gunicorn_is_kept_once(home: Path) -> None:
    """Preloaded, prefork, workers that end after three requests: each record once, whichever process logged it."""
    port = free_port()
    with Program(home, *_gunicorn(port), port=port) as server:
        assert {200} == {server.ask(f"/orders/{n}")[0] for n in range(18)}
        server.stop()

    records = read_back(home)
    exactly_once(range(18), records)
    served = {record["pid"] for record in records if record["event"] == "order placed"}
    assert 6 <= len(served)
    assert served <= {record["pid"] for record in records if record["event"].startswith("Booting worker")}
    assert [server.process.pid] == [record["pid"] for record in records if record["event"] == "loaded"]
    assert 18 == len([record for record in records if record["logger"] == "gunicorn.access"])
    assert 18 == server.printed.count("gunicorn.access")
    assert [] == oracle.spooled(home)


def test_gunicorn_ships_what_its_workers_logged(home: Path, kubo: Daemon) -> None:
    """The same with a daemon, and with workers that are configured anew by SIGHUP: all of it is there at the end."""
    port = free_port()
    with Program(home, *_gunicorn(port), port=port, IPFS_LOGS_KUBO=kubo.url) as server:
        assert {200} == {server.ask(f"/orders/{n}")[0] for n in range(4)}
        booted = server.printed.count("Booting worker")
        server.process.send_signal(signal.SIGHUP)
        server.wait_until(lambda: server.printed.count("Booting worker") >= booted + 2)
        assert {200} == {server.ask(f"/orders/{n}")[0] for n in range(4, 8)}
        server.stop()

    exactly_once(range(8), read_back(home))
    [log] = oracle.read_home(home)["logs"]
    assert log.head_cid in kubo.pins()
    there = oracle.read_daemon(lambda cid: kubo.rpc(f"block/get?arg={cid}&offline=true"), log.head_cid)
    oracle.exactly_once(range(8), [record["number"] for record in there.records if record["event"] == "order placed"])


def _gunicorn(port: int) -> tuple[object, ...]:
    """Return the command of the example on a port, with workers that end soon."""
    options = ("--bind", f"127.0.0.1:{port}", "--max-requests", 3)
    return "-m", "gunicorn", "-c", "gunicorn_conf.py", *options, "wsgi_app:application"


def _module(name: str) -> ModuleType:
    """Import an example from its file; the logging of this process stays as it is."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch("logging.config.dictConfig"):
        spec.loader.exec_module(module)
    return module
