"""A program that logs as a small shop does: requests, payments that fail, and who was allowed to do what.

`python -m tests.browser.shop HOME COUNT AGO SPAN` logs the events of so many requests, spread over SPAN seconds that
ended AGO seconds ago. With COUNT 0 it logs a record for each line of its stdin, now: an object with `event` and fields.
It prints `logged` after each. It is not the keeper.
"""

from __future__ import annotations

import json
import logging
import random
import sys
import time
from pathlib import Path
from typing import Any

from ipfs_log_handlers import IPFSHandler

PATHS = ("/", "/cart", "/search", "/api/orders", "/api/stock", "/login")
USERS = ("mira", "tom", "ann", "li", "omar")
_HANDLERS: dict[str, IPFSHandler] = {}


def main() -> None:
    """Log, and end."""
    home, count, ago, span = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
    for subsystem in ("audit", "logs", "mcp_actions"):
        _HANDLERS[subsystem] = IPFSHandler(subsystem, home=home, keeper="none", batch={"records": 100})
    if count:
        _history(count, time.time() - ago, span)
    else:
        for line in sys.stdin:
            given = json.loads(line)
            _log("logs", "shop.web", given.pop("level", logging.INFO), given.pop("event"), time.time(), **given)
            print("logged", flush=True)
    for handler in _HANDLERS.values():
        handler.close()


def _history(count: int, end: float, span: float) -> None:
    draw = random.Random(count)
    # Two busy times, so that the histogram has a shape.
    moments = sorted(
        end - span * (draw.betavariate(6, 3) if draw.random() < 0.6 else draw.random()) for _ in range(count)
    )
    for number, moment in enumerate(moments):
        _request(draw, number, moment)


def _request(draw: random.Random, number: int, moment: float) -> None:
    trace, request = f"{draw.getrandbits(128):032x}", f"req-{draw.getrandbits(32):08x}"
    path, user = draw.choice(PATHS), draw.choice(USERS)
    ids: dict[str, Any] = {"request_id": request, "trace_id": trace}
    status = draw.choices([200, 304, 404, 500], [80, 10, 7, 3])[0]
    latency = round(draw.lognormvariate(3, 0.7), 1)
    if path == "/login":
        allowed = draw.random() < 0.85
        _log(
            "audit", "shop.auth", logging.INFO if allowed else logging.WARNING, "audit.event", moment,
            event_type="authentication", action="login", user_id=user, status="success" if allowed else "failure",
            timestamp=round(moment, 3), details={"method": "password", "attempts": draw.randrange(1, 4)}, **ids,
        )  # fmt: skip
    if status == 500:
        exception = (
            "Traceback (most recent call last):\n"
            '  File "shop/payments.py", line 88, in charge\n    reply = gateway.post(order)\n'
            '  File "shop/gateway.py", line 31, in post\n    raise TimeoutError("no answer after 5 s")\n'
            "TimeoutError: no answer after 5 s"
        )
        _log(
            "logs", "shop.payments", logging.ERROR, "payment failed", moment - 0.002, exception=exception,
            order=100_000 + number, amount={"value": draw.randrange(500, 9000) / 100, "currency": "EUR"}, **ids,
        )  # fmt: skip
    if draw.random() < 0.12:
        _log(
            "mcp_actions", "shop.agent", logging.DEBUG, "tool called", moment - 0.001,
            tool=draw.choice(["search", "stock"]),
            arguments={"query": draw.choice(["lamp", "desk", "chair"]), "limit": 20}, **ids,
        )  # fmt: skip
    level = logging.INFO if status < 400 else logging.WARNING if status < 500 else logging.ERROR
    _log(
        "logs", "shop.web", level, "request handled", moment, method="GET", path=path, status=status,
        latency_ms=latency, user={"name": user, "id": 1000 + USERS.index(user)}, **ids,
    )  # fmt: skip


def _log(subsystem: str, logger: str, level: int, event: str, moment: float, **fields: Any) -> None:
    record = logging.LogRecord(logger, level, __file__, 1, event.replace("%", "%%"), None, None)
    record.created = moment
    record.exc_text = fields.pop("exception", None)
    record.__dict__.update(fields)
    _HANDLERS[subsystem].handle(record)


if __name__ == "__main__":
    main()
