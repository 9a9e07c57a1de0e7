"""The recorder behind a handler or a processor: from event and fields to the writer, step by step.

Handler and processor differ only in how they are called; what a record becomes is decided here, once.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.config import Settings, source
from ipfs_log_handlers.errors import ConfigurationError, HomeError
from ipfs_log_handlers.fields import rename_clashing, resolve_event
from ipfs_log_handlers.native import isolated
from ipfs_log_handlers.process import HomeProcess
from ipfs_log_handlers.subsystems.registry import Router, Subsystem

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipfs_log_handlers.format.record import FrontEncoder
    from ipfs_log_handlers.redaction import Redaction
    from ipfs_log_handlers.writer import Writer

__all__ = ["Chosen", "Recorder"]

Chosen = str | Subsystem | Mapping[str, Any] | None
"""What a handler's or processor's `subsystem` may be."""

_BEHIND_FRONT: Final = 64
"""Bytes that the writer adds to a record: pid, seq, checksum."""
_MARKS: Final = 256


class Recorder:
    """Records events for one open handler or processor.

    Args:
        subsystem: its name, the subsystem itself or a mapping of its fields, which is then registered; `None` routes
            each record.
        keywords: as `config.Settings` has them.
        level: the handler's, only looked at: a wrong one must not leave an open handler behind.
        owner: whose keywords they are, for an error.

    Raises:
        ConfigurationError: a name or value is wrong, or another open handler of the subsystem disagrees.
        HomeError: the home is another user's, or no directory.
    """

    __slots__ = (
        "_encoder",
        "_occupant",
        "_settings",
        "_writers",
        "chosen",
        "failed",
        "home",
        "most",
        "quick",
        "redaction",
    )

    def __init__(
        self,
        subsystem: Chosen,
        keywords: Mapping[str, Any],
        level: int | str = logging.NOTSET,
        *,
        owner: str = "IPFSHandler",
    ) -> None:
        self._settings = Settings.parse(keywords, owner=owner, also=("subsystem", "level"))
        self.chosen = _chosen(subsystem)
        subsystems.check_metadata(self.chosen, self._settings.metadata)
        _check_level(level)
        _check_home(self._settings.home, source(keywords, "home")[1])
        self._occupant = HomeProcess.enter(self.chosen, self._settings)
        self.redaction: Redaction | None = None
        """What hides parts of each record before the disk, if something does."""
        if self._settings.redact is not None:
            from ipfs_log_handlers.redaction import redaction

            self.redaction = redaction(self._settings.redact)
        self._writers: dict[str, Writer] = {}
        self.home = self._occupant.home
        self._encoder: FrontEncoder | None = None
        self.most = self._settings.max_record_bytes - _BEHIND_FRONT
        self.quick: tuple[FrontEncoder, Callable[..., bool], int, Mapping[str, tuple[str, ...]]] | None = None
        """Encoder, writer, longest line and required fields, once all goes to one log with nothing to hide."""
        self.failed = 0
        """Records for which even a substitute could not be written, and calls of flush and close that failed."""

    def take(
        self,
        created: float,
        level: str,
        logger: str,
        text: str,
        fields: dict[str, Any],
        *,
        from_json: bool = False,
        exception: str | None = None,
        stack: str | None = None,
    ) -> None:
        """Record one event.

        Args:
            created: seconds since 1970.
            level: name of the level.
            logger: name of the logger.
            text: the message.
            fields: the caller's fields, which may hold `event` and `subsystem`; the dict is the recorder's from here.
            from_json: the message was a JSON object, and its members are among the fields.
            exception: traceback text.
            stack: stack text.
        """
        subsystem = self.chosen or self._routed(logger, text, fields)
        event = resolve_event(text, fields, subsystem.first_event, from_json=from_json)
        writer = self._writer(subsystem)
        if subsystem.events and subsystem.lacks(event, fields, self._settings.metadata):
            writer.incomplete += 1
        fields = rename_clashing(fields)
        if self.redaction is not None:
            parts = event, fields, exception, stack
            event, fields, exception, stack = self.redaction.apply(parts, remake=from_json and event is text)
            fields = rename_clashing(fields)
        encoder = self.encoder
        front = encoder.front(created, level, logger, event, fields, exception, stack)
        if len(front) > self.most:
            from ipfs_log_handlers.format.record import cut_down

            texts = {name: told for name, told in (("exception", exception), ("stack", stack)) if told is not None}
            event, fields = cut_down(event, {**fields, **texts}, self.most - _MARKS)
            exception, stack = fields.pop("exception", None), fields.pop("stack", None)
            front = encoder.front(created, level, logger, event, fields, exception, stack)
        writer.append(front)

    @property
    def encoder(self) -> FrontEncoder:
        """The encoder, made at the first record: until then a handler costs no import."""
        return self._encoder or self.prepare()

    def prepare(self) -> FrontEncoder:
        """Import what a record needs; with no fork in between, for a child would wait for ever for half a module."""
        if self._encoder is None:
            with HomeProcess.importing():
                import ipfs_log_handlers.plain
                import ipfs_log_handlers.writer  # noqa: F401
                from ipfs_log_handlers.format.record import FrontEncoder

                subsystems.load()
                quick = not isolated()
                if quick:
                    with suppress(ImportError):  # the slow way does without it
                        import msgspec  # noqa: F401
                self._encoder = FrontEncoder(quick=quick)
        return self._encoder

    def _routed(self, logger: str, text: str, fields: dict[str, Any]) -> Subsystem:
        named = fields.get("subsystem")
        found = subsystems.get(Router.route(logger, fields.get("event", text), named))
        if named is not None and named == found.name:
            del fields["subsystem"]
        return found

    def _writer(self, subsystem: Subsystem) -> Writer:
        writer = self._writers.get(subsystem.name)
        if writer is None:
            writer = self._writers[subsystem.name] = self.home.writer(subsystem, self._settings)
            if self.chosen is not None and self.redaction is None:
                required = self.chosen.required(self._settings.metadata)
                self.quick = self.encoder, writer.append_plain, self.most, required
        return writer

    def flush(self) -> None:
        """Wait until all that this process logged to the home is shipped (without `kubo`: sealed), or time is over."""
        try:
            self.home.flush(self._settings.flush_timeout)
        except Exception as error:  # noqa: BLE001 - counted; logging.shutdown must get to the handlers behind this one
            self.count_failure("flush", error)

    def close(self) -> None:
        """Flush, once; the last one of a home gives the keeper's lock back. A later record still lands."""
        try:
            self.home.leave(self._occupant)
        except Exception as error:  # noqa: BLE001 - as above
            self.count_failure("close", error)

    def count_failure(self, what: str, error: Exception) -> None:
        """Count what the program must not see; `status` shows it, without the words of an error that may be secret."""
        self.failed += 1
        self.home.count_failure(f"{what}: {type(error).__name__}")

    def status(self) -> list[dict[str, Any]]:
        """Counters and health of the home, one mapping for each subsystem, with the keys of `ipfs-logs status`."""
        from ipfs_log_handlers.status import status

        own = subsystems.DEFAULT if self.chosen is None else self.chosen.name
        return status(self.home.home.path, process=self.home, own=own)


def _chosen(subsystem: Chosen) -> Subsystem | None:
    with HomeProcess.importing():
        if isinstance(subsystem, Mapping):
            subsystem = Subsystem.parse(subsystem)
        if isinstance(subsystem, Subsystem):
            return subsystems.register(subsystem)
        return None if subsystem is None else subsystems.get(subsystem)


def _check_level(level: object) -> None:
    try:
        logging.Logger("", level)  # type: ignore[arg-type]  # noqa: LOG001 - of no tree; checks as handlers do
    except (TypeError, ValueError) as error:
        raise ConfigurationError("no such level", where="level", found=repr(level)) from error


def _check_home(path: Path, named: str) -> None:
    """Refuse a home of another user at once, not record by record; one that is missing is made at the first record.

    Args:
        path: the home.
        named: the keyword or variable that named it.
    """
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        from ipfs_log_handlers.home.disk import check_owner

        try:
            check_owner(path)
        except HomeError as error:
            error.where = f"{named}: {error.where}"
            raise
