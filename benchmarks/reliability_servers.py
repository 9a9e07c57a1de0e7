"""Count the records that arrive: a server on one loopback port, which can also refuse connections or never answer.

A record is recognised by its mark, `rec <run>-<number>~`, anywhere in the received bytes. The port stays the same when
the server changes its mode. For Kubo, the server is a relay that counts requests; the records are read from Kubo
itself.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal

__all__ = ["MARK", "CountingServer", "Mode"]

MARK: Final = re.compile(rb"rec ([0-9a-z]+)-(\d+)~")
Mode = Literal["up", "refusing", "silent"]

_ANSWERS: Final = {
    b"/v1/logs": (200, b"application/x-protobuf", b""),
    b"/loki/api/v1/push": (204, b"text/plain", b""),
    b"/": (200, b"application/x-amz-json-1.1", b"{}"),
}
_MIN_UPLOAD_BYTES: Final = 700
"""Size of the smallest upload of a batch; an import that only checks the credentials is smaller."""
_HEAD: Final = re.compile(rb"\A([A-Z]+) (\S+) HTTP/1\.[01]\r\n(.*?)\r\n\r\n", re.DOTALL)


class CountingServer:
    """A server on one port.

    Args:
        protocol: `http` answers each request by its path; `tcp` only reads; `kubo` forwards to a daemon.
        daemon_port: port of that daemon.
    """

    def __init__(self, protocol: Literal["http", "tcp", "kubo"], daemon_port: int = 0) -> None:
        self.seen: Counter[tuple[str, int]] = Counter()
        """How often each record arrived, by run and number."""
        self.requests = 0
        """Requests without a record; for `kubo`, requests that are not the upload of a batch."""
        self.bytes = 0
        """Bytes that arrived."""
        self._protocol = protocol
        self._daemon_port = daemon_port
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listening = _bound(0)
        self.port: int = self._listening.getsockname()[1]
        """The port."""

    def set_mode(self, mode: Mode) -> None:
        """Change the mode; bytes that arrived before and were not read are lost."""
        self.close()
        self._listening = _bound(self.port)
        if mode == "refusing":
            return  # bound and not listening: connections are refused, and no other program gets the port
        self._listening.listen(128)
        if mode == "up":
            threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def close(self) -> None:
        """Release the port, and reset all connections."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    connection.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def _accept(self, listening: socket.socket) -> None:
        serve = {"http": self._http, "tcp": self._tcp, "kubo": self._relay}[self._protocol]
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with self._lock:
                self._open.append(connection)
            threading.Thread(target=self._guarded, args=(serve, connection), daemon=True).start()

    def _guarded(self, serve: Callable[[socket.socket], None], connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), connection:
            serve(connection)

    def _note(self, body: bytes) -> bool:
        marks = MARK.findall(body)
        with self._lock:
            self.seen.update((run.decode(), int(number)) for run, number in marks)
            self.bytes += len(body)
        return bool(marks)

    def _tcp(self, connection: socket.socket) -> None:
        tail = b""
        while data := connection.recv(1 << 16):
            whole = tail + data
            last = whole.rfind(b"rec ", max(0, len(whole) - 40))  # a mark may be cut by the read
            cut = len(whole) if last < 0 or MARK.match(whole, last) else last
            self._note(whole[:cut])
            tail = whole[cut:]
        self._note(tail)

    def _http(self, connection: socket.socket) -> None:
        buffer = b""
        while True:
            while not (head := _HEAD.match(buffer)):
                data = connection.recv(1 << 16)
                if not data:
                    return
                buffer += data
            path, fields = head[2].partition(b"?")[0], _fields(head[3])
            length = int(fields.get(b"content-length", b"0"))
            if fields.get(b"expect"):
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = buffer[head.end() :]
            while len(body) < length:
                data = connection.recv(1 << 20)
                if not data:
                    return
                body += data
            body, buffer = body[:length], body[length:]
            if fields.get(b"content-encoding") == b"gzip":
                body = gzip.decompress(body)
            if not self._note(body):
                self.requests += 1
            status, kind, answer = _ANSWERS.get(path, _ANSWERS[b"/"])
            connection.sendall(
                b"HTTP/1.1 %d OK\r\nContent-Type: %b\r\n" % (status, kind)
                + (b"" if status == 204 else b"Content-Length: %d\r\n" % len(answer))
                + b"\r\n"
                + answer
            )

    def _relay(self, connection: socket.socket) -> None:
        daemon = socket.create_connection(("127.0.0.1", self._daemon_port))
        with self._lock:
            self._open.append(daemon)
        back = threading.Thread(target=_pump, args=(daemon, connection), daemon=True)
        back.start()
        requests = _Requests()
        with contextlib.suppress(OSError):
            while data := connection.recv(1 << 16):
                others = sum(not _is_upload(path, size) for path, size in requests.feed(data))
                with self._lock:
                    self.requests += others
                daemon.sendall(data)
            daemon.shutdown(socket.SHUT_WR)
        back.join()
        daemon.close()


class _Requests:
    """Finds the heads of HTTP requests in a stream; bodies must have a known length."""

    def __init__(self) -> None:
        self._buffer = b""
        self._body = 0

    def feed(self, data: bytes) -> list[tuple[bytes, int]]:
        """Return path and body size of the requests whose head has now arrived completely."""
        requests = []
        self._buffer += data
        while self._buffer:
            skipped = min(self._body, len(self._buffer))
            self._body -= skipped
            self._buffer = self._buffer[skipped:]
            head = _HEAD.match(self._buffer)
            if head is None:
                break
            self._body = int(_fields(head[3]).get(b"content-length", b"0"))
            self._buffer = self._buffer[head.end() :]
            requests.append((head[2], self._body))
        return requests


def _is_upload(path: bytes, size: int) -> bool:
    return path.startswith(b"/api/v0/dag/import") and size > _MIN_UPLOAD_BYTES


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def _fields(head: bytes) -> dict[bytes, bytes]:
    pairs = (line.partition(b":") for line in head.split(b"\r\n"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
