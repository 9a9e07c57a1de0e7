"""Writes docs/subsystems/ from the code: `make docs`, or `python docs/subsystem_pages.py DIRECTORY`.

What a page says is read from the declarations in ipfs_log_handlers/subsystems/. The records that it shows are those
that examples/subsystems/ really logs, into a home that is thrown away; what differs between two runs is shown as `…`.
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
from ipfs_log_handlers.config import Batch
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.keeper.seal import FLOOD
from ipfs_log_handlers.keeper.values import MANY, MOST_DISTINCT
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
    for each in known:
        (directory / f"{each.name}.md").write_text(_page(each), encoding="utf-8")


# -- the index


def _index(known: Sequence[Subsystem]) -> str:
    defaults = Batch()
    return _text(
        "<!-- Written by `make docs` from the code; a change here is lost. -->",
        "# Subsystems",
        "Each subsystem is one log of a home. A handler with `subsystem` puts all its records into that one; a handler"
        " without routes each record.",
        *_table(
            ("subsystem", "`type`", "what it logs", "routed from", "records in a batch"),
            (
                (f"[{each.name}]({each.name}.md)", f"`{each.type}`", _about(each), _routed(each), f"{each.records}")
                for each in known
            ),
        ),
        "A record goes where its field `subsystem` says, if that is a registered name; else by its event, if the event"
        " is one of a subsystem or lies below one (`a.b` lies below `a`); else by its logger, which a subsystem takes"
        f" with all below it; else to `{subsystems.DEFAULT}`.",
        "## Fields",
        "Each event has a function that checks its fields and gives them in the form that logging and structlog take:"
        " `log.info(text, extra=audit.event(…))`, `log.info(**audit.event(…))`. A field that is missing, misspelt or of"
        " a wrong type or value is an `EventError`; `None` leaves a field out. What else a record should hold goes"
        ' beside them: `extra={**audit.event(…), "tenant": 5}`. A record that is logged without the function is kept'
        " whatever its fields are.",
        "A name with a dot is a member of an object, one with `[]` a member of each object in a list; it is required"
        " where that object is given. Values are all that are allowed, unless it says otherwise.",
        "The records on these pages are printed by `ipfs-logs cat`: before the fields stand `time` (RFC 3339, UTC),"
        " `level`, `logger` and `event`, behind them `message` (where it is not the event), `pid` and `seq` (from 1 on"
        " in each process, without a gap). `subsystem` is the log that the record lies in, and is not in its line.",
        "## What a batch says of its records",
        "`meta` of its manifest ([formats.md](../formats.md)) has the keys that the page of the subsystem lists. Those"
        " of its own count the records that are events of the subsystem with all required fields; how many others there"
        " are stands in `left_out`, which is missing where there is none. A subsystem without events counts all"
        f" records. In place of a set of more than {MOST_DISTINCT} values, or of one too long for a manifest, stands"
        f' `"{MANY}"`.',
        "`stats.fields` has for each field that a query asks for the least and greatest number (`min`, `max`) and the"
        " texts and booleans in it (`values`), so that a batch may be skipped unread.",
        "## When a batch is cut",
        f"At the subsystem's number of records, at {defaults.bytes:,} bytes of lines, or when the oldest line is"
        f' {defaults.seconds:g} s old: whichever comes first. `batch={{"records": …, "bytes": …, "seconds": …}}` of a'
        f" handler says otherwise. When the records of more than {FLOOD} batches wait, the next batch takes all that"
        " waits.",
        "`metadata={…}` of a handler gives what records do not say; each page lists the names that its subsystem"
        " takes.",
    )


def _about(subsystem: Subsystem) -> str:
    return (_module(subsystem).__doc__ or "").partition("\n")[0].removesuffix(".")


def _routed(subsystem: Subsystem) -> str:
    told = [
        f"`{each}`" + ("" if Router.route(each, None) == subsystem.name else " (by the event)")
        for each in subsystem.loggers
    ]
    return ", ".join(told) or "all other loggers"


def _module(subsystem: Subsystem) -> Any:
    return import_module(f"ipfs_log_handlers.subsystems.{subsystem.name}")


# -- the page of one subsystem


def _page(subsystem: Subsystem) -> str:
    name = subsystem.name
    return _text(
        f"<!-- Written by `make docs` from ipfs_log_handlers/subsystems/{name}.py and examples/subsystems/{name}.py;"
        " a change here is lost. -->",
        f"# {name}",
        f"{_about(subsystem)}. All subsystems, and how to read these pages: [README.md](README.md).",
        "## Routing",
        *_routing(subsystem),
        "## Events",
        *_events(subsystem),
        "## What a batch says",
        *_metadata(subsystem),
        "## Batches",
        *_policy(subsystem),
        "## Example",
        *_example(subsystem),
    )


def _routing(subsystem: Subsystem) -> Iterator[str]:
    if not subsystem.loggers:
        yield "A handler without `subsystem` sends here every record that belongs to no other subsystem."
        return
    yield "A handler without `subsystem` sends here:"
    lines = ["- records whose event is one of those below, whatever their logger is;"]
    for logger in subsystem.loggers:
        goes = Router.route(logger, None)
        if goes == subsystem.name:
            lines.append(f"- records of the logger `{logger}`, and of all below it, with no event of a subsystem;")
        else:
            lines.append(f"- of the logger `{logger}` no others: those go to [{goes}]({goes}.md);")
    lines[-1] = f"{lines[-1][:-1]}."
    yield "\n".join(lines)
    yield (
        "A message that is one JSON object gives its members as fields; where it names no event, it is"
        f" `{subsystem.first_event}`."
    )


def _events(subsystem: Subsystem) -> Iterator[str]:
    if not subsystem.events:
        yield "It has no events of its own: `event` is the message, and any fields may stand beside it."
    for event in subsystem.events.values():
        yield f"### `{event.name}`"
        yield f"{event.about} Made by `{subsystem.name}.{event.declared.__name__}(…)`."
        yield from _table(
            ("field", "type", "required", "unit", "values"),
            (row for each in event.fields for row in _rows(event, each)),
        )
    units = getattr(_module(subsystem), "UNITS", None)
    if units is not None:
        yield "What `value` counts:"
        yield from _table(("`metric_type`", "unit"), ((_code(name), unit) for name, unit in units.items()))


def _rows(event: Event, found: Field, above: str = "") -> Iterator[tuple[str, ...]]:
    name = f"{above}{found.name}"
    required = _required(event, found) if not above else "yes" if found.required else ""
    kind = "list of objects" if found.kind == "list" and found.members else _KINDS[found.kind]
    yield f"`{name}`", kind, required, found.unit, _values(found)
    for member in found.members:
        yield from _rows(event, member, f"{name}[]." if found.kind == "list" else f"{name}.")


def _required(event: Event, found: Field) -> str:
    if found.required:
        return "yes"
    if found.name in event.required:
        return "unless configured"
    others = [_code(name) for names in event.required if found.name in names for name in names if name != found.name]
    return f"this or {' or '.join(others)}" if others else ""


def _values(found: Field) -> str:
    if found.range is not None:
        return f"{found.range[0]:g} to {found.range[1]:g}"
    return ", ".join(map(_code, found.values)) + (", others allowed" if found.values and not found.closed else "")


def _metadata(subsystem: Subsystem) -> Iterator[str]:
    common = [
        ("type", f"`{subsystem.type}`"),
        ("timestamp", "when the batch was sealed, RFC 3339, UTC"),
        ("version", f"the configured one, else `{subsystem.version}`"),
        ("record_count", "records in the batch"),
    ]
    own = [(name, _rule(rule)) for name, rule in subsystem.meta.items()]
    left_out = [("left_out", "records that are no whole event of this subsystem and count in no key of its own")]
    every = [*common, *own, *(left_out if subsystem.events else [])]
    yield "`meta` of its manifest:"
    yield from _table(("key", "what it says"), ((_code(name), told) for name, told in every))
    if subsystem.zone:
        yield "`stats.fields` of its manifest tells of " + ", ".join(map(_code, subsystem.zone)) + "."


def _rule(rule: Rule) -> str:
    """A rule in words."""
    only = f" {_where(rule.where)}" if rule.where else ""
    if rule.rule == "count":
        return f"how many records{only}"
    if rule.rule == "counts" and rule.per:
        return f"how many `{rule.per}` have each `{rule.field}`, by the last record of each{only}"
    if rule.rule == "counts":
        return f"how many records have each `{rule.field}`{only}"
    if rule.rule == "distinct":
        return f"the values of `{rule.field}`, sorted"
    if rule.rule == "distinct_count":
        return f"how many different `{rule.field}` there are"
    if rule.rule == "worst":
        return (
            f"the first of {', '.join(map(_code, rule.order))} that is the `{rule.field}` of any `{rule.per}` in its"
            f" last record; `{rule.order[-1]}` where none is"
        )
    return _single(rule)


def _single(rule: Rule) -> str:
    value = f"the `{rule.field}`" if rule.field else "the last part of the logger"
    if rule.field and rule.logger:
        value += " (of a record without one: the last part of its logger)"
    configured = f"the configured `{rule.configured}`"
    otherwise = "null" if rule.otherwise is None else f"`{rule.otherwise}`"
    if isinstance(rule.otherwise, str) and "{" in rule.otherwise:
        otherwise += " (s since 1970 of the first record, number of the batch)"
    return (
        f"{value}, where all records that have one agree; where they do not, or none has one: {configured}, else"
        f" {otherwise}, and all values that there are, sorted, in `{rule.plural}`"
    )


def _where(where: Iterable[tuple[str, Scalar]]) -> str:
    return "whose " + " and ".join(f"`{name}` is `{json.dumps(value).strip(chr(34))}`" for name, value in where)


def _policy(subsystem: Subsystem) -> Iterator[str]:
    defaults = Batch()
    yield (
        f"Cut at {subsystem.records} records, {defaults.bytes:,} bytes of lines, or {defaults.seconds:g} s, whichever"
        " comes first."
    )
    yield "What `metadata={…}` of its handler takes:"
    yield from _table(("name", "what it does"), ((_code(name), told) for name, told in _configured(subsystem)))


def _configured(subsystem: Subsystem) -> Iterator[tuple[str, str]]:
    yield "version", "`version` of its batches"
    for key, rule in subsystem.meta.items():
        if rule.configured:
            spared = any(rule.configured in event.required for event in subsystem.events.values())
            also = "; records need not have the field then" if spared else ""
            yield rule.configured, f"`{key}` of batches whose records do not agree or say nothing{also}"
        if rule.logger:
            yield rule.plural, "names by logger, each for that logger and all below it, in place of its last part"


# -- the example


@dataclass(frozen=True)
class Logged:
    """What a program has left in a home."""

    records: list[dict[str, Any]]
    """As `ipfs-logs cat` prints them."""
    told: dict[str, Any]
    """`meta`, and `fields` of `stats`, of the one batch."""


def _example(subsystem: Subsystem) -> Iterator[str]:
    source = (EXAMPLES / f"{subsystem.name}.py").read_text(encoding="utf-8")
    program = source.partition("from __future__ import annotations\n\n")[2]
    logged = _run(program, subsystem.name)
    shown = "\n".join(_json({**each, "time": "…", "pid": "…"}) for each in logged.records)
    yield _fenced("python", program)
    yield "The very records that it makes, with `…` for what differs between two runs:"
    yield _fenced("console", f"$ ipfs-logs cat {subsystem.name} | python -m json.tool --json-lines\n{shown}")
    yield "And what their batch says:"
    yield _fenced("json", _json(logged.told))


def _run(program: str, subsystem: str) -> Logged:
    """Run a program in a home that is thrown away."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("IPFS_")}
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory) / "home"
        subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            env={**environment, "IPFS_LOGS_HOME": str(home)},
            check=True,
        )
        manifest = Batches(Home(home).room(subsystem).current.batches).facts(0).manifest
        told: dict[str, Any] = {"meta": {**manifest.meta, "timestamp": "…"}}
        if "fields" in manifest.stats:
            told["stats"] = {"fields": manifest.stats["fields"]}
        return Logged(Capture(home).records(subsystem), told)


# -- Markdown

_WHOLE: Final = ("#", "-", "<", "`" * 3, "|")
"""How a paragraph begins whose lines stay as they are."""


def _text(*paragraphs: str) -> str:
    return "\n\n".join(each if each.startswith(_WHOLE) else _filled(each) for each in paragraphs) + "\n"


def _filled(paragraph: str) -> str:
    return fill(paragraph, 120, break_long_words=False, break_on_hyphens=False)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table without the columns in which nothing stands."""
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
