"""Make realistic mixed records from a seed: audit, write-ahead log, telemetry, access log and errors.

The records compress about as well as those of real programs: ids are random and repeat (an operation is logged when it
is added, started and finished), users, paths and addresses follow a Zipf distribution, durations are log-normal, time
advances by uneven steps, and several kinds of record are mixed in bursts. Two runs with the same seed make the same
records.

    python -m benchmarks.lines 200000 lines.jsonl      writes that many JSON lines, in the form of docs/formats.md
"""

from __future__ import annotations

import base64
import json
import logging
import random
import sys
from bisect import bisect
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from itertools import accumulate
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

__all__ = ["Call", "calls", "json_lines", "log_record"]

BEGIN: Final = datetime(2026, 3, 2, 8, 0, 0, tzinfo=timezone.utc)
_NAMES: Final = "ana bo chen dara elif femi goran hana ivo jun kofi lena mira noor omar pia quan rosa sami tove"
_TOPICS: Final = "reports invoices models images backups logs datasets papers maps audio"
_ENDINGS: Final = ("pdf", "car", "json", "parquet")
LEVELS: Final = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}
T = TypeVar("T")


class Call(NamedTuple):
    """One call of a logger, as a program makes it."""

    logger: str
    level: int
    message: str
    args: tuple[Any, ...]
    extra: dict[str, Any]
    exception: str | None
    """The traceback as text, if there is one."""


class _World:
    """The users, addresses, paths and backends of the records, and the random generator."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        dice = self.dice
        names = _NAMES.split()
        self.users = [f"{dice.choice(names)}.{dice.choice(names)}{n}" for n in range(4000)]
        self.addresses = [
            f"10.{dice.randrange(64)}.{dice.randrange(256)}.{dice.randrange(1, 255)}" for _ in range(12000)
        ]
        topics = _TOPICS.split()
        self.paths = [
            f"/{dice.choice(topics)}/{dice.randrange(2019, 2027)}/{self.hex(4)}-{n}.{dice.choice(_ENDINGS)}"
            for n in range(30000)
        ]
        self.resources = [f"res-{self.hex(5)}" for _ in range(20000)]
        self.cids = [self.cid() for _ in range(20000)]
        self.agents = [
            "python-requests/2.32.3",
            "kubo/0.43.0",
            "curl/8.9.1",
            "aiohttp/3.14.5",
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        ]
        self.backends = ["ipfs", "s3", "filecoin", "storacha", "lassie"]
        self._weights: dict[tuple[int, float], list[float]] = {}

    def hex(self, size: int) -> str:
        return self.dice.randbytes(size).hex()

    def uuid(self) -> str:
        return str(UUID(bytes=self.dice.randbytes(16), version=4))

    def zipf(self, items: list[T], exponent: float = 0.9) -> T:
        """Return one of the items; the n-th with a probability proportional to n ** -exponent."""
        key = (len(items), exponent)
        if key not in self._weights:
            self._weights[key] = list(accumulate((n + 1) ** -exponent for n in range(len(items))))
        weights = self._weights[key]
        return items[bisect(weights, self.dice.random() * weights[-1])]

    def duration(self, median_ms: float, digits: int = 2) -> float:
        return round(median_ms * self.dice.lognormvariate(0, 0.8), digits)

    def cid(self) -> str:
        raw = b"\x01\x55\x12\x20" + self.dice.randbytes(32)
        return "b" + base64.b32encode(raw).decode().lower().rstrip("=")


def calls(count: int, seed: int = 1) -> Iterator[tuple[datetime, Call]]:
    """Yield calls in the order of time, each with its time."""
    world = _World(seed)
    dice = world.dice
    kinds: list[Callable[[_World, datetime], Iterator[Call]]] = [_audit, _access, _wal, _telemetry, _trouble, _chatter]
    shares = list(accumulate((30, 35, 9, 9, 1, 16)))
    now = BEGIN
    made = 0
    waiting: list[tuple[datetime, Iterator[Call]]] = []
    while True:
        now += timedelta(microseconds=int(dice.expovariate(1 / 2500)))
        if waiting and waiting[0][0] <= now and dice.random() < 0.7:
            _, story = waiting.pop(0)
        else:
            story = kinds[bisect(shares, dice.random() * shares[-1])](world, now)
        call = next(story, None)
        if call is None:
            continue
        yield now, call
        made += 1
        if made == count:
            return
        later = now + timedelta(milliseconds=dice.lognormvariate(3, 1))
        waiting.append((later, story))
        if len(waiting) > 64:
            waiting.pop(0)


def _audit(world: _World, now: datetime) -> Iterator[Call]:
    dice = world.dice
    kind, actions = dice.choices(
        [
            ("authentication", ["login", "logout", "token_refresh"]),
            ("authorization", ["check_permission"]),
            ("data", ["read", "write", "delete", "share"]),
            ("api_key", ["use", "create", "revoke"]),
            ("backend", ["select", "mount"]),
        ],
        (30, 30, 30, 8, 2),
    )[0]
    good = dice.random() < 0.94
    status = ("granted" if good else "denied") if kind == "authorization" else ("success" if good else "failure")
    details: dict[str, Any] = {}
    if kind == "authentication":
        details = {"method": dice.choices(["password", "api_key", "oauth"], (2, 5, 3))[0]}
    if kind == "data":
        details = {"size": int(world.duration(80_000, 0)), "path": world.zipf(world.paths)}
    user, address, request = world.zipf(world.users), world.zipf(world.addresses), world.hex(16)
    yield Call(
        "audit",
        logging.INFO,
        "%s %s",
        (kind, world.zipf(actions, 1.5)),
        {
            "event": "audit.event",
            "event_type": kind,
            "action": world.zipf(actions, 1.5),
            "timestamp": round(now.timestamp(), 6),
            "user_id": user,
            "ip_address": address,
            "resource_id": world.zipf(world.resources),
            "status": status,
            "request_id": request,
            **({"details": details} if details else {}),
        },
        None,
    )
    if kind == "data" and dice.random() < 0.5:  # the request that the event stands for
        yield _request(world, user, address, request)


def _access(world: _World, _now: datetime) -> Iterator[Call]:
    yield _request(world, world.zipf(world.users), world.zipf(world.addresses), world.hex(16))


def _request(world: _World, user: str, address: str, request: str) -> Call:
    dice = world.dice
    method = dice.choices(["GET", "POST", "HEAD", "DELETE"], (70, 22, 6, 2))[0]
    path = dice.choices([world.zipf(world.paths), f"/ipfs/{world.zipf(world.cids)}", "/health"], (65, 20, 15))[0]
    status = dice.choices([200, 204, 304, 401, 404, 500], (800, 60, 60, 20, 50, 10))[0]
    extra = {
        "remote": address,
        "user": user,
        "bytes": int(world.duration(6000, 0)) if status == 200 else 0,
        "duration_ms": world.duration(12, 3),
        "agent": world.zipf(world.agents),
        "request_id": request,
    }
    return Call("http.access", logging.INFO, "%s %s %d", (method, path, status), extra, None)


def _wal(world: _World, now: datetime) -> Iterator[Call]:
    dice = world.dice
    operation = world.uuid()
    kind = dice.choices(["add", "pin", "get", "unpin", "upload", "cat"], (40, 25, 15, 8, 7, 5))[0]
    backend = world.zipf(world.backends, 1.4)
    millis = int(now.timestamp() * 1000)
    base = {"operation_id": operation, "operation_type": kind, "backend": backend}
    name = "ipfs_kit_py.storage_wal"
    asked = {"path": world.zipf(world.paths)} if kind in {"add", "upload"} else {"cid": world.zipf(world.cids)}
    yield Call(
        name,
        logging.INFO,
        "%s %s",
        (kind, "pending"),
        {"event": "wal.operation.added", **base, "status": "pending", "updated_at": millis, "parameters": asked},
        None,
    )
    millis += int(world.duration(8, 0))
    yield Call(
        name,
        logging.INFO,
        "%s %s",
        (kind, "processing"),
        {"event": "wal.operation.status", **base, "status": "processing", "updated_at": millis},
        None,
    )
    millis += int(world.duration(120, 0))
    if dice.random() < 0.05:
        error = {
            "error": f"dial tcp {world.zipf(world.addresses)}:5001: connect: connection refused",
            "error_type": "StoreUnavailable",
        }
        yield Call(
            name,
            logging.WARNING,
            "%s %s",
            (kind, "retrying"),
            {
                "event": "wal.operation.status",
                **base,
                "status": "retrying",
                "updated_at": millis,
                "retry_count": 1,
                **error,
            },
            None,
        )
        return
    outcome: dict[str, Any] = {"size": int(world.duration(90_000, 0)), "duration_ms": world.duration(130, 3)}
    if kind in {"add", "upload"}:
        outcome["cid"] = world.cid()
    yield Call(
        name,
        logging.INFO,
        "%s %s",
        (kind, "completed"),
        {"event": "wal.operation.status", **base, "status": "completed", "updated_at": millis, "result": outcome},
        None,
    )


def _telemetry(world: _World, now: datetime) -> Iterator[Call]:
    dice = world.dice
    metric = world.zipf(
        ["operation_latency", "operation_count", "success_rate", "queue_size", "throughput", "backend_health"], 0.7
    )
    for backend in world.backends[: dice.randrange(1, 4)]:
        extra: dict[str, Any] = {
            "event": "wal.metric",
            "metric_type": metric,
            "value": {
                "success_rate": round(1 - dice.random() ** 3 * 0.2, 4),
                "backend_health": dice.choice([1, 1, 1, 0.5]),
            }.get(metric, world.duration(40, 3)),
            "timestamp": round(now.timestamp(), 6),
            "backend": backend,
            "operation_type": dice.choice(["add", "pin", "get"]),
            "sampling_interval": 10.0,
        }
        if metric == "operation_latency":
            extra["operation_id"] = world.uuid()
        if metric == "throughput":
            mean = world.duration(40, 3)
            extra["aggregate"] = {
                "count": dice.randrange(20, 400),
                "min": round(mean * 0.2, 3),
                "max": world.duration(mean * 6, 3),
                "mean": mean,
                "median": round(mean * 0.9, 3),
                "percentile_95": world.duration(mean * 3, 3),
            }
        yield Call("ipfs_kit_py.wal_telemetry", logging.INFO, "%s of %s", (metric, backend), extra, None)


def _trouble(world: _World, _now: datetime) -> Iterator[Call]:
    dice = world.dice
    backend = world.zipf(world.backends, 1.4)
    address = world.zipf(world.addresses)
    cause = dice.choice(
        [
            f"TimeoutError: {backend} did not answer within {dice.choice([5, 10, 30])} s",
            f"ConnectionRefusedError: [Errno 111] Connect call failed ('{address}', 5001)",
            f"KeyError: '{world.zipf(world.resources)}'",
        ]
    )
    line = dice.choice([88, 131, 212])
    trace = (
        "Traceback (most recent call last):\n"
        f'  File "/srv/app/backends/{backend}.py", line {line}, in fetch\n'
        "    reply = await session.post(url, data=body, timeout=limit)\n"
        '  File "/srv/app/net/session.py", line 57, in post\n'
        "    return await self._send(request)\n"
        f"{cause}"
    )
    yield Call(
        "app.backends",
        logging.ERROR,
        "request %s to %s failed",
        (world.hex(6), backend),
        {
            "backend": backend,
            "attempt": dice.randrange(1, 4),
            "user": world.zipf(world.users),
            "elapsed_ms": world.duration(900),
        },
        trace,
    )


def _chatter(world: _World, _now: datetime) -> Iterator[Call]:
    dice = world.dice
    component = dice.choice(["scheduler", "cache", "peers", "gc"])
    message, args = dice.choice(
        [
            ("evicted %d entries, %d bytes free", (dice.randrange(4000), dice.randrange(2**31))),
            (
                "connected to peer %s over %s",
                ("12D3KooW" + base64.b32encode(world.dice.randbytes(10)).decode(), "quic-v1"),
            ),
            ("job %s finished in %.3f s", (f"nightly-{dice.randrange(60)}", world.duration(2, 3))),
            ("nothing to collect for %s since %d s", (world.zipf(world.paths), dice.randrange(600))),
        ]
    )
    yield Call(
        f"app.{component}",
        logging.DEBUG if dice.random() < 0.4 else logging.INFO,
        message,
        args,
        {"component": component},
        None,
    )


def json_lines(count: int, seed: int = 1) -> Iterator[bytes]:
    """Yield the same as JSON lines like those in a payload: keys in the order of docs/formats.md, LF at the end."""
    pids = (4127, 4128, 4131, 4140)
    seqs = dict.fromkeys(pids, 0)
    dice = random.Random(seed + 1)
    for now, call in calls(count, seed):
        pid = dice.choice(pids)
        text = call.message % call.args
        record = {
            "time": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "level": LEVELS[call.level],
            "logger": call.logger,
            "event": call.extra.get("event", text),
        }
        record.update((key, value) for key, value in call.extra.items() if key != "event")
        if "event" in call.extra:
            record["message"] = text
        if call.exception:
            record["exception"] = call.exception
        record["pid"] = pid
        record["seq"] = seqs[pid]
        seqs[pid] += 1
        yield json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def log_record(now: datetime, call: Call) -> logging.LogRecord:
    """Return the LogRecord that `logging` would make of the call."""
    record = logging.LogRecord(call.logger, call.level, __file__, 1, call.message, call.args, None)
    record.created = now.timestamp()
    record.exc_text = call.exception
    vars(record).update(call.extra)
    return record


def main() -> None:
    """Write COUNT lines to PATH."""
    count, path = int(sys.argv[1]), sys.argv[2]
    with open(path, "wb") as file:
        file.writelines(json_lines(count))


if __name__ == "__main__":
    main()
