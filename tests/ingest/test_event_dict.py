"""Structlog in front of the logging module: what `wrap_for_formatter` sends arrives as the event it was."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.stdlib import ProcessorFormatter

from tests.support.logging_home import durable, logging_to

Make = Callable[..., Any]


@pytest.fixture
def make(home: Path) -> Iterator[Make]:
    """Return a function that makes structlog loggers over one logger with our handler."""
    with logging_to(home) as behind:

        def new(*processors: Any) -> Any:
            return structlog.wrap_logger(
                behind,
                processors=[*processors, ProcessorFormatter.wrap_for_formatter],
                wrapper_class=structlog.stdlib.BoundLogger,
            )

        yield new


def test_level_and_logger_stand_once_and_internal_keys_are_left_out(make: Make, home: Path) -> None:
    """Level and logger stand once in the record, the caller's keys are its fields; internal keys are left out."""
    make(
        structlog.stdlib.add_logger_name, structlog.stdlib.add_log_level, structlog.processors.TimeStamper(fmt="iso")
    ).warning("order placed", n=1, nested={"a": [1]})

    (record,) = durable(home)
    assert ["time", "level", "logger", "event", "n", "nested", "timestamp", "pid", "seq"] == list(record)
    assert ("warning", "t", "order placed", 1) == tuple(record[key] for key in ("level", "logger", "event", "n"))


@pytest.mark.parametrize("before", [[], [structlog.processors.format_exc_info]], ids=["raw", "formatted"])
@pytest.mark.parametrize("method", ["exception", "error"])
def test_a_traceback_is_text_whether_formatted_or_not(make: Make, home: Path, before: list[Any], method: str) -> None:
    """Pitfall 31: a traceback is text in `exception`, whether structlog formatted it or left it to the formatter."""
    try:
        raise ValueError("größer")
    except ValueError:
        getattr(make(*before), method)("e", exc_info=True)

    (record,) = durable(home)
    assert record["exception"].endswith("ValueError: größer")
    assert not {"exc_info", "exception_", "exc_info_"} & set(record)


def test_a_structured_traceback_is_a_field(make: Make, home: Path) -> None:
    """Pitfall 31: a traceback that a processor made a structure of is a field beside the text."""
    try:
        raise ValueError("größer")
    except ValueError as error:
        make(structlog.processors.dict_tracebacks).error("e", exc_info=error)

    assert "größer" == durable(home)[0]["exception_"][0]["exc_value"]


def test_an_event_that_the_chain_of_a_logger_renames_is_the_event(make: Make, home: Path) -> None:
    """The chain may be the logger's own, which structlog's configuration does not know."""
    make(structlog.processors.EventRenamer("what")).info("signed in", user="mira")
    (record,) = durable(home)
    assert ("signed in", "mira") == (record["event"], record["user"])
    assert "what" not in record


def test_arguments_that_no_processor_has_formatted_make_the_event(home: Path) -> None:
    """Arguments that structlog left beside the event are put into it; one after a name to hide is hidden whole."""
    with logging_to(home, redact=["password"]) as behind:
        processors = [ProcessorFormatter.wrap_for_formatter]
        logger: Any = structlog.wrap_logger(behind, processors, wrapper_class=structlog.stdlib.BoundLogger)
        logger.warning("%s with password=%s", "mira", "hu sh")
    (record,) = durable(home)
    assert "mira with password=[redacted]" == record["event"]
    assert not {"positional_args", "args"} & set(record)


def test_a_rendered_stack_is_text(make: Make, home: Path) -> None:
    """Pitfall 31: a stack that structlog rendered is text in `stack`."""
    make(structlog.processors.StackInfoRenderer()).info("e", stack_info=True)

    assert "test_a_rendered_stack_is_text" in durable(home)[0]["stack"]


def test_other_handlers_get_the_event_dict_unchanged(make: Make, home: Path) -> None:
    """Pitfall 25: a ProcessorFormatter behind ours gets the event dict as it was."""
    seen = list[dict[str, Any]]()

    class Last(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            self.format(record)

    def note(_: object, __: str, event_dict: Any) -> str:
        seen.append(dict(event_dict))
        return ""

    last = Last()
    last.setFormatter(ProcessorFormatter(processors=[ProcessorFormatter.remove_processors_meta, note]))
    log = make(structlog.stdlib.add_log_level)
    log._logger.addHandler(last)
    log.info("e", a=1)

    assert [{"event": "e", "a": 1, "level": "info"}] == seen
    assert 1 == durable(home)[0]["a"]


def test_fields_named_as_internal_keys_are_kept(home: Path) -> None:
    """A caller who logs a dict, or fields with the names of structlog's internal keys, keeps them all."""
    with logging_to(home) as log:
        log.info({"event": "e", "level": "mine"}, extra={"_name": 1})
        log.info("text", extra={"_name": 1, "_logger": 2})

    one, two = durable(home)
    assert ("mine", 1) == (one["level_"], one["_name"])
    assert (1, 2) == (two["_name"], two["_logger"])
