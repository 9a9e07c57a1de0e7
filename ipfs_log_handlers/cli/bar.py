"""Show the progress of long work as a bar on stderr, if stderr is a terminal that can show one."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from ipfs_log_handlers.cli.output import DUMB, has_style, neutral, width_of

__all__ = ["Bar"]

_BAR_DELAY_S: Final = 0.3
"""Seconds of work before a bar is shown; shorter work shows no bar."""


class Bar:
    """A progress bar on stderr, as a context manager; it shows nothing if stderr is not a suitable terminal.

    The bar appears after a moment of work, and is removed at the end. Print lines above it within `paused`.

    Args:
        label: name of the work.
        bytes_unit: whether bytes are counted.
        at_once: show the bar from the beginning, for work whose first progress comes late.
    """

    def __init__(self, label: str, *, bytes_unit: bool = False, at_once: bool = False) -> None:
        self._label = neutral(label)
        self._bytes_unit = bytes_unit
        self._due = time.monotonic() + (0.0 if at_once else _BAR_DELAY_S)
        self._progress: Any = None
        self._task: Any = None
        self._done = 0

    @property
    def usable(self) -> bool:
        """Whether the terminal can show a bar."""
        return width_of(sys.stderr) is not None and os.environ.get("TERM") not in DUMB

    def __enter__(self) -> Bar:
        if self._due <= time.monotonic():
            self.update(0, None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def advance(self, step: int, total: int) -> None:
        """Add an amount to the progress."""
        self.update(self._done + step, total)

    def update(self, done: int, total: int | None, label: str | None = None) -> None:
        """Show the progress and the total; `None`: the total is not known yet."""
        self._done = done
        if not self.usable or time.monotonic() < self._due:
            return
        text = self._label if label is None else f"{self._label} {neutral(label)}"
        if self._progress is None:
            self._progress = self._make()
            self._task = self._progress.add_task(text, total=total)
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            self._progress.start()
        self._progress.update(self._task, completed=done, total=total, description=text)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Remove the bar while lines are printed."""
        if self._progress is None:
            yield
            return
        self._progress.stop()
        try:
            yield
            sys.stdout.flush()
        finally:
            self._progress.start()

    def _make(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.table import Column as LabelColumn

        fits = LabelColumn(no_wrap=True, overflow="ellipsis")
        label = TextColumn("{task.description}", markup=False, table_column=fits)
        counted = DownloadColumn(binary_units=True) if self._bytes_unit else MofNCompleteColumn()
        console = Console(stderr=True, color_system="auto" if has_style(sys.stderr) else None)
        columns = (label, BarColumn(), counted, TimeElapsedColumn())
        return Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
