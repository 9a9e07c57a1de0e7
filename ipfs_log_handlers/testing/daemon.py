"""A fake Kubo daemon that says what it is told to: for what a real one cannot be made to do.

Left alone it is an honest, small Kubo over a `MemoryStore` (`version`, `dag/import`, `pin/ls`, `pin/rm`, `block/get`).
A test replaces the answer to a command by a `Said`: status, headers and pieces of a body, and what happens after.
It speaks HTTP/1.1 by hand, because a server library would not let it break its word, and it runs on a thread of its
own, so that a program with a loop, a keeper or none can meet it.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.parser
import json
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from ipfs_log_handlers.errors import LogStoreError, StoreRejected
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.stores.memory import MemoryStore

__all__ = ["Answer", "Asked", "FakeDaemon", "Said", "confirmed", "error", "lines", "part"]

Then = Literal["end", "cut", "reset", "hang", "close"]
_NEVER_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as it came."""

    method: str
    """`POST`, unless something is wrong."""

    command: str
    """What stands behind `/api/v0/`."""

    query: dict[str, str]
    """The arguments; of one given twice, the last."""

    headers: dict[str, str]
    """By name, in small letters."""

    body: bytes
    """As far as it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One answer, and how it ends."""

    status: int = 200
    """Of HTTP."""

    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    """Beside `Transfer-Encoding`."""

    body: tuple[bytes, ...] = ()
    """Pieces, each a chunk of its own."""

    then: Then = "end"
    """`end` of the body; `cut` off in it; `reset` (RST); `hang` for ever; `close` without a word of HTTP."""

    read: int | None = None
    """Answer after so many bytes of the request's body; None reads all of it."""

    pause_s: float = 0.0
    """Between the pieces."""

    raw: bytes = field(default=b"")
    """Instead of all that: these bytes, then `then`."""


def lines(*values: object) -> tuple[bytes, ...]:
    """JSON lines as Kubo writes them, one a piece."""
    return tuple(json.dumps(value).encode() + b"\n" for value in values)


def error(status: int, message: str) -> Said:
    """Kubo's error object."""
    return Said(status=status, body=lines({"Message": message, "Code": 0, "Type": "error"}))


Answer = Said | Callable[[Asked], Said]
"""What is said, or what decides it once it is asked."""


class FakeDaemon:
    """Runs on a free loopback port inside `with`; `say` scripts it, `asked` holds what it was sent.

    Args:
        store: what it keeps honestly; `store.pins` and `store.blocks` tell a test what has arrived.
        version: what it calls itself.
    """

    store: MemoryStore
    """What it keeps."""

    asked: list[Asked]
    """Every request, in order."""

    def __init__(self, store: MemoryStore | None = None, *, version: str = "0.43.0") -> None:
        self.store = store or MemoryStore("fake")
        self.asked = []
        self._version = version
        self._script: dict[str, list[Answer]] = {}
        self._always: dict[str, Answer] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fake-kubo", daemon=True)
        self._ready = threading.Event()
        self._over = asyncio.Event()
        self._listening = socket.socket(proto=socket.IPPROTO_TCP)  # so that asyncio sets TCP_NODELAY
        self._tasks: set[asyncio.Task[None]] = set()

    # -- what a test says

    def say(self, command: str, *answers: Answer) -> None:
        """The next uploads to a command get these answers, one each; afterwards it is honest again."""
        self._script.setdefault(command, []).extend(answers)

    def always(self, command: str, answer: Answer) -> None:
        """Every call of a command gets this answer, the empty import that asks for leave included."""
        self._always[command] = answer

    def honest(self) -> None:
        """Forgets the script."""
        self._script.clear()
        self._always.clear()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listening.getsockname()[1])

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def uploads(self) -> list[Asked]:
        """The imports that carried something."""
        return [asked for asked in self.asked if asked.command == "dag/import" and asked.body]

    # -- life

    def __enter__(self) -> FakeDaemon:
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(64)
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        self._listening.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        server = await asyncio.start_server(self._meet, sock=self._listening)
        self._ready.set()
        await self._over.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    # -- one request

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        start, _, rest = head.decode("latin-1").partition("\r\n")
        method, target, _ = start.split(" ", 2)
        headers = {k.lower(): v for k, v in email.parser.Parser().parsestr(rest).items()}
        url = urlsplit(target)
        command = url.path.removeprefix("/api/v0/")
        length = int(headers.get("content-length", "0"))
        scripted = self._always.get(command)
        if scripted is None and self._script.get(command) and (length or command != "dag/import"):
            scripted = self._script[command].pop(0)
        wanted = scripted.read if isinstance(scripted, Said) and scripted.read is not None else length
        body = await reader.readexactly(min(wanted, length))
        asked = Asked(method=method, command=command, query=dict(parse_qsl(url.query)), headers=headers, body=body)
        self.asked.append(asked)
        said = scripted if scripted is not None else self._honestly
        return await self._speak(said(asked) if callable(said) else said, writer) and len(body) == length

    async def _speak(self, said: Said, writer: asyncio.StreamWriter) -> bool:
        if said.raw:
            writer.write(said.raw)
        elif said.then != "close" or said.body:
            await self._write(said, writer)
        await writer.drain()
        if said.then == "end" and not said.raw:
            return True
        if said.then == "hang":
            await asyncio.sleep(_NEVER_S)
        if said.then == "reset":
            on = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, on)
            writer.transport.abort()
            return False
        writer.close()
        await writer.wait_closed()
        return False

    @staticmethod
    async def _write(said: Said, writer: asyncio.StreamWriter) -> None:
        head = [f"HTTP/1.1 {said.status} Said", *(f"{k}: {v}" for k, v in said.headers), "Transfer-Encoding: chunked"]
        writer.write("\r\n".join([*head, "", ""]).encode())
        for piece in said.body:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
            if said.pause_s:
                await asyncio.sleep(said.pause_s)
        if said.then == "end":
            writer.write(b"0\r\n\r\n")

    # -- the honest daemon

    def _honestly(self, asked: Asked) -> Said:
        if asked.method != "POST":
            return Said(status=405, headers=(("Allow", "OPTIONS, POST"),), body=(b"405 - Method Not Allowed",))
        known = {
            "version": self._version_answer,
            "dag/import": self._import,
            "pin/ls": self._pin_ls,
            "pin/rm": self._pin_rm,
            "block/get": self._block_get,
        }
        answer = known.get(asked.command)
        return answer(asked) if answer else Said(status=404, body=(b"404 page not found",))

    def _version_answer(self, _: Asked) -> Said:
        return Said(body=lines({"Version": self._version, "Commit": "", "Repo": "18", "System": "", "Golang": ""}))

    def _import(self, asked: Asked) -> Said:
        if not asked.body:
            return Said(status=400, body=(b"file argument 'path' is required",))
        try:
            roots, blocks, block_bytes = self.store.load(part(asked))
        except StoreRejected as problem:
            return error(500, f"import failed: mismatch in content integrity, {problem}")
        except LogStoreError as problem:
            return error(500, f"import failed: unexpected EOF, {problem}")
        pins = [{"Root": {"Cid": {"/": cid.text}, "PinErrorMsg": self.store.pin(cid)}} for cid in roots]
        stats = {"Stats": {"BlockCount": blocks, "BlockBytesCount": block_bytes}}
        return Said(body=lines(*pins, *([stats] if asked.query.get("stats") == "true" else [])))

    def _pin_ls(self, asked: Asked) -> Said:
        cid = Cid.parse(asked.query["arg"])
        if cid not in self.store.pins:
            return error(500, f"path '{cid}' is not pinned")
        return Said(body=lines({"Keys": {cid.text: {"Type": "recursive", "Name": self.store.pins[cid]}}}))

    def _pin_rm(self, asked: Asked) -> Said:
        cid = Cid.parse(asked.query["arg"])
        if self.store.pins.pop(cid, None) is None:
            return error(500, "not pinned or pinned indirectly")
        return Said(body=lines({"Pins": [cid.text]}))

    def _block_get(self, asked: Asked) -> Said:
        cid = Cid.parse(asked.query["arg"])
        if cid not in self.store.blocks:
            return error(500, f"block was not found locally (offline): ipld: could not find {cid}")
        return Said(headers=(("Content-Type", "application/vnd.ipld.raw"),), body=(self.store.blocks[cid],))


def part(asked: Asked) -> bytes:
    """The bytes of the one file in a multipart body."""
    boundary = asked.headers["content-type"].partition("boundary=")[2].encode()
    _, _, rest = asked.body.partition(b"\r\n\r\n")
    return rest[: rest.rindex(b"\r\n--" + boundary)]


def confirmed(roots: Sequence[Cid], blocks: int, block_bytes: int) -> tuple[bytes, ...]:
    """The answer of a success, to be bent by a test."""
    pins = [{"Root": {"Cid": {"/": cid.text}, "PinErrorMsg": ""}} for cid in roots]
    return lines(*pins, {"Stats": {"BlockCount": blocks, "BlockBytesCount": block_bytes}})
