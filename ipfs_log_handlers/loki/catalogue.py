"""Answer the questions about labels, streams and volumes. These functions read files; they run in threads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

from ipfs_log_handlers.api import Dataset, Stats
from ipfs_log_handlers.loki.answers import Answer, matrix_answer, statistics, vector_answer
from ipfs_log_handlers.loki.labels import Labels
from ipfs_log_handlers.loki.limits import Deadline
from ipfs_log_handlers.loki.line_parsers import parse_json
from ipfs_log_handlers.loki.matrix import LabelSet, Matrix, Moments, label_set
from ipfs_log_handlers.loki.parser import parse_log_query, parse_selector
from ipfs_log_handlers.loki.pipeline import Pipeline
from ipfs_log_handlers.loki.refusal import Refusal
from ipfs_log_handlers.loki.requests import Parameters, Span
from ipfs_log_handlers.loki.streams import LABELS, Line, Streams
from ipfs_log_handlers.loki.syntax import Matcher
from ipfs_log_handlers.loki.units import bytes_of, go_duration_of

__all__ = [
    "detected_fields",
    "detected_labels",
    "label_names",
    "label_values",
    "series",
    "stats",
    "volume",
    "volume_range",
]

_EVERY: Final = (Matcher("subsystem", "!=", ""),)
"""The selector of all streams."""
_MAX_FIELDS: Final = 1_000
"""Fields, or their values, in an answer."""
_MAX_SAMPLED: Final = 5_000
"""Lines in which fields are looked for."""
_SAMPLED: Final = 100
"""Lines in which fields are looked for, if the request does not say it."""


def label_names(dataset: Dataset, given: Parameters, _: Deadline) -> dict[str, Any]:
    """Answer `/loki/api/v1/labels`.

    Raises:
        Refusal: the request cannot be answered.
    """
    return {"status": "success", "data": [name for name, values in _values(dataset, given, LABELS).items() if values]}


def label_values(dataset: Dataset, given: Parameters, _: Deadline, name: str) -> dict[str, Any]:
    """Answer `/loki/api/v1/label/NAME/values`.

    Raises:
        Refusal: the request cannot be answered.
    """
    names = [name] if name in LABELS else []
    return {"status": "success", "data": _values(dataset, given, names).get(name, [])}


def detected_labels(dataset: Dataset, given: Parameters, _: Deadline) -> dict[str, Any]:
    """Answer `/loki/api/v1/detected_labels`.

    Raises:
        Refusal: the request cannot be answered.
    """
    counts = {name: len(values) for name, values in _values(dataset, given, LABELS).items()}
    return {"detectedLabels": [{"label": name, "cardinality": count} for name, count in counts.items() if count]}


def _values(dataset: Dataset, given: Parameters, names: Collection[str]) -> dict[str, list[str]]:
    """Return the values of labels; where the selector names only subsystems, the index has them.

    With another selector, the records of the span are read once for all labels.
    """
    text = given.text("query")
    streams = Streams(dataset, parse_selector(given.checked(text)) if text.strip() else _EVERY)
    span = given.span
    if not names:
        return {}
    if not streams.chooses_subsystems_alone:
        label_sets = list(map(dict, _label_sets(streams, span)))
        return {name: sorted({labels[name] for labels in label_sets if name in labels}) for name in names}
    chosen = streams.within(span.since_us, span.until_us)
    return {name: _values_in_index(chosen, name) for name in names}


def _values_in_index(chosen: Dataset, name: str) -> list[str]:
    if name in ("subsystem", "service_name"):
        return sorted({batch.subsystem for batch in chosen.explain().batches if batch.opened})
    return [value for value in chosen.distinct(name) if isinstance(value, str) and value]


def _label_sets(streams: Streams, span: Span) -> set[LabelSet]:
    """Return the labels of each stream that has lines; its records are read."""
    return {label_set(line.stream.items()) for line in streams.lines(span.since_us, span.until_us)}


def series(dataset: Dataset, given: Parameters, _: Deadline) -> dict[str, Any]:
    """Answer `/loki/api/v1/series`.

    Raises:
        Refusal: the request cannot be answered.
    """
    selectors = given.all_of("match[]", "match")
    if not selectors:
        raise Refusal('the parameter match[] is missing; give a selector, such as {subsystem="audit"}')
    found: set[LabelSet] = set()
    for selector in selectors:
        found |= _label_sets(Streams(dataset, parse_selector(given.checked(selector))), given.span)
    return {"status": "success", "data": [dict(labels) for labels in sorted(found)]}


def stats(dataset: Dataset, given: Parameters, _: Deadline) -> dict[str, Any]:
    """Answer `/loki/api/v1/index/stats` from the index alone: an upper bound, as Loki's answer is an estimate.

    Raises:
        Refusal: the request cannot be answered.
    """
    span = given.span
    streams = Streams(dataset, parse_log_query(given.query()).matchers)
    chosen = [batch for batch in streams.within(span.since_us, span.until_us).explain().batches if batch.opened]
    return {
        "streams": len({(batch.subsystem, batch.log) for batch in chosen}),
        "chunks": len(chosen),
        "entries": sum(batch.records for batch in chosen),
        "bytes": sum(batch.bytes for batch in chosen),
    }


# -- volumes


def volume(dataset: Dataset, given: Parameters, deadline: Deadline) -> dict[str, Any]:
    """Answer `/loki/api/v1/index/volume`: bytes of lines by labels, the largest first.

    Raises:
        Refusal: the request cannot be answered.
    """
    span, limit = given.span, given.count("limit", 100, given.limits.max_series)
    moments, read = Moments(first_ns=span.end_ns), Stats()
    largest = _largest(_volumes(dataset, given, moments, [span.since_us, span.until_us], read), limit)
    return _volume_answer(vector_answer(largest, moments, limit), largest, read, deadline)


def volume_range(dataset: Dataset, given: Parameters, deadline: Deadline) -> dict[str, Any]:
    """Answer `/loki/api/v1/index/volume_range`: the same for each step.

    Raises:
        Refusal: the request cannot be answered.
    """
    limit = given.count("limit", 100, given.limits.max_series)
    span, moments = given.span, given.moments
    inner = [moments.at(number) // 1000 for number in range(1, moments.count)]
    bounds = [span.since_us, *(bound for bound in inner if span.since_us < bound < span.until_us), span.until_us]
    read = Stats()
    largest = _largest(_volumes(dataset, given, moments, bounds, read), limit)
    return _volume_answer(matrix_answer(largest, moments, limit), largest, read, deadline)


def _volumes(dataset: Dataset, given: Parameters, moments: Moments, bounds: list[int], read: Stats) -> Matrix:
    """Return the bytes of lines between each two bounds, by the labels that the request wants.

    Raises:
        Refusal: there are too many series.
    """
    matchers = parse_log_query(given.query()).matchers
    targets = [name.strip() for name in given.text("targetLabels").split(",") if name.strip()]
    names = targets or [matcher.name for matcher in matchers]
    aggregate_by = given.text("aggregateBy", "series")
    if aggregate_by not in ("series", "labels"):
        raise Refusal(f"aggregateBy={aggregate_by[:80]!r} is neither series nor labels")
    sizes, number = Matrix(moments, given.limits), 0
    for line in Streams(dataset, matchers).lines(bounds[0], bounds[-1], stats=read):
        while line.time_us >= bounds[number + 1]:
            number += 1
        chosen = {name: line.stream[name] for name in names if name in line.stream}
        keys = [label_set(chosen.items())] if aggregate_by == "series" else [((name, ""),) for name in chosen]
        for key in keys:
            row = sizes.row(key)
            row[number] = (row[number] or 0.0) + len(line.text)
    return sizes


def _largest(sizes: Matrix, count: int) -> Matrix:
    """Return the series with the most bytes, the largest first."""
    in_order = sorted(sizes.series.items(), key=lambda item: (-sum(size or 0.0 for size in item[1]), item[0]))
    return sizes.like(dict(in_order[:count]))


def _volume_answer(answer: Answer, sizes: Matrix, read: Stats, deadline: Deadline) -> dict[str, Any]:
    stats = statistics((read,), len(sizes.series), deadline.spent_seconds)
    return {"status": "success", "data": {**answer, "stats": stats}}


# -- fields


def detected_fields(dataset: Dataset, given: Parameters, _: Deadline, name: str | None = None) -> dict[str, Any]:
    """Answer `/loki/api/v1/detected_fields`, and `/loki/api/v1/detected_field/NAME/values`, from the newest lines.

    Raises:
        Refusal: the request cannot be answered.
    """
    parsed = parse_log_query(given.query())
    sampled = given.count("line_limit", _SAMPLED, _MAX_SAMPLED)
    shown = given.count("limit" if given.text("limit") else "field_limit", _MAX_FIELDS, _MAX_FIELDS)
    span, pipeline = given.span, Pipeline(parsed.stages)
    lines = Streams(dataset, parsed.matchers, parsed.stages).lines(span.since_us, span.until_us, newest_first=True)
    values: dict[str, dict[str, None]] = {}
    parsers: dict[str, list[str]] = {}
    for line, labels in _sample(lines, pipeline, sampled):
        for field, value in line.metadata.items():
            values.setdefault(field, {})[value] = None
            parsers.setdefault(field, [])
        parse_json(line.text.decode("utf-8", "replace"), labels)
        for field, value in labels.found.items():
            values.setdefault(field, {})[value] = None
            parsers.setdefault(field, ["json"])
    if name is not None:
        return {"values": list(values.get(name, ()))[:shown], "limit": shown}
    fields = [
        {"label": field, "type": _type_of(known), "cardinality": len(known), "parsers": parsers[field] or None}
        for field, known in list(values.items())[:shown]
    ]
    return {"fields": fields, "limit": shown}


def _sample(lines: Iterator[Line], pipeline: Pipeline, count: int) -> Iterator[tuple[Line, Labels]]:
    for line in lines:
        if count == 0:
            return
        labels = Labels(line.stream, line.metadata)
        if pipeline.keeps(line.text) and pipeline.passed(line.text, labels) is not None:
            count -= 1
            yield line, Labels(line.stream, line.metadata)


def _is_read_by(read: Callable[[str], object]) -> Callable[[str], bool]:
    def is_read(text: str) -> bool:
        try:
            return read(text) is not None
        except ValueError:
            return False

    return is_read


_TYPES: Final[Mapping[str, Callable[[str], bool]]] = {
    "int": _is_read_by(int),
    "float": _is_read_by(float),
    "boolean": lambda text: text in ("true", "false"),
    "duration": _is_read_by(go_duration_of),
    "bytes": _is_read_by(bytes_of),
}


def _type_of(values: Collection[str]) -> str:
    """Return the first type that all values have."""
    return next((name for name, has_type in _TYPES.items() if all(map(has_type, values))), "string")
