"""Run a fake Kubo daemon with scripted answers, for faults that a test cannot cause in a real daemon.

Without a script it is a small Kubo over a `MemoryStore` with correct answers (`version`, `dag/import`, `pin/ls`,
`pin/rm`, `pin/add`, `block/get`, `block/put`, `name/put`, `name/get`, `name/resolve`). A test replaces the answer to a
command by a `Response`: status, headers, pieces of a body, and the end of the connection. The server writes HTTP/1.1
itself, because a server library refuses to break the protocol. It runs on a thread of its own, so that programs with
and without an event loop can call it.
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
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import LogStoreError, StoreRejected
from ipfs_log_handlers.format.cid import DAG_CBOR, DAG_PB, RAW, Cid
from ipfs_log_handlers.format.ipns_record import IpnsRecord
from ipfs_log_handlers.testing.memory_store import MemoryStore

__all__ = ["FakeKubo", "Reply", "Request", "Response"]

Then = Literal["end", "cut", "reset", "hang", "close"]
_HANG_S = 600.0
"""Seconds for which a connection hangs: longer than any test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of a client."""

    method: str
    """`POST`, unless the caller made a mistake."""

    command: str
    """The part of the path after `/api/v0/`, such as `dag/import`."""

    query: dict[str, str]
    """The query parameters; if one is repeated, its last value."""

    headers: dict[str, str]
    """The headers by name, in lower case."""

    body: bytes
    """The part of the body that was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One answer, and what happens to the connection after it."""

    status: int = 200
    """The HTTP status."""

    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    """The headers, besides `Transfer-Encoding`."""

    body: tuple[bytes, ...] = ()
    """Pieces of the body; every piece is sent as one chunk."""

    then: Then = "end"
    """`end`: the body ends as it should; `cut`: the connection closes inside the body; `reset`: TCP RST; `hang`:
    nothing more is sent; `close`: with an empty body, the connection closes without any HTTP."""

    read: int | None = None
    """Bytes of the request's body to read before the answer; `None`: all of it."""

    pause_s: float = 0.0
    """Seconds between two pieces."""

    raw: bytes = field(default=b"")
    """Bytes to send instead of status, headers and body."""


Reply = Response | Callable[[Request], Response]
"""A response, or a function that makes one from the request."""


class FakeKubo:
    """Serve on a free loopback port inside a `with` block.

    Args:
        store: the blocks and pins for answers without a script; a test can read `store.pins` and `store.blocks`.
        version: the version it reports.
    """

    store: MemoryStore
    """The blocks and pins of the daemon."""

    requests: list[Request]
    """Every request, in order."""

    config: dict[str, Any]
    """The configuration that `config/show` gives. It announces nothing, so private subsystems are shipped here."""

    def __init__(self, store: MemoryStore | None = None, *, version: str = "0.43.0") -> None:
        self.store = store or MemoryStore("fake")
        self.requests = []
        self.config = {"Provide": {"Enabled": False}}
        self._version = version
        self._script: dict[str, list[Reply]] = {}
        self._always: dict[str, Reply] = {}
        self._loop = asyncio.new_event_loop()
        clock.keep_real(self._loop)
        self._thread = threading.Thread(target=self._run, name="fake-kubo", daemon=True)
        self._ready = threading.Event()
        self._stopped = asyncio.Event()
        self._listening = socket.socket(proto=socket.IPPROTO_TCP)  # so that asyncio sets TCP_NODELAY
        self._tasks: set[asyncio.Task[None]] = set()

    # -- for tests

    def respond_once(self, command: str, *replies: Reply) -> None:
        """Answer the next calls of a command with these replies, one call with one reply; then the script is over.

        The empty `dag/import` with which a client asks for permission does not count.

        Args:
            command: such as `dag/import`.
            replies: the answers, in order.
        """
        self._script.setdefault(command, []).extend(replies)

    def respond_always(self, command: str, reply: Reply) -> None:
        """Answer every call of a command with this reply, the empty `dag/import` among them, until `reset`."""
        self._always[command] = reply

    def reset(self) -> None:
        """Forget all scripted replies; blocks, pins and requests stay."""
        self._script.clear()
        self._always.clear()

    @property
    def port(self) -> int:
        """Return the port that it listens on."""
        return int(self._listening.getsockname()[1])

    @property
    def url(self) -> str:
        """Return its address, for `kubo=`."""
        return f"http://127.0.0.1:{self.port}"

    def uploads(self) -> list[Request]:
        """Return the imports that contained a CAR."""
        return [request for request in self.requests if request.command == "dag/import" and request.body]

    # -- bodies and answers, which a test can change

    @staticmethod
    def json_lines(*values: object) -> tuple[bytes, ...]:
        """Return values as Kubo writes them: a piece for every value, which is one JSON line."""
        return tuple(json.dumps(value).encode() + b"\n" for value in values)

    @staticmethod
    def error(status: int, message: str) -> Response:
        """Return an answer with Kubo's error object.

        Args:
            status: the HTTP status; Kubo uses 500 for nearly everything.
            message: the object's `Message`.
        """
        return Response(status=status, body=FakeKubo.json_lines({"Message": message, "Code": 0, "Type": "error"}))

    @staticmethod
    def import_confirmation(roots: Sequence[Cid], blocks: int, block_bytes: int) -> tuple[bytes, ...]:
        """Return the body of a successful `dag/import`: one line for each pinned root, then the counts."""
        pins = [{"Root": {"Cid": {"/": cid.text}, "PinErrorMsg": ""}} for cid in roots]
        return FakeKubo.json_lines(*pins, {"Stats": {"BlockCount": blocks, "BlockBytesCount": block_bytes}})

    @staticmethod
    def uploaded_file(request: Request) -> bytes:
        """Return the bytes of the one file in a multipart body: the CAR of an upload."""
        boundary = request.headers["content-type"].partition("boundary=")[2].encode()
        _, _, rest = request.body.partition(b"\r\n\r\n")
        return rest[: rest.rindex(b"\r\n--" + boundary)]

    # -- the names of these before 0.1.0, for tests that were written with them

    @property
    def asked(self) -> list[Request]:
        """Return `requests`."""
        return self.requests

    say = respond_once
    always = respond_always
    honest = reset

    # -- the server

    def __enter__(self) -> FakeKubo:
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(64)
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)
        self._listening.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(self._serve_connection, sock=self._listening)
        self._ready.set()
        await self._stopped.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._tasks.add(task)
        try:
            while await self._serve_request(reader, writer):
                pass
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    # -- one request

    async def _serve_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        start, _, rest = head.decode("latin-1").partition("\r\n")
        method, target, _ = start.split(" ", 2)
        headers = {name.lower(): value for name, value in email.parser.Parser().parsestr(rest).items()}
        url = urlsplit(target)
        command = url.path.removeprefix("/api/v0/")
        length = int(headers.get("content-length", "0"))
        scripted = self._always.get(command)
        if scripted is None and self._script.get(command) and (length or command != "dag/import"):
            scripted = self._script[command].pop(0)
        wanted = scripted.read if isinstance(scripted, Response) and scripted.read is not None else length
        body = await reader.readexactly(min(wanted, length))
        request = Request(method=method, command=command, query=dict(parse_qsl(url.query)), headers=headers, body=body)
        self.requests.append(request)
        reply = scripted if scripted is not None else self.answer
        return await self._send(reply(request) if callable(reply) else reply, writer) and len(body) == length

    async def _send(self, response: Response, writer: asyncio.StreamWriter) -> bool:
        if response.raw:
            writer.write(response.raw)
        elif response.then != "close" or response.body:
            await self._write(response, writer)
        await writer.drain()
        if response.then == "end" and not response.raw:
            return True
        if response.then == "hang":
            await asyncio.sleep(_HANG_S)
        if response.then == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            return False
        writer.close()
        await writer.wait_closed()
        return False

    @staticmethod
    async def _write(response: Response, writer: asyncio.StreamWriter) -> None:
        head = [
            f"HTTP/1.1 {response.status} Scripted",
            *(f"{name}: {value}" for name, value in response.headers),
            "Transfer-Encoding: chunked",
        ]
        writer.write("\r\n".join([*head, "", ""]).encode())
        for piece in response.body:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
            if response.pause_s:
                await asyncio.sleep(response.pause_s)
        if response.then == "end":
            writer.write(b"0\r\n\r\n")

    # -- the answers without a script

    def answer(self, request: Request) -> Response:
        """Return the answer to a request without a script: the correct answer of a small Kubo."""
        if request.method != "POST":
            return Response(status=405, headers=(("Allow", "OPTIONS, POST"),), body=(b"405 - Method Not Allowed",))
        known = {
            "version": self._version_answer,
            "config/show": lambda _: Response(body=self.json_lines(self.config)),
            "dag/import": self._import,
            "pin/ls": self._pin_ls,
            "pin/rm": self._pin_rm,
            "pin/add": self._pin_add,
            "block/get": self._block_get,
            "block/put": self._block_put,
            "name/put": self._name_put,
            "name/get": self._name_get,
            "name/resolve": self._name_resolve,
        }
        answer = known.get(request.command)
        return answer(request) if answer else Response(status=404, body=(b"404 page not found",))

    def _version_answer(self, _: Request) -> Response:
        return Response(
            body=self.json_lines({"Version": self._version, "Commit": "", "Repo": "18", "System": "", "Golang": ""})
        )

    def _import(self, request: Request) -> Response:
        if not request.body:
            return Response(status=400, body=(b"file argument 'path' is required",))
        try:
            roots, blocks, block_bytes = self.store.load(self.uploaded_file(request))
        except StoreRejected as problem:
            return self.error(500, f"import failed: mismatch in content integrity, {problem}")
        except LogStoreError as problem:
            return self.error(500, f"import failed: unexpected EOF, {problem}")
        pins = [{"Root": {"Cid": {"/": cid.text}, "PinErrorMsg": self.store.pin(cid)}} for cid in roots]
        stats = {"Stats": {"BlockCount": blocks, "BlockBytesCount": block_bytes}}
        return Response(body=self.json_lines(*pins, *([stats] if request.query.get("stats") == "true" else [])))

    def _pin_ls(self, request: Request) -> Response:
        if "arg" not in request.query:
            pins = {cid.text: {"Type": "recursive", "Name": name} for cid, name in self.store.pins.items()}
            return Response(body=self.json_lines({"Keys": pins}))
        cid = Cid.parse(request.query["arg"])
        if cid not in self.store.pins:
            return self.error(500, f"path '{cid}' is not pinned")
        return Response(body=self.json_lines({"Keys": {cid.text: {"Type": "recursive", "Name": self.store.pins[cid]}}}))

    def _pin_rm(self, request: Request) -> Response:
        cid = Cid.parse(request.query["arg"])
        if self.store.pins.pop(cid, None) is None and cid not in self.store.alone:
            return self.error(500, "not pinned or pinned indirectly")
        self.store.alone.discard(cid)
        return Response(body=self.json_lines({"Pins": [cid.text]}))

    def _pin_add(self, request: Request) -> Response:
        cid = Cid.parse(request.query["arg"])
        if request.query.get("recursive") != "false":
            return self.error(500, "this fake daemon pins recursively only by dag/import")
        if cid in self.store.pins:
            return self.error(500, f"pin: {cid} already pinned recursively")
        if cid not in self.store.blocks:
            return self.error(500, f"block was not found locally (offline): ipld: could not find {cid}")
        self.store.alone.add(cid)
        return Response(body=self.json_lines({"Pins": [cid.text]}))

    def _block_put(self, request: Request) -> Response:
        block = self.uploaded_file(request)
        codec = {"raw": RAW, "dag-cbor": DAG_CBOR, "dag-pb": DAG_PB}[request.query["cid-codec"]]
        cid = Cid.of(codec, block)
        self.store.blocks[cid] = block
        return Response(body=self.json_lines({"Key": cid.text, "Size": len(block)}))

    def _block_get(self, request: Request) -> Response:
        cid = Cid.parse(request.query["arg"])
        if cid not in self.store.blocks:
            return self.error(500, f"block was not found locally (offline): ipld: could not find {cid}")
        return Response(headers=(("Content-Type", "application/vnd.ipld.raw"),), body=(self.store.blocks[cid],))

    def _name_put(self, request: Request) -> Response:
        name = request.query["arg"]
        try:
            self.store.keep_name(name, self.uploaded_file(request))
        except LogStoreError as problem:
            return self.error(500, str(problem.found))
        return Response(body=self.json_lines({"Name": name, "Value": ""}))

    def _name_get(self, request: Request) -> Response:
        record = self._record(request.query["arg"])
        return self.error(500, "routing: not found") if record is None else Response(body=(record,))

    def _name_resolve(self, request: Request) -> Response:
        record = self._record(request.query["arg"].removeprefix("/ipns/"))
        if record is None:
            return self.error(500, "could not resolve name")
        return Response(body=self.json_lines({"Path": f"/ipfs/{IpnsRecord.parse(record).value}"}))

    def _record(self, name: str) -> bytes | None:
        return self.store.names.get(name) if self.store.resolves else None
