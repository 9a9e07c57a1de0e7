"""Try, without DuckDB, what code tries that has taken over the process in which SQL of others runs."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from ipfs_log_handlers.query import landlock, locked_child, seccomp

__all__ = ["ATTEMPTS", "NEW_CALLS", "Surroundings", "outcomes", "prepare", "take_over"]

_LIBRARY: Final = ctypes.CDLL(None, use_errno=True)
_PR_SET_NO_NEW_PRIVS: Final = 38
_PTRACE_ATTACH: Final = 16
_NO_PROCESS: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What lies outside of the process."""

    directory: str
    """A directory with the files `secret` and `removable`."""
    port: int
    """A TCP port of this machine, at which a server listens."""
    abstract: str
    """The name of an abstract Unix socket, at which a server listens."""
    pid: int
    """Another process of the same user."""


@contextmanager
def prepare(directory: Path) -> Iterator[Surroundings]:
    """Make surroundings, in which every attempt succeeds that the kernel does not refuse."""
    for name in ("secret", "removable"):
        (directory / name).write_text("hush\n")
    abstract = f"taken-over-{os.getpid()}-{directory.name}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind("\0" + abstract)
        local.listen()
        yield Surroundings(str(directory), server.getsockname()[1], abstract, os.getpid())


def _read(around: Surroundings) -> None:
    assert (Path(around.directory) / "secret").read_text() == "hush\n"


def _write(around: Surroundings) -> None:
    (Path(around.directory) / "made").write_text("new")


def _list(around: Surroundings) -> None:
    assert "secret" in os.listdir(around.directory)


def _look(around: Surroundings) -> None:
    assert (Path(around.directory) / "secret").stat().st_size == 5


def _remove(around: Surroundings) -> None:
    (Path(around.directory) / "removable").unlink()


def _fork(_: Surroundings) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _run(_: Surroundings) -> None:
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


def _become(_: Surroundings) -> None:
    """Try to become a program that is not there: a kernel that would run it says so."""
    try:
        os.execv("/nowhere/program", ["program"])
    except FileNotFoundError:
        pass


def _connect(around: Surroundings) -> None:
    with socket.socket() as client:
        client.connect(("127.0.0.1", around.port))


def _connect_abstract(around: Surroundings) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + around.abstract)


def _send_datagram(_: Surroundings) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"hush", ("127.0.0.1", 9))


def _signal(around: Surroundings) -> None:
    os.kill(around.pid, 0)


def _make_memory_file(_: Surroundings) -> None:
    os.close(os.memfd_create("made"))


def _change_limits(around: Surroundings) -> None:
    import resource

    resource.prlimit(around.pid, resource.RLIMIT_CORE)


def _trace(_: Surroundings) -> None:
    """Try to trace a process that does not exist: a kernel that would trace one says so."""
    try:
        _call("ptrace", _PTRACE_ATTACH, _NO_PROCESS, None, None)
    except ProcessLookupError:
        pass


def _read_memory(around: Surroundings) -> None:
    _call("process_vm_readv", around.pid, None, ctypes.c_ulong(0), None, ctypes.c_ulong(0), ctypes.c_ulong(0))


def _leave_namespace(_: Surroundings) -> None:
    _call("unshare", 0)


def _become_dumpable(_: Surroundings) -> None:
    _call("prctl", 4, *map(ctypes.c_ulong, (1, 0, 0, 0)))


def _call(name: str, *arguments: Any) -> None:
    ctypes.set_errno(0)
    if getattr(_LIBRARY, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def _system_call(number: int) -> Callable[[Surroundings], None]:
    return lambda _: _call("syscall", *map(ctypes.c_long, (number, 0, 0, 0, 0, 0, 0)))


ATTEMPTS: Final[dict[str, Callable[[Surroundings], None]]] = {
    "read a file": _read,
    "make a file": _write,
    "list a directory": _list,
    "look at a file": _look,
    "remove a file": _remove,
    "fork": _fork,
    "run a program": _run,
    "become a program": _become,
    "connect by TCP": _connect,
    "connect to an abstract socket": _connect_abstract,
    "send a datagram": _send_datagram,
    "signal a process": _signal,
    "make a file in memory": _make_memory_file,
    "ask for the limits of a process": _change_limits,
    "trace a process": _trace,
    "read the memory of a process": _read_memory,
    "leave a namespace": _leave_namespace,
    "become dumpable": _become_dumpable,
}
"""What may be tried, by what it is; each succeeds where nothing refuses it."""
NEW_CALLS: Final = {"io_uring_setup": 425, "pidfd_open": 434, "clone3": 435, "openat2": 437, "x32 open": 0x40000002}
"""System calls that are newer than Linux 5.0, and one of another binary interface."""
_ALL: Final = ATTEMPTS | {name: _system_call(number) for name, number in NEW_CALLS.items()}


def _outcome(name: str, around: Surroundings) -> str:
    """Try something; return `done`, or the name of the error of the kernel."""
    try:
        _ALL[name](around)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done"


def outcomes(limits: str, around: Surroundings) -> dict[str, str]:
    """Try everything in a new process, which is limited first.

    Args:
        limits: `landlock`, `seccomp` or `none`.
        around: what is outside.
    """
    program = "from tests.support.taken_over import _main; _main()"
    ended = subprocess.run(
        [sys.executable, "-c", program, limits, json.dumps(asdict(around))],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    reached: dict[str, str] = json.loads(ended.stdout)
    return reached


def _main() -> None:
    limits, around = sys.argv[1], Surroundings(**json.loads(sys.argv[2]))
    _call("prctl", _PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0)))
    refuse = {"landlock": landlock.refuse_files_and_ports, "seccomp": seccomp.refuse_system_calls, "none": bool}
    is_limited = refuse[limits]()
    assert is_limited == (limits != "none")
    sys.stdout.write(json.dumps({name: _outcome(name, around) for name in _ALL}))
    sys.stdout.flush()


def take_over(*, in_thread: bool = False) -> None:
    """Be the process in which SQL of others runs, and try what a query names in place of answering it.

    Args:
        in_thread: try it in a thread that has existed before the process is limited.
    """
    asked, reached = SimpleQueue[tuple[str, Surroundings]](), SimpleQueue[str]()

    def work() -> None:
        while True:
            reached.put(_outcome(*asked.get()))

    def answer(job: dict[str, Any], limits: Any, incoming: Any, outgoing: Any) -> dict[str, Any]:
        name, around = json.loads(job["query"])
        if in_thread:
            asked.put((name, Surroundings(**around)))
            outcome = reached.get()
        else:
            outcome = _outcome(name, Surroundings(**around))
        return {"do": "answer", "columns": ["outcome"], "rows": [[outcome]], "moments": []}

    if in_thread:
        threading.Thread(target=work, daemon=True).start()
    locked_child._answer = answer
    locked_child.main()
