"""Send output through a pager, if stdout is a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

__all__ = ["paged"]

_PLAIN_TERMINALS = ("dumb", "unknown")


@contextlib.contextmanager
def paged(*, wanted: bool) -> Iterator[Callable[[bytes], object]]:
    """Yield a function that writes to the pager; without a pager, or if none is wanted, to stdout.

    The pager is the command in `PAGER`, else `less`, which ends by itself if all lines fit on the screen. If the user
    closes the pager early, the output ends without an error.
    """
    command = _command() if wanted else None
    if command is None:
        yield sys.stdout.buffer.write
        return
    environment = {"LESS": "FRX", **os.environ}
    import subprocess  # only for a pager: it takes some of the time of a short query

    with subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, env=environment) as pager:  # noqa: S602 - the user's own command
        assert pager.stdin is not None  # noqa: S101 - stdin is a pipe
        try:
            with contextlib.suppress(BrokenPipeError):
                yield pager.stdin.write
        finally:
            with contextlib.suppress(OSError):
                pager.stdin.close()
            while True:
                try:
                    pager.wait()
                    break
                except KeyboardInterrupt:  # the pager gets Ctrl-C, too, and decides when it ends
                    continue


def _command() -> str | None:
    """Return the command of the pager; `None` if there is none, or if the terminal cannot show it."""
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") in _PLAIN_TERMINALS:
        return None
    named = os.environ.get("PAGER")
    if named is not None:
        return named if named.strip() not in ("", "cat") else None
    import shutil

    return "less" if shutil.which("less") else None
