"""Write the status of a home as OpenMetrics text, for Prometheus and others.

OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/): samples of a family together, units as
suffixes, counters end in `_total`, the text ends with `# EOF`. It uses only the values of `status`, so it works
while a daemon is down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

__all__ = ["FAMILIES", "OPENMETRICS_CONTENT_TYPE", "Family", "render"]

OPENMETRICS_CONTENT_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""The content type of the text, for a program that serves it over HTTP."""
_MAX_LABEL_CHARS: Final = 300
"""Characters of a label; a longer one is cut."""

Status = Mapping[str, Any]
Labels = dict[str, str]
Sample = tuple[Labels, float]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name, and how its samples are read from a status."""

    name: str
    """Name of the metric, without the suffix of its kind."""
    kind: Literal["counter", "gauge", "info"]
    """Type of the metric."""
    unit: str
    """Unit, which is the end of the name; empty for none."""
    help: str
    """Meaning of the metric, for the HELP line."""
    samples: Callable[[Sequence[Status]], Iterable[Sample]]
    """Function that reads labels and values from the status of all subsystems of a home."""

    def lines(self, statuses: Sequence[Status]) -> Iterable[str]:
        """Yield the family as lines of text; nothing when it has no sample."""
        samples = list(self.samples(statuses))
        if not samples:
            return
        yield f"# TYPE {self.name} {self.kind}"
        if self.unit:
            yield f"# UNIT {self.name} {self.unit}"
        yield f"# HELP {self.name} {self.help}"
        suffix = {"counter": "_total", "info": "_info"}.get(self.kind, "")
        for labels, value in samples:
            inner = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            yield f"{self.name}{suffix}{f'{{{inner}}}' if inner else ''} {value:.15g}"


def render(statuses: Sequence[Status]) -> str:
    """Write a status as text.

    Args:
        statuses: what `handler.status()` returned: one mapping for each subsystem of a home.

    Returns:
        The text, each line ended by LF.
    """
    return "".join(f"{line}\n" for family in FAMILIES for line in family.lines(statuses)) + "# EOF\n"


def _escaped(text: str) -> str:
    """Escape the value of a label: at most 300 characters, no control character, nothing that ends label or line."""
    if len(text) > _MAX_LABEL_CHARS:
        text = f"{text[: _MAX_LABEL_CHARS - 1]}…"
    text = "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _own(status: Status) -> Labels:
    return {"subsystem": status["subsystem"]}


def _number(key: str) -> Callable[[Sequence[Status]], Iterable[Sample]]:
    """Read a number of each subsystem; a key that is missing gives no sample, and `None` is 0."""
    return lambda statuses: [(_own(status), status[key] or 0) for status in statuses if key in status]


def _dropped(statuses: Sequence[Status]) -> Iterable[Sample]:
    for status in statuses:
        for reason, count in status["dropped"].items():
            yield _own(status) | {"reason": reason}, count


def _failures(statuses: Sequence[Status]) -> Iterable[Sample]:
    """Read the failures of the process from the first subsystem that has them: all subsystems have the same."""
    failures: dict[str, int] = next((status["failures"] for status in statuses if "failures" in status), {})
    return [({"what": what}, count) for what, count in failures.items()]


def _warnings(statuses: Sequence[Status]) -> Iterable[Sample]:
    return [(_own(status), len(status["warnings"])) for status in statuses if "warnings" in status]


def _of_pin_services(key: str) -> Callable[[Sequence[Status]], Iterable[Sample]]:
    """Read a number of each pin service of each subsystem."""
    return lambda statuses: [
        (_own(status) | {"service": pin["service"]}, pin[key]) for status in statuses for pin in status.get("pins", ())
    ]


def _failing_pin_services(statuses: Sequence[Status]) -> Iterable[Sample]:
    for status in statuses:
        for pin in status.get("pins", ()):
            yield _own(status) | {"service": pin["service"]}, pin["last_error"] is not None


def _pin_retries(statuses: Sequence[Status]) -> Iterable[Sample]:
    for status in statuses:
        for pin in status.get("pins", ()):
            if pin["next_retry"] is not None:
                yield _own(status) | {"service": pin["service"]}, _seconds(pin["next_retry"])


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def _failing(statuses: Sequence[Status]) -> Iterable[Sample]:
    return [(_own(status), status["last_error"] is not None) for status in statuses]


def _errors(statuses: Sequence[Status]) -> Iterable[Sample]:
    failing = [status for status in statuses if status["last_error"] is not None]
    return [(_own(status) | {"message": status["last_error"]}, 1) for status in failing]


def _retries(statuses: Sequence[Status]) -> Iterable[Sample]:
    for status in statuses:
        if status["next_retry"] is not None:
            yield _own(status), _seconds(status["next_retry"])


def _named(key: str) -> Callable[[Sequence[Status]], Iterable[Sample]]:
    """Read a number of the name of the home, which all subsystems have; `None` gives no sample."""

    def samples(statuses: Sequence[Status]) -> Iterable[Sample]:
        name = statuses[0].get("name") if statuses else None
        return [] if name is None or name[key] is None else [({}, name[key])]

    return samples


def _unpublished(statuses: Sequence[Status]) -> Iterable[Sample]:
    """Read whether the newest home head is not published although that was tried."""
    name = statuses[0].get("name") if statuses else None
    return [] if name is None else [({}, name["last_error"] is not None)]


def _alive(statuses: Sequence[Status]) -> Iterable[Sample]:
    """Read whether the home has a keeper; all subsystems have the same keeper."""
    return [({}, statuses[0]["keeper"] is not None)] if statuses else []


def _keeper(statuses: Sequence[Status]) -> Iterable[Sample]:
    keeper = statuses[0]["keeper"] if statuses else None
    return [] if keeper is None else [({"host": keeper["host"], "pid": str(keeper["pid"])}, 1)]


FAMILIES: Final = (
    Family(
        "ipfs_logs_durable_records",
        "counter",
        "records",
        "Records that survive a kill of the program.",
        _number("durable"),
    ),
    Family("ipfs_logs_sealed_records", "counter", "records", "Records in a signed batch.", _number("sealed")),
    Family(
        "ipfs_logs_shipped_records",
        "counter",
        "records",
        "Records in batches of which as many copies as configured are confirmed.",
        _number("shipped"),
    ),
    Family(
        "ipfs_logs_pinned_records",
        "gauge",
        "records",
        "Records in batches that a pin service has confirmed.",
        _of_pin_services("pinned"),
    ),
    Family(
        "ipfs_logs_pin_waiting_batches",
        "gauge",
        "batches",
        "Batches that a store has confirmed and a pin service has not.",
        _of_pin_services("waiting"),
    ),
    Family(
        "ipfs_logs_pin_failing",
        "gauge",
        "",
        "Whether the last call to a pin service failed and batches wait for it.",
        _failing_pin_services,
    ),
    Family(
        "ipfs_logs_pin_next_retry_timestamp_seconds",
        "gauge",
        "seconds",
        "Time at which a failing pin service is tried again.",
        _pin_retries,
    ),
    Family(
        "ipfs_logs_published_records",
        "counter",
        "records",
        "Records in batches that the published home head leads to.",
        _number("published"),
    ),
    Family("ipfs_logs_dropped_records", "counter", "records", "Records that could not be kept, by reason.", _dropped),
    Family(
        "ipfs_logs_incomplete_records",
        "counter",
        "records",
        "Records of this process without the fields that their event requires; they are kept.",
        _number("incomplete"),
    ),
    Family(
        "ipfs_logs_failures",
        "counter",
        "",
        "Errors of this process that could not be raised, for example at exit.",
        _failures,
    ),
    Family(
        "ipfs_logs_quarantined_pieces",
        "gauge",
        "pieces",
        "Damaged pieces of segments and damaged files in quarantine.",
        _number("quarantined"),
    ),
    Family("ipfs_logs_set_aside_batches", "gauge", "batches", "Batches that a store refused.", _number("set_aside")),
    Family(
        "ipfs_logs_waiting_archives",
        "gauge",
        "archives",
        "Archives that are stored and in no batch yet.",
        _number("archives_waiting"),
    ),
    Family("ipfs_logs_spool_bytes", "gauge", "bytes", "Space that segments take on the disk.", _number("spool_bytes")),
    Family("ipfs_logs_store_bytes", "gauge", "bytes", "Space that batches take on the disk.", _number("store_bytes")),
    Family(
        "ipfs_logs_bounded_bytes",
        "gauge",
        "bytes",
        "Space of segments, and of batches that are not shipped.",
        _number("bounded_bytes"),
    ),
    Family(
        "ipfs_logs_max_spool_bytes",
        "gauge",
        "bytes",
        "Space of segments and unshipped batches, above which records are dropped or logging waits.",
        _number("max_spool_bytes"),
    ),
    Family(
        "ipfs_logs_oldest_unshipped_seconds",
        "gauge",
        "seconds",
        "Age of the oldest record that is not shipped; 0 without such a record, or without a store.",
        _number("oldest_unshipped"),
    ),
    Family(
        "ipfs_logs_warnings",
        "gauge",
        "",
        "Current warnings: segments that cannot be read, programs with different settings.",
        _warnings,
    ),
    Family("ipfs_logs_failing", "gauge", "", "1 if there is an error now, 0 if there is none.", _failing),
    Family("ipfs_logs_last_error", "info", "", "The current error.", _errors),
    Family(
        "ipfs_logs_next_retry_timestamp_seconds",
        "gauge",
        "seconds",
        "Time at which the store that failed is tried again, seconds since 1970.",
        _retries,
    ),
    Family(
        "ipfs_logs_published_age_seconds",
        "gauge",
        "seconds",
        "Time since the name of the home was last resolved to its home head.",
        _named("age"),
    ),
    Family(
        "ipfs_logs_publish_failing",
        "gauge",
        "",
        "1 if the newest home head could not be published, else 0.",
        _unpublished,
    ),
    Family("ipfs_logs_keeper_alive", "gauge", "", "1 if a process is the keeper of this home, else 0.", _alive),
    Family("ipfs_logs_keeper", "info", "", "The process that is the keeper of this home.", _keeper),
)
"""All metrics, in the order in which they are written."""
