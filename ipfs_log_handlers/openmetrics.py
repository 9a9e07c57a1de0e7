"""OpenMetrics: the counters and the health of `status` as text that Prometheus and its kin read.

OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/): families together, units as suffixes,
counters end in `_total`, the text ends with `# EOF`. It is made of what `status` found and of nothing else, so it is
there while a daemon is down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

__all__ = ["CONTENT_TYPE", "FAMILIES", "Family", "render"]

CONTENT_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""The content type of `render`, for whoever serves it over HTTP."""
_LONGEST_LABEL: Final = 300

Status = Mapping[str, Any]
Labels = dict[str, str]
Sample = tuple[Labels, float]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: what it is called and where in a status it stands."""

    name: str
    """Without the suffix of its kind."""
    kind: Literal["counter", "gauge", "info"]
    """Its type."""
    unit: str
    """The suffix of the name that is its unit; empty for none."""
    help: str
    """What it tells."""
    samples: Callable[[Sequence[Status]], Iterable[Sample]]
    """From all subsystems of a home to labels and values."""

    def lines(self, found: Sequence[Status]) -> Iterable[str]:
        """The family as text; nothing when it has no sample."""
        samples = list(self.samples(found))
        if not samples:
            return
        yield f"# TYPE {self.name} {self.kind}"
        if self.unit:
            yield f"# UNIT {self.name} {self.unit}"
        yield f"# HELP {self.name} {self.help}"
        suffix = {"counter": "_total", "info": "_info"}.get(self.kind, "")
        for labels, value in samples:
            told = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            yield f"{self.name}{suffix}{{{told}}} {value:.15g}" if told else f"{self.name}{suffix} {value:.15g}"


def render(found: Sequence[Status]) -> str:
    """Write what `status` found.

    Args:
        found: what `handler.status()` or `ipfs_log_handlers.status.status` returned: mappings of one home.

    Returns:
        The text, each line ended by LF.
    """
    return "".join(f"{line}\n" for family in FAMILIES for line in family.lines(found)) + "# EOF\n"


def _escaped(text: str) -> str:
    """A label's value: at most 300 characters, nothing in it that ends the label or the line, valid as UTF-8."""
    if len(text) > _LONGEST_LABEL:
        text = f"{text[: _LONGEST_LABEL - 1]}…"
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _own(status: Status) -> Labels:
    return {"subsystem": status["subsystem"]}


def _number(key: str) -> Callable[[Sequence[Status]], Iterable[Sample]]:
    """A number of each subsystem; one that is not told is none, and `None` is 0."""
    return lambda found: [(_own(each), each[key] or 0) for each in found if key in each]


def _dropped(found: Sequence[Status]) -> Iterable[Sample]:
    for each in found:
        for reason, count in each["dropped"].items():
            yield _own(each) | {"reason": reason}, count


def _failures(found: Sequence[Status]) -> Iterable[Sample]:
    """Those of the process, which every subsystem of it tells."""
    told: dict[str, int] = next((each["failures"] for each in found if "failures" in each), {})
    return [({"what": what}, count) for what, count in told.items()]


def _warnings(found: Sequence[Status]) -> Iterable[Sample]:
    return [(_own(each), len(each["warnings"])) for each in found if "warnings" in each]


def _failing(found: Sequence[Status]) -> Iterable[Sample]:
    return [(_own(each), each["last_error"] is not None) for each in found]


def _errors(found: Sequence[Status]) -> Iterable[Sample]:
    return [(_own(each) | {"message": each["last_error"]}, 1) for each in found if each["last_error"] is not None]


def _retries(found: Sequence[Status]) -> Iterable[Sample]:
    for each in found:
        if each["next_retry"] is not None:
            yield _own(each), datetime.fromisoformat(each["next_retry"].replace("Z", "+00:00")).timestamp()


def _alive(found: Sequence[Status]) -> Iterable[Sample]:
    """One for the home, whose keeper keeps every subsystem of it."""
    return [({}, found[0]["keeper"] is not None)] if found else []


def _keeper(found: Sequence[Status]) -> Iterable[Sample]:
    keeper = found[0]["keeper"] if found else None
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
        "Records in batches that as many stores as configured have confirmed.",
        _number("shipped"),
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
        "What failed in this process where nobody could be told: at exit, as a store was closed.",
        _failures,
    ),
    Family(
        "ipfs_logs_quarantined_pieces",
        "gauge",
        "pieces",
        "Damaged pieces of segments, kept aside.",
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
        "Space of what waits: segments, and batches that are not shipped.",
        _number("bounded_bytes"),
    ),
    Family(
        "ipfs_logs_max_spool_bytes",
        "gauge",
        "bytes",
        "Bound of what waits, above which records are dropped, or block.",
        _number("max_spool_bytes"),
    ),
    Family(
        "ipfs_logs_oldest_unshipped_seconds",
        "gauge",
        "seconds",
        "Age of the oldest record that is not shipped; 0 when there is none, or nowhere to ship to.",
        _number("oldest_unshipped"),
    ),
    Family(
        "ipfs_logs_warnings",
        "gauge",
        "",
        "Warnings that stand: segments that cannot be read, programs that want different policies.",
        _warnings,
    ),
    Family("ipfs_logs_failing", "gauge", "", "1 while the last error stands, 0 while there is none.", _failing),
    Family("ipfs_logs_last_error", "info", "", "The last error, while it stands.", _errors),
    Family(
        "ipfs_logs_next_retry_timestamp_seconds",
        "gauge",
        "seconds",
        "When the store in trouble is tried again, seconds since 1970.",
        _retries,
    ),
    Family("ipfs_logs_keeper_alive", "gauge", "", "1 while some process keeps this home, else 0.", _alive),
    Family("ipfs_logs_keeper", "info", "", "Which process keeps this home.", _keeper),
)
"""All that there is, in the order in which it is written."""
