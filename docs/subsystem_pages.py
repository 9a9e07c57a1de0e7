"""Write docs/subsystems/ from the code: `make docs`, or `python docs/subsystem_pages.py DIRECTORY`.

The text of a page comes from the declarations in ipfs_log_handlers/subsystems/. The records that it shows are those
that the program in examples/subsystems/ logs into a temporary home; values that differ between two runs are shown as
`…`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from textwrap import fill
from typing import Any, Final

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.config import DEFAULT_QUIET_SECONDS, DEFAULT_SECONDS, Batch
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper.due import FLOOD_BATCHES
from ipfs_log_handlers.stats.columns import MANY, MAX_DISTINCT_VALUES
from ipfs_log_handlers.subsystems import Router, Subsystem
from ipfs_log_handlers.subsystems.events import Event
from ipfs_log_handlers.subsystems.rules import Rule, Scalar
from ipfs_log_handlers.subsystems.signature import Field
from ipfs_log_handlers.testing import Capture

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = ROOT / "docs" / "subsystems"
EXAMPLES: Final = ROOT / "examples" / "subsystems"
_KINDS: Final = {
    "text": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "object",
    "list": "list",
}


def main(directory: Path) -> None:
    """Write the index and a page for each subsystem."""
    directory.mkdir(parents=True, exist_ok=True)
    known = subsystems.load()
    (directory / "README.md").write_text(_index(known), encoding="utf-8")
    for subsystem in known:
        (directory / f"{subsystem.name}.md").write_text(_page(subsystem), encoding="utf-8")


# -- the index


def _index(known: Sequence[Subsystem]) -> str:
    defaults = Batch()
    return _text(
        "<!-- Written by `make docs` from the code; do not edit. -->",
        "# Subsystems",
        "Each subsystem is one log of a home. A handler with `subsystem` puts all its records into that log. A handler"
        " without it chooses the subsystem of each record.",
        *_table(
            ("subsystem", "`type`", "what it logs", "loggers", "records in a batch"),
            (
                (
                    f"[{subsystem.name}]({subsystem.name}.md)",
                    f"`{subsystem.type}`",
                    _about(subsystem),
                    _loggers(subsystem),
                    f"{subsystem.records}",
                )
                for subsystem in known
            ),
        ),
        "The first of these rules that applies chooses the subsystem of a record: its field `subsystem`, if that is a"
        " registered name; its event, if a subsystem has that event or one above it (`a` is above `a.b`); its"
        f" logger, if a subsystem has that logger or one above it; otherwise `{subsystems.DEFAULT}`.",
        "## Fields",
        "Each event has a function that checks its fields and returns them in the form that logging and structlog"
        " take: `log.info(text, extra=audit.event(…))`, `log.info(**audit.event(…))`. A missing or misspelt field, or"
        " a value of a wrong type, raises `EventError`; a field with the value `None` is left out. A record can have"
        ' further fields: `extra={**audit.event(…), "tenant": 5}`. A record that is logged without the function is'
        " always kept, whatever its fields are.",
        "In the tables, a name with a dot is a member of an object, and a name with `[]` is a member of each object"
        " in a list; such a member is required if the object is given. The column `values` lists all allowed values,"
        " unless it says that others are allowed.",
        "The records on these pages are printed by `ipfs-logs cat`. Before the fields of the event are `time` (RFC"
        " 3339, UTC), `level`, `logger` and `event`; after them `message` (if it is not the event), `pid` and `seq`"
        " (from 1 on in each process, without a gap). `cat` adds `subsystem`, which is not stored with each record.",
        "## Metadata of a batch",
        "The page of each subsystem lists the keys of `meta` in the manifest ([formats.md](../formats.md)) of its"
        " batches. The keys that a subsystem defines itself are counted from complete events: records that are an"
        " event of the subsystem and have all required fields. `left_out` is the number of other records; it is"
        " missing if there are none. In a subsystem without events, all records count. A set of more than"
        f' {MAX_DISTINCT_VALUES} values, or one that is too long for a manifest, is replaced by `"{MANY}"`.',
        "`stats.fields` has the smallest and largest number (`min`, `max`) and the texts and booleans (`values`) of"
        " some fields, so that a query can skip a batch without reading it. For the fields in `ids`, which have"
        " another value in nearly every record, Bloom filters in the [index](../query.md#the-index) do the same; they"
        " are not in the manifest.",
        "## When a batch is sealed",
        f"A batch is sealed when the subsystem's number of records, {defaults.bytes:,} bytes of lines, or an age of"
        f" {DEFAULT_SECONDS:g} s is reached, whichever comes first; if little is logged (less than 16 KiB of lines"
        f" wait), the age is {DEFAULT_QUIET_SECONDS:g} s."
        f' `batch={{"records": …, "bytes": …, "seconds": …}}` of a handler changes these. When more than'
        f" {FLOOD_BATCHES} batches of records wait, the next batch takes all of them.",
        "`metadata={…}` of a handler adds values that are not in the records; the page of each subsystem lists the"
        " names.",
    )


def _about(subsystem: Subsystem) -> str:
    return (_module(subsystem).__doc__ or "").partition("\n")[0].removesuffix(".")


def _loggers(subsystem: Subsystem) -> str:
    names = [
        f"`{logger}`" + ("" if Router.route(logger, None) == subsystem.name else " (its events only)")
        for logger in subsystem.loggers
    ]
    return ", ".join(names) or "all other loggers"


def _module(subsystem: Subsystem) -> Any:
    return import_module(f"ipfs_log_handlers.subsystems.{subsystem.name}")


# -- the page of one subsystem


def _page(subsystem: Subsystem) -> str:
    name = subsystem.name
    return _text(
        f"<!-- Written by `make docs` from ipfs_log_handlers/subsystems/{name}.py and examples/subsystems/{name}.py;"
        " do not edit. -->",
        f"# {name}",
        f"{_about(subsystem)}. [README.md](README.md) lists all subsystems and explains these pages.",
        "## Routing",
        *_routing(subsystem),
        "## Events",
        *_events(subsystem),
        "## Metadata of a batch",
        *_metadata(subsystem),
        "## Batches",
        *_policy(subsystem),
        "## Example",
        *_example(subsystem),
    )


def _routing(subsystem: Subsystem) -> Iterator[str]:
    if not subsystem.loggers:
        yield "A handler without `subsystem` sends every record here that belongs to no other subsystem."
        return
    yield "A handler without `subsystem` sends here:"
    lines = ["- records whose event is one of those below, from any logger;"]
    for logger in subsystem.loggers:
        goes = Router.route(logger, None)
        if goes == subsystem.name:
            lines.append(f"- records of the logger `{logger}`, or of one below it, whose event is of no subsystem;")
        else:
            lines.append(f"- no other records of the logger `{logger}`: they go to [{goes}]({goes}.md);")
    lines[-1] = f"{lines[-1][:-1]}."
    yield "\n".join(lines)
    yield (
        "If a message is one JSON object, its members become fields; without a member `event`, the event is"
        f" `{subsystem.first_event}`."
    )


def _events(subsystem: Subsystem) -> Iterator[str]:
    if not subsystem.events:
        yield "This subsystem has no events of its own: `event` is the message, and a record can have any fields."
    for event in subsystem.events.values():
        yield f"### `{event.name}`"
        yield f"{event.about} `{subsystem.name}.{event.declared.__name__}(…)` makes it."
        yield from _table(
            ("field", "type", "required", "unit", "values"),
            (row for field in event.fields for row in _rows(event, field)),
        )
    units = getattr(_module(subsystem), "UNITS", None)
    if units is not None:
        yield "The unit of `value`:"
        yield from _table(("`metric_type`", "unit"), ((_code(name), unit) for name, unit in units.items()))


def _rows(event: Event, field: Field, above: str = "") -> Iterator[tuple[str, ...]]:
    name = f"{above}{field.name}"
    required = _required(event, field) if not above else "yes" if field.required else ""
    kind = "list of objects" if field.kind == "list" and field.members else _KINDS[field.kind]
    yield f"`{name}`", kind, required, field.unit, _values(field)
    for member in field.members:
        yield from _rows(event, member, f"{name}[]." if field.kind == "list" else f"{name}.")


def _required(event: Event, field: Field) -> str:
    if field.required:
        return "yes"
    if field.name in event.required:
        return "unless configured"
    others = [_code(name) for names in event.required if field.name in names for name in names if name != field.name]
    return f"this or {' or '.join(others)}" if others else ""


def _values(field: Field) -> str:
    if field.range is not None:
        return f"{field.range[0]:g} to {field.range[1]:g}"
    return ", ".join(map(_code, field.values)) + (", others allowed" if field.values and not field.closed else "")


def _metadata(subsystem: Subsystem) -> Iterator[str]:
    common = [
        ("type", f"`{subsystem.type}`"),
        ("timestamp", "time when the batch was sealed, RFC 3339, UTC"),
        ("version", f"the configured one, else `{subsystem.version}`"),
        ("record_count", "number of records in the batch"),
    ]
    counted = "complete events" if subsystem.events else "records"
    own = [(name, _rule(rule, counted)) for name, rule in subsystem.meta.items()]
    left_out = [("left_out", "number of records that are not a complete event, and are only in `record_count`")]
    every = [*common, *own, *(left_out if subsystem.events else [])]
    yield "`meta` in the manifest:"
    yield from _table(("key", "value"), ((_code(name), value) for name, value in every))
    if subsystem.zone:
        yield "`stats.fields` in the manifest has " + ", ".join(map(_code, subsystem.zone)) + "."
    yield "Bloom filters in the index list the values of " + ", ".join(map(_code, subsystem.ids)) + "."


def _rule(rule: Rule, counted: str) -> str:
    """Return a rule of the metadata in words."""
    only = f" {_where(rule.where)}" if rule.where else ""
    if rule.rule == "count":
        return f"number of {counted}{only}"
    if rule.rule == "counts" and rule.per:
        return f"for each `{rule.field}`, the number of `{rule.per}` whose last record has it{only}"
    if rule.rule == "counts":
        return f"for each `{rule.field}`, the number of records that have it{only}"
    if rule.rule == "distinct":
        return f"the values of `{rule.field}`, sorted"
    if rule.rule == "distinct_count":
        return f"number of different `{rule.field}`"
    if rule.rule == "worst":
        return (
            f"the first of {', '.join(map(_code, rule.order))} that is the `{rule.field}` in the last record of a"
            f" `{rule.per}`; `{rule.order[-1]}` if none is"
        )
    return _single(rule)


def _single(rule: Rule) -> str:
    value = f"the `{rule.field}`" if rule.field else "the last part of the logger"
    if rule.field and rule.logger:
        value += " (if a record has none: the last part of its logger)"
    configured = f"the configured `{rule.configured}`"
    otherwise = "null" if rule.otherwise is None else f"`{rule.otherwise}`"
    if isinstance(rule.otherwise, str) and "{" in rule.otherwise:
        otherwise += " (s since 1970 of the first record, number of the batch)"
    return (
        f"{value}, if it is the same in all records that have one. Otherwise {configured}, else {otherwise}; all values"
        f" are then in `{rule.plural}`, sorted"
    )


def _where(where: Iterable[tuple[str, Scalar]]) -> str:
    return "in which " + " and ".join(f"`{name}` is `{json.dumps(value).strip(chr(34))}`" for name, value in where)


def _policy(subsystem: Subsystem) -> Iterator[str]:
    defaults = Batch()
    yield (
        f"Sealed at {subsystem.records} records, {defaults.bytes:,} bytes of lines, or an age of"
        f" {DEFAULT_SECONDS:g} s ({DEFAULT_QUIET_SECONDS:g} s if little is logged), whichever comes first."
    )
    yield "Names that `metadata={…}` of a handler takes:"
    yield from _table(("name", "effect"), ((_code(name), effect) for name, effect in _configured(subsystem)))


def _configured(subsystem: Subsystem) -> Iterator[tuple[str, str]]:
    yield "version", "`version` of its batches"
    for key, rule in subsystem.meta.items():
        if rule.configured:
            spared = any(rule.configured in event.required for event in subsystem.events.values())
            also = "; records then need no such field" if spared else ""
            yield rule.configured, f"`{key}` of batches whose records have different values or none{also}"
        if rule.logger:
            yield rule.plural, "a name for each logger and those below it; it replaces the last part of the logger"


# -- the example


@dataclass(frozen=True)
class Logged:
    """The records and metadata that a program has left in a home."""

    records: list[dict[str, Any]]
    """As `ipfs-logs cat` prints them."""
    metadata: dict[str, Any]
    """`meta`, and `fields` of `stats`, of the one batch."""


def _example(subsystem: Subsystem) -> Iterator[str]:
    source = (EXAMPLES / f"{subsystem.name}.py").read_text(encoding="utf-8")
    program = source.partition("from __future__ import annotations\n\n")[2]
    logged = _run(program, subsystem.name)
    shown = "\n".join(_json({**record, "time": "…", "pid": "…"}) for record in logged.records)
    yield _fenced("python", program)
    yield "It logs these records; values that differ between two runs are shown as `…`:"
    yield _fenced("console", f"$ ipfs-logs cat {subsystem.name} | python -m json.tool --json-lines\n{shown}")
    yield "The metadata of their batch:"
    yield _fenced("json", _json(logged.metadata))


def _run(program: str, subsystem: str) -> Logged:
    """Run a program in a temporary home and return what it logged."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("IPFS_")}
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory) / "home"
        subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            env={**environment, "IPFS_LOGS_HOME": str(home)},
            check=True,
        )
        manifest = Batches(HomeDir(home).subsystem_dir(subsystem).current.batches).facts(0).manifest
        metadata: dict[str, Any] = {"meta": {**manifest.meta, "timestamp": "…"}}
        if "fields" in manifest.stats:
            metadata["stats"] = {"fields": manifest.stats["fields"]}
        return Logged(Capture(home).records(subsystem), metadata)


# -- Markdown

_UNFILLED: Final = ("#", "-", "<", "`" * 3, "|")
"""Beginnings of the paragraphs whose lines are not filled."""


def _text(*paragraphs: str) -> str:
    return "\n\n".join(text if text.startswith(_UNFILLED) else _filled(text) for text in paragraphs) + "\n"


def _filled(paragraph: str) -> str:
    return fill(paragraph, 120, break_long_words=False, break_on_hyphens=False)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a table without its empty columns."""
    rows = list(rows)
    kept = [index for index in range(len(head)) if any(row[index] for row in rows)]
    lines = [[head[index] for index in kept], ["---"] * len(kept), *([row[index] for index in kept] for row in rows)]
    yield "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _fenced(language: str, body: str) -> str:
    return f"```{language}\n{body.strip()}\n```"


def _json(value: object) -> str:
    return json.dumps(value, indent=4, ensure_ascii=False).replace('"pid": "…"', '"pid": …')


def _code(text: str) -> str:
    return f"`{text}`"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PAGES)
