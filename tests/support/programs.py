"""Run programs in processes of their own, so that a test sees their exit, forks and kills from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipfs_log_handlers.accelerator.state import PURE
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper.host import Standalone
from ipfs_log_handlers.keeper.thread import run_keeper_now
from tests.support import oracle

__all__ = ["ROOT", "Ended", "adopted", "environment", "killed_after_error", "run", "start", "text"]

ROOT = Path(__file__).resolve().parents[2]
PRELUDE = """
from __future__ import annotations
import atexit, json, logging, logging.config, os, signal, sys, threading, time
def handler(subsystem="logs", **settings):
    return {"class": "ipfs_log_handlers.IPFSHandler", "subsystem": subsystem, "home": HOME,
            "flush_timeout": 60.0, **settings}
def configure(level="INFO", names=("a",), root=("a",), **settings):
    handlers = {each: handler(**settings) for each in names}
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, "handlers": handlers,
                               "root": {"level": level, "handlers": list(root)}})
log = logging.getLogger("t")
"""


@dataclass(frozen=True)
class Ended:
    """The result of a program."""

    code: int
    out: str
    err: str
    seconds: float

    def clean(self) -> Ended:
        """Return the result itself, after asserting exit code 0 and an empty stderr."""
        assert self.code == 0, f"exit {self.code}\n{self.out}\n{self.err}"
        assert not self.err, self.err
        return self

    def clean_but_for_losses(self) -> Ended:
        """Return the result itself, after asserting exit code 0 and nothing on stderr but lines about lost records."""
        assert self.code == 0, f"exit {self.code}\n{self.out}\n{self.err}"
        assert all(" lost (" in text for text in self.err.splitlines()), self.err
        return self


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a program: the package of this checkout, and none of its variables set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IPFS_LOGS_") or name == PURE}
    if "IPFS_LOGS_KNOWN_LOGS" in os.environ:  # that of this test, see conftest.py
        kept["IPFS_LOGS_KNOWN_LOGS"] = os.environ["IPFS_LOGS_KNOWN_LOGS"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**kept, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **more}


def text(home: Path, body: str, **names: object) -> str:
    """Return the text of a program: the prelude, the names that the test gives, the body."""
    given = "".join(f"{name} = {value!r}\n" for name, value in {"HOME": str(home), **names}.items())
    return PRELUDE + given + textwrap.dedent(body)


def start(
    home: Path, body: str, *, env: Mapping[str, str] | None = None, options: tuple[str, ...] = (), **names: object
) -> subprocess.Popen[str]:
    """Start a program with pipes for its standard streams."""
    path = home.parent / f"program-{time.monotonic_ns()}.py"
    path.write_text(text(home, body, **names))
    return subprocess.Popen(
        [sys.executable, *options, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**environment(), **(env or {})},
        text=True,
    )


@contextmanager
def killed_after_error(process: subprocess.Popen[Any]) -> Iterator[subprocess.Popen[Any]]:
    """Give a program to a test, and wait for its end; after an error of the test, kill it instead."""
    with process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def run(
    home: Path,
    body: str,
    *,
    deadline_s: float = 60.0,
    env: Mapping[str, str] | None = None,
    options: tuple[str, ...] = (),
    **names: object,
) -> Ended:
    """Run a program to its end; a program that hangs is killed, and the test fails."""
    begun = time.monotonic()
    process = start(home, body, env=env, options=options, **names)
    try:
        out, err = process.communicate(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = _last_output(process)
        raise AssertionError(f"the program hangs after {deadline_s} s\n{out}\n{err}") from None
    return Ended(process.returncode, out, err, time.monotonic() - begun)


def _last_output(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return what a killed program wrote, and close its pipes: a child that hangs would keep them open for ever."""
    with process:
        try:
            return process.communicate(timeout=10)
        except subprocess.TimeoutExpired as error:
            return (error.output or b"").decode(), (error.stderr or b"").decode()


def adopted(home: Path, *, deadline_s: float = 60.0) -> list[dict[str, Any]]:
    """Adopt and seal what dead processes left, as the next start does; return every record of the home."""
    assert run_keeper_now(HomeDir(home), Standalone(), timeout=deadline_s, stores=())
    assert [] == oracle.spooled(home)
    return oracle.sealed_records(home)
