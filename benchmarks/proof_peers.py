"""Compare appending and verifying with other packages that promise tamper evidence, and attack what they have written.

    python -m benchmarks.proof_peers            all of them, as a table
    python -m benchmarks.proof_peers NAME ACTION DIRECTORY COUNT

Each measurement is a process of its own; its CPU counts, of all threads. The other packages are `pip install auditchain
tamperloom rust-py-audit merkle-audit`; one that is missing has no row. Each is used with its defaults, as its
documentation shows it first: auditchain by its handler for `logging`, the others by the call that appends.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

__all__ = ["PEERS", "log_record", "report"]

_COUNT: Final = 2000
"""Records of each measurement."""
_ROOT: Final = Path(__file__).resolve().parent.parent


def log_record(number: int) -> logging.LogRecord:
    """Return the record of a user who has signed in."""
    record = logging.LogRecord("shop", logging.INFO, __file__, 1, "user %d signed in", (number,), None)
    record.__dict__.update({"event_type": "authentication", "user": f"user-{number}", "number": number})
    return record


class Peer(ABC):
    """One package."""

    module: str
    """Module that must be there."""

    @abstractmethod
    def opened(self, directory: Path) -> tuple[Callable[[int], object], Callable[[], object]]:
        """Open a log in a directory; return what appends a record, and what makes all of them final."""

    @abstractmethod
    def verify(self, directory: Path) -> tuple[bool, int]:
        """Verify; return whether it is right, and the number of records that are there."""

    def flip(self, directory: Path) -> None:
        """Flip one bit in a record in the middle."""
        _flip(self.file(directory), f"user-{_COUNT // 2}".encode())

    def cut(self, directory: Path) -> None:
        """Remove the newest records."""
        lines = self.file(directory).read_bytes().splitlines(keepends=True)
        self.file(directory).write_bytes(b"".join(lines[: -len(lines) // 10]))

    @staticmethod
    def file(directory: Path) -> Path:
        """Return the file with the records."""
        return directory / "log"


def _flip(file: Path, mark: bytes) -> None:
    data = bytearray(file.read_bytes())
    data[data.index(mark) + len(mark) - 1] ^= 1
    file.write_bytes(data)


class Ours(Peer):
    """`ipfs_log_handlers`: the handler with its defaults, without a daemon."""

    module = "ipfs_log_handlers"

    def opened(self, directory: Path) -> tuple[Callable[[int], object], Callable[[], object]]:
        from ipfs_log_handlers import IPFSHandler

        handler = IPFSHandler("audit", home=directory / "home", flush_timeout=60.0)
        return lambda number: handler.handle(log_record(number)), handler.close

    def verify(self, directory: Path) -> tuple[bool, int]:
        from ipfs_log_handlers import open_home

        home = open_home(directory / "home")
        home.ship([])  # what a killed program has left is sealed by the next one
        found = list(home.verify(memory=directory.parent / "remembered"))
        return bool(found) and all(log.ok for log in found), sum(log.records for log in found)

    def flip(self, directory: Path) -> None:
        files = sorted(directory.rglob("*.car"))
        data = bytearray(files[len(files) // 2].read_bytes())
        data[len(data) // 2] ^= 1
        files[len(files) // 2].write_bytes(data)

    def cut(self, directory: Path) -> None:
        max(directory.rglob("*.car")).unlink()


class Auditchain(Peer):
    """`auditchain`: its handler for `logging`, a JSON Lines file."""

    module = "auditchain"

    @staticmethod
    def _log(directory: Path) -> Any:
        from auditchain import AuditLog, JsonlBackend

        return AuditLog(JsonlBackend(Peer.file(directory)))

    def opened(self, directory: Path) -> tuple[Callable[[int], object], Callable[[], object]]:
        from auditchain import AuditLogHandler

        handler = AuditLogHandler(self._log(directory), close_log=True)

        def append(number: int) -> None:
            record = log_record(number)
            record.__dict__["audit_subject"] = f"user-{number}"
            handler.handle(record)

        return append, handler.close

    def verify(self, directory: Path) -> tuple[bool, int]:
        import asyncio

        found = asyncio.run(self._log(directory).verify())
        return found.ok, found.records_checked


class Tamperloom(Peer):
    """`tamperloom`: a JSON Lines file."""

    module = "tamperloom"

    def opened(self, directory: Path) -> tuple[Callable[[int], object], Callable[[], object]]:
        from tamperloom.logger import AuditLogger

        log = AuditLogger(str(self.file(directory)))
        return lambda number: log.log("authentication", f"user-{number}", "signed in", "shop"), lambda: None

    def verify(self, directory: Path) -> tuple[bool, int]:
        import contextlib
        import io

        from tamperloom.verifier import verify_chain

        with contextlib.redirect_stdout(io.StringIO()):
            right = verify_chain(str(self.file(directory)))
        return right, len(self.file(directory).read_bytes().splitlines())


class RustPyAudit(Peer):
    """`rust-py-audit`: a JSON Lines file, its core in Rust."""

    module = "rust_py_audit"

    def opened(self, directory: Path) -> tuple[Callable[[int], object], Callable[[], object]]:
        from rust_py_audit import AuditLogger

        log = AuditLogger("shop", file_path=str(self.file(directory)))
        return lambda number: log.log(f"user-{number}", "signed in", "session", str(number)), lambda: None

    def verify(self, directory: Path) -> tuple[bool, int]:
        from rust_py_audit import AuditLogger

        found = AuditLogger("shop", file_path=str(self.file(directory))).verify()
        right = found if isinstance(found, bool) else bool(found["valid"] if isinstance(found, dict) else found.valid)
        return right, len(self.file(directory).read_bytes().splitlines())


class MerkleAudit(Peer):
    """`merkle-audit`: a chain in memory, stored in SQLite; it has no call that verifies a stored chain."""

    module = "merkle_audit"

    def opened(self, directory: Path) -> tuple[Callable[[int], object], Callable[[], object]]:
        from merkle_audit.chain import AuditChain
        from merkle_audit.persister import SQLitePersister

        chain, persister = AuditChain(), SQLitePersister(str(self.file(directory)))
        chain.set_persist_hook(persister)
        return lambda number: chain.append(f"user-{number}", {"event": "signed in"}, actor="shop"), persister.close

    def verify(self, directory: Path) -> tuple[bool, int]:
        import sqlite3

        from merkle_audit.chain import AuditChain, ChainEntry

        chain, before, count = AuditChain(), "0" * 64, 0
        names = "leaf_index, leaf_hash, mmr_root, payload_hash, action_type, actor, agent_id, created_at"
        with sqlite3.connect(self.file(directory)) as connection:
            for row in connection.execute(f"SELECT {names} FROM audit_log ORDER BY leaf_index"):  # noqa: S608
                entry = ChainEntry(**dict(zip(names.split(", "), row, strict=True)))
                if not chain.verify_entry(entry, before):
                    return False, count
                before, count = entry.mmr_root, count + 1
        return True, count

    def cut(self, directory: Path) -> None:
        import sqlite3

        with sqlite3.connect(self.file(directory)) as connection:
            connection.execute("DELETE FROM audit_log WHERE leaf_index >= ?", (_COUNT * 9 // 10,))


PEERS: Final[dict[str, Peer]] = {
    "ipfs_log_handlers": Ours(),
    "auditchain": Auditchain(),
    "tamperloom": Tamperloom(),
    "rust-py-audit": RustPyAudit(),
    "merkle-audit": MerkleAudit(),
}
"""Each package, by its name on PyPI."""


def _act(peer: Peer, action: str, directory: Path, count: int) -> dict[str, Any]:
    if action == "verify":
        peer.verify(directory)  # what is imported and sealed at first does not count
        began = time.process_time()
        right, records = peer.verify(directory)
        return {"right": right, "records": records, "us": (time.process_time() - began) / max(records, 1) * 1e6}
    append, finish = peer.opened(directory)
    began = time.process_time()
    for number in range(count):
        append(number)
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    finish()
    return {"us": (time.process_time() - began) / count * 1e6}


def _start(name: str, action: str, directory: Path, count: int = _COUNT) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.proof_peers", name, action, str(directory), str(count)]
    environment = {**os.environ, "IPFS_LOGS_KNOWN_LOGS": str(directory.parent / "remembered")}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=_ROOT, env=environment
    )


def _run(name: str, action: str, directory: Path, count: int = _COUNT) -> dict[str, Any]:
    """Run an action in a process of its own; an action that fails finds something."""
    out, _ = _start(name, action, directory, count).communicate(timeout=300)
    found: dict[str, Any] = json.loads(out) if out else {"right": False, "records": 0, "us": 0.0}
    return found


def _found(name: str, directory: Path, attack: Callable[[Path], object]) -> str:
    """Attack a copy of a log that a reader has verified before; say whether it is found."""
    copy = directory / "copy"
    shutil.copytree(directory / "log", copy / "log")
    shutil.copytree(directory / "remembered", copy / "remembered", dirs_exist_ok=True)
    attack(copy / "log")
    right = _run(name, "verify", copy / "log")["right"]
    shutil.rmtree(copy)
    return "**not found**" if right else "found"


def _row(name: str, rounds: int) -> list[str]:
    peer = PEERS[name]
    append, verify = [], []
    with tempfile.TemporaryDirectory() as text:
        base = Path(text)
        for number in range(rounds):
            directory = base / f"round-{number}" / "log"
            directory.mkdir(parents=True)
            append.append(_run(name, "append", directory)["us"])
            found = _run(name, "verify", directory)
            assert found["right"], (name, found)
            assert found["records"] == _COUNT, (name, found)
            verify.append(found["us"])
            (directory.parent / "remembered").mkdir(exist_ok=True)
        whole = base / "round-0"
        before = base / "before"
        shutil.copytree(whole / "log", before)
        _run(name, "append", whole / "log", 100)
        second = _run(name, "verify", whole / "log")

        def roll_back(directory: Path) -> None:
            shutil.rmtree(directory)
            shutil.copytree(before, directory)

        restarted = second["right"] and second["records"] == _COUNT + 100
        attacks = [_found(name, whole, peer.flip), _found(name, whole, peer.cut), _found(name, whole, roll_back)]
        return [
            f"{statistics.median(append):.0f}",
            f"{statistics.median(verify):.1f}",
            *attacks,
            _killed(name, base / "killed" / "log"),
            _two(name, base / "two" / "log"),
            "goes on" if restarted else "**breaks**",
        ]


def _killed(name: str, directory: Path) -> str:
    directory.mkdir(parents=True)
    _start(name, "kill", directory).communicate(timeout=300)
    found = _run(name, "verify", directory)
    return f"{found['records']} of {_COUNT}" + ("" if found["right"] else ", **does not verify**")


def _two(name: str, directory: Path) -> str:
    directory.mkdir(parents=True)
    both = [_start(name, "append", directory, 500) for _ in range(2)]
    for process in both:
        process.communicate(timeout=300)
    found = _run(name, "verify", directory)
    return f"{found['records']} of 1000" + ("" if found["right"] else ", **does not verify**")


def report(rounds: int) -> str:
    """Measure all packages that are installed, and return the table."""
    heads = [
        "append, CPU µs",
        "verify, CPU µs",
        "a flipped bit",
        "a cut tail",
        "a rollback",
        "SIGKILL after the last call",
    ]
    heads += ["two processes", "a second run"]
    lines = [f"| package | {' | '.join(heads)} |", "|---|--:|--:|---|---|---|---|---|---|"]
    for name, peer in PEERS.items():
        if importlib.util.find_spec(peer.module) is not None:
            lines.append(f"| {name} | {' | '.join(_row(name, rounds))} |")
            print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(report(3))
    else:
        _, name, action, directory, count = sys.argv
        print(json.dumps(_act(PEERS[name], action, Path(directory), int(count))), flush=True)
