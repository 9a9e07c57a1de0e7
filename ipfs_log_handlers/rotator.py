"""Archive each log file that a rotating handler of `logging.handlers` closes, then rename it as usual.

    handler = logging.handlers.RotatingFileHandler("app.log", maxBytes=10_000_000, backupCount=3)
    handler.rotator = ipfs_log_handlers.rotator.Rotator(component="shop")

In a dictConfig, also one that is JSON or YAML, `archiving` makes the handler:

    {"()": "ipfs_log_handlers.rotator.archiving", "class": "logging.handlers.RotatingFileHandler",
     "filename": "app.log", "maxBytes": 10_000_000, "backupCount": 3, "archive": {"component": "shop"}}

A file that cannot be archived (for example because the disk is full) is rotated nevertheless: logging continues, the
failure is counted, and the file stays as long as `backupCount` says. The logging call that rotates waits until the file
is read and synced.

The handler must call its `rotator` for each file. `archiving` refuses a handler if its code shows that it does not do
so. If a handler rotates a file without this call, a failure is counted.
"""

from __future__ import annotations

import logging.handlers
import os
import types
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.config import Settings, check_names, resolved
from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.home.os_errors import explain_any
from ipfs_log_handlers.runtime.process import HomeProcess
from ipfs_log_handlers.subsystems.registry import DEFAULT

__all__ = ["Rotator", "archiving"]


class Rotator:
    """Archive and rename files, as the `rotator` of one or several rotating handlers.

    Args:
        subsystem: the subsystem whose log gets the archives.
        component: the part of a program that the files come from.
        name: the name shared by all versions; `None`: the name of each file.
        metadata: extra metadata for each archive.
        then: called with the two paths afterwards; the default renames the file, as logging does.
        settings: `home, kubo, token, …`, as for `IPFSHandler`.

    Raises:
        ConfigurationError: a name or value is wrong.

    Constructing opens no file, touches no network and starts no thread.
    """

    def __init__(
        self,
        subsystem: str = DEFAULT,
        *,
        component: str | None = None,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        then: Callable[[str, str], object] = os.rename,
        **settings: Any,
    ) -> None:
        self._subsystem = subsystems.get(subsystem)
        own = ("subsystem", "component", "name", "metadata", "then")
        self._settings = Settings.parse(settings, owner="Rotator", also=own)
        said = _mapping("metadata", metadata)
        self._open_handler = HomeProcess.register(None, self._settings, records=False)
        self._component = component
        self._name = name
        self._metadata = said
        self._then = then
        self.archived = 0
        """Number of files that were archived."""
        self.failed = 0
        """Number of files that could not be archived."""
        self.last_error: str | None = None
        """The error of the last file that could not be archived; `None` if there is none."""

    def __call__(self, source: str, dest: str) -> None:
        """Archive `source`, then rename it to `dest`. Only errors of the rename are raised."""
        if not os.path.exists(source):
            return
        try:
            self._archive(Path(source))
            self.archived += 1
        except Exception as error:  # noqa: BLE001 - rotating goes on; the failure is counted, and the file is not lost
            self.failed += 1
            self.last_error = explain_any(error)
        self._then(source, dest)

    def _archive(self, path: Path) -> None:
        archiver = self._open_handler.process.archiver(self._subsystem, self._settings)
        from ipfs_log_handlers.spool.archiver import ArchiveMetadata

        archiver.put(
            path,
            ArchiveMetadata(
                name=self._name or path.name,
                version=datetime.now(timezone.utc).isoformat(timespec="microseconds"),
                component=self._component,
                metadata=self._metadata,
            ),
        )

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all data of this process in the home is shipped; without `kubo`, until it is sealed.

        A program does so by itself when it ends.

        Args:
            timeout: seconds to wait at most; `None`: the configured `flush_timeout`.

        Returns:
            Whether all of it is shipped (or sealed).
        """
        return self._open_handler.process.flush(self._settings.flush_timeout if timeout is None else timeout)


def archiving(archive: Mapping[str, Any] | None = None, **options: Any) -> logging.handlers.BaseRotatingHandler:
    """Make a rotating handler whose files are archived: a factory for dictConfig's `()`.

    Args:
        archive: keywords of `Rotator`.
        options: `class`, the dotted name of a rotating handler (default `logging.handlers.RotatingFileHandler`), and
            the keywords of that class.

    Raises:
        ConfigurationError: the class is not a rotating handler, or renames its files without calling a rotator; or a
            keyword of the class or of `archive` is wrong.
    """
    made = _class_of(options.pop("class", "logging.handlers.RotatingFileHandler"))
    _check_asks_rotator(made)
    _check_options(made, options)
    rotator = Rotator(**_mapping("archive", archive))
    handler = made(**options)
    handler.rotator = rotator
    _count_unasked(handler, rotator)
    return handler


def _check_asks_rotator(made: type[logging.handlers.BaseRotatingHandler]) -> None:
    """Refuse a class that rotates in its own way, and calls neither `rotate` nor the method that it overrides."""
    for name, asking in (("doRollover", {"rotate", "rotator", "doRollover"}), ("rotate", {"rotator", "rotate"})):
        owner = next((kind for kind in made.__mro__ if name in vars(kind)), logging.handlers.BaseRotatingHandler)
        if owner.__module__ != "logging.handlers" and not asking & _names_used(owner, name):
            raise ConfigurationError(
                "this handler renames its files without calling its rotator, so no file would be archived",
                where="class",
                expected="a handler whose doRollover calls self.rotate, like the handlers of logging",
                found=f"{made.__module__}.{made.__qualname__}",
            )


def _names_used(owner: type, method: str) -> set[str]:
    """Return the names that a method looks up, also in the methods of its class that it calls."""
    used: set[str] = set()
    done, waiting = set[str](), {method}
    while waiting:
        done |= waiting
        used.update(*(_names_in_function(vars(owner).get(name)) for name in waiting))
        waiting = used - done
    return used


def _names_in_function(function: object) -> set[str]:
    """Return the names that a function looks up, with those of the function that a decorator has wrapped."""
    if not isinstance(function, types.FunctionType):
        return set()
    wrapped = [cell.cell_contents for cell in function.__closure__ or () if cell.cell_contents is not function]
    return _names_in(function.__code__).union(*map(_names_in_function, wrapped))


def _names_in(code: types.CodeType) -> set[str]:
    """Return the names that code looks up, with those in functions inside it."""
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*map(_names_in, inner))


def _count_unasked(handler: Any, rotator: Rotator) -> None:
    """Count each rotation without a call of the rotator as failed."""
    roll_over = handler.doRollover

    def counting() -> None:
        calls, existed = rotator.archived + rotator.failed, os.path.exists(handler.baseFilename)
        roll_over()
        if existed and rotator.archived + rotator.failed == calls:
            rotator.failed += 1
            rotator.last_error = f"{type(handler).__qualname__} did not call its rotator; is backupCount 0?"

    handler.doRollover = counting


def _mapping(name: str, value: object) -> dict[str, Any]:
    value = resolved(value)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            "not a mapping", where=name, expected="one such as {'component': 'shop'}", found=repr(value)[:200]
        )
    return dict(value)


def _check_options(made: Callable[..., object], options: Mapping[str, Any]) -> None:
    """Refuse a keyword that the handler's class does not take."""
    import inspect

    taken = inspect.signature(made).parameters
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in taken.values()):
        check_names("archiving", options, taken, also=("archive", "class"))


def _class_of(name: object) -> type[logging.handlers.BaseRotatingHandler]:
    handler_class: Any = name
    if isinstance(name, str):
        import importlib

        module, _, last = name.rpartition(".")
        try:
            handler_class = getattr(importlib.import_module(module), last)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigurationError("no such handler", where="class", found=name) from error
    if not (isinstance(handler_class, type) and issubclass(handler_class, logging.handlers.BaseRotatingHandler)):
        raise ConfigurationError(
            "not a handler that rotates",
            where="class",
            expected="logging.handlers.RotatingFileHandler or TimedRotatingFileHandler",
            found=repr(name),
        )
    return handler_class
