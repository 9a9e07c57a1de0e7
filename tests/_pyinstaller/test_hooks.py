"""A program that PyInstaller has frozen logs, ships and reads, with no Python beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

import ipfs_log_handlers
from ipfs_log_handlers._pyinstaller import hook_directories
from ipfs_log_handlers.testing import FakeKubo
from tests.support import oracle

PACKAGE = Path(ipfs_log_handlers.__file__).parent

PROGRAM = """
import logging
import logging.config
import sys

import ipfs_log_handlers

if sys.argv[1] == "ipfs-logs":
    from ipfs_log_handlers.cli import main

    sys.argv = sys.argv[1:]
    sys.exit(main())
ours = {"class": "ipfs_log_handlers.IPFSHandler", "home": sys.argv[1], "kubo": sys.argv[2], "redact": ["password"]}
logging.config.dictConfig({"version": 1, "handlers": {"a": ours}, "root": {"handlers": ["a"], "level": "INFO"}})
for number in range(3):
    logging.info("order %d", number, extra={"number": number, "password": "hush"})
logging.getLogger("audit").info("signed in", extra={"event_type": "authentication", "action": "login"})
logging.shutdown()
"""
UNUSED = (
    "celery", "django", "duckdb", "fastapi", "gevent", "gunicorn", "hypothesis", "kombu", "lxml", "numpy",
    "opentelemetry", "pandas", "pip", "polars", "pyarrow", "pydantic", "pytest", "setuptools", "structlog", "tkinter",
    "uvicorn", "yaml",
)  # fmt: skip
"""What this Python has for other tests, and the program does not need."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Freeze the program."""
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        pytest.skip("PyInstaller needs a Python with a shared library")
    directory = tmp_path_factory.mktemp("frozen")
    (directory / "shop.py").write_text(PROGRAM)
    options = [option for name in UNUSED for option in ("--exclude-module", name)]
    command = [sys.executable, "-m", "PyInstaller", "--log-level", "ERROR", "--paths", str(PACKAGE.parent), *options]
    done = subprocess.run([*command, "shop.py"], cwd=directory, capture_output=True, text=True)
    assert 0 == done.returncode, done.stderr
    return directory / "dist" / "shop" / "shop"


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the program where nothing of this Python can be found."""
    env = {"HOME": str(program.parent), "PATH": os.defpath}
    return subprocess.run([program, *map(str, arguments)], env=env, cwd="/", capture_output=True, text=True)


def test_the_hooks_come_with_the_package() -> None:
    """The directory that the entry point names has a hook for the package and one for its command line.

    `make test-on-VERSION` runs this with the built wheel, where the files must have come along.
    """
    [entry_point] = [
        entry_point
        for entry_point in metadata.entry_points(group="pyinstaller40")
        if entry_point.value.startswith("ipfs_log_handlers.")
    ]
    assert ("hook-dirs", hook_directories) == (entry_point.name, entry_point.load())
    [directory] = hook_directories()
    names = {path.name for path in Path(directory).glob("hook-*.py")}
    assert {"hook-ipfs_log_handlers.py", "hook-ipfs_log_handlers.cli.py"} == names


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_frozen_program_logs_ships_and_reads(program: Path, home: Path) -> None:
    """Handler, keeper, routing, redaction and each verb work; the version of the package is known."""
    with FakeKubo() as daemon:
        logged = run(program, home, daemon.url)
        versions = {asked.headers.get("user-agent", "") for asked in daemon.requests}
    assert (0, "", "") == (logged.returncode, logged.stdout, logged.stderr)
    assert {f"ipfs-log-handlers/{metadata.version('ipfs_log_handlers')}"} == versions
    records = oracle.sealed_records(home, "logs")
    assert ["order 0", "order 1", "order 2"] == [record["event"] for record in records]
    assert {"[redacted]"} == {record["password"] for record in records}

    shown = run(program, "ipfs-logs", "--home", home, "ls", "-o", "json")
    batches = [json.loads(line) for line in shown.stdout.splitlines()]
    assert {("audit", "shipped"), ("logs", "shipped")} == {(batch["subsystem"], batch["state"]) for batch in batches}
    for verb in ("status", "cat", "verify", "query", "hist"):
        done = run(program, "ipfs-logs", "--home", home, verb, "-o", "json")
        assert (0, "") == (done.returncode, done.stderr), verb
    done = run(program, "ipfs-logs", "--home", home, "cat", "--cid", f"/ipfs/{batches[0]['cid']}", "-o", "json")
    assert (0, "") == (done.returncode, done.stderr)
    assert "signed in" in done.stdout
