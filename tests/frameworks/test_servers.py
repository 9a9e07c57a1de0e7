"""Web frameworks as they are deployed: real servers on loopback, stopped by a signal, read back."""

from __future__ import annotations

import importlib.util
import json
import signal
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests import oracle
from tests.frameworks.running import EXAMPLES, Program, exactly_once, free_port, read_back
from tests.kubo.daemon import Daemon

DJANGO = EXAMPLES / "django_project"


def test_django(home: Path) -> None:
    """What a Django server logged before SIGTERM ended it is sealed by the next start, here a management command."""
    port = free_port()
    with Program(
        home, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}", directory=DJANGO, port=port
    ) as server:
        assert [(200, b"placed %d\n" % n) for n in range(3)] == [server.ask(f"/orders/{n}") for n in range(3)]
        assert 404 == server.ask("/nowhere")[0]
        server.stop(-signal.SIGTERM)
    with Program(home, "manage.py", "restock", 7, directory=DJANGO) as command:
        command.end()

    assert [] == oracle.spooled(home)
    records = read_back(home)
    exactly_once(range(3), records)
    lines = [(each["event"], each["status_code"]) for each in records if each["logger"] == "django.server"]
    assert ('"GET /orders/1 HTTP/1.1" 200 9', 200) in lines
    assert [("warning", 404)] == [(r["level"], r["status_code"]) for r in records if r["logger"] == "django.request"]
    assert [7] == [each["article"] for each in records if each["logger"] == "shop.stock"]


def test_fastapi(home: Path) -> None:
    """Uvicorn, configured with a dict: application, access and server lines; the lifespan's end has sealed them."""
    port = free_port()
    with Program(home, "fastapi_app.py", port, port=port) as server:
        assert {200} == {server.ask(f"/orders/{n}", "POST")[0] for n in range(5)}
        server.stop(-signal.SIGTERM)

    records = read_back(home)
    exactly_once(range(5), records)
    assert 5 == len([each for each in records if each["logger"] == "uvicorn.access"])
    waiting = [each["event"] for each in oracle.spooled(home)]
    assert ["Application shutdown complete.", f"Finished server process [{server.process.pid}]"] == waiting


def test_fastapi_json(home: Path) -> None:
    """Uvicorn, configured with a JSON file on its command line."""
    port = free_port()
    command = ("-m", "uvicorn", "fastapi_app:app", "--log-config", "logging.json", "--port", port)
    with Program(home, *command, port=port) as server:
        assert 200 == server.ask("/orders/0", "POST")[0]
        server.stop(-signal.SIGTERM)

    exactly_once(range(1), read_back(home))


def test_fastapi_workers(home: Path) -> None:
    """Uvicorn with two workers, configured with a YAML file: each process is a writer, and the parent seals for all."""
    port = free_port()
    command = ("-m", "uvicorn", "fastapi_app:app", "--log-config", "logging.yaml", "--workers", 2, "--port", port)
    with Program(home, *command, port=port) as server:
        server.wait_until(lambda: 2 == server.printed.count("Application startup complete."))
        assert {200} == {server.ask(f"/orders/{n}", "POST")[0] for n in range(20)}
        server.stop()

    records = read_back(home)
    exactly_once(range(20), records)
    workers = {each["pid"] for each in records if each["event"].startswith("Started server process")}
    assert 2 == len(workers)
    assert {server.process.pid, *workers} == {each["pid"] for each in records}
    assert [] == oracle.spooled(home)


@pytest.mark.parametrize("configured", ["logging.json", "logging.yaml"])
def test_one_configuration_in_three_forms(configured: str) -> None:
    """The dict, the JSON file and the YAML file of the FastAPI example say the same."""
    text = (EXAMPLES / configured).read_text(encoding="utf-8")
    found = json.loads(text) if configured.endswith(".json") else yaml.safe_load(text)

    assert _module("fastapi_app").LOGGING == found


def test_gunicorn(home: Path) -> None:
    """Preloaded, prefork, workers that end after three requests: each record once, whichever process logged it."""
    port = free_port()
    with Program(home, *_gunicorn(port), port=port) as server:
        assert {200} == {server.ask(f"/orders/{n}")[0] for n in range(18)}
        server.stop()

    records = read_back(home)
    exactly_once(range(18), records)
    served = {each["pid"] for each in records if each["event"] == "order placed"}
    assert 6 <= len(served)
    assert served <= {each["pid"] for each in records if each["event"].startswith("Booting worker")}
    assert [server.process.pid] == [each["pid"] for each in records if each["event"] == "loaded"]
    assert 18 == len([each for each in records if each["logger"] == "gunicorn.access"])
    assert [] == oracle.spooled(home)


def test_gunicorn_that_ships(home: Path, kubo: Daemon) -> None:
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
    oracle.exactly_once(range(8), [each["number"] for each in there.records if each["event"] == "order placed"])


def _gunicorn(port: int) -> tuple[object, ...]:
    """The example's command, on a port, with workers that do not live long."""
    options = ("--bind", f"127.0.0.1:{port}", "--max-requests", 3)
    return "-m", "gunicorn", "-c", "gunicorn_conf.py", *options, "wsgi_app:application"


def _module(name: str) -> ModuleType:
    """An example, imported from its file."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
