"""Run every verb on a home in which something else stands in the place of one file or directory; a program of its own.

    python -m tests.support.verbs_on_kinds KIND HOME SHARE

Each pair of a file of HOME and a verb gets a copy of the home; for a link to a directory, each pair of a directory and
a verb. Of SHARE pairs the program tries one: which one depends on the kind. The program prints one JSON object for
each pair that went wrong: a verb that did not end, or ended with a traceback, or touched a file out of the home. The
last object is `{"pairs": n}`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
import zlib
from pathlib import Path
from typing import Any, NoReturn

from ipfs_log_handlers.cli import main
from tests.support.hostile_homes import put_kind
from tests.support.verbs import READING

VERBS = [
    *map(" ".join, READING),
    "status -o openmetrics",
    "cat --archive n",
    "query -n 3",
    "query --verify chain",
    "query --source {home}",
    "cat --sealed",
    "show audit 0/1",
    "export {out}",
    "doctor --all",
    "doctor --repair",
    "ship --timeout 0",
    "ship --retry-set-aside --timeout 0",
    "keys new-log audit",
]
OTHER_FILES = [
    "audit/shipped/0123456789abcdef",
    "audit/beginning",
    "audit/quarantine/x.0",
    "requests/1-abc",
    "audit/batches/catalogue",
    "audit/batches/000/pack-1.car",
    "audit/batches/000/000007.car",
    "audit/batches/000/000000.payload.car",
    "reserve-files/audit.0123456789abcdef-0",
    "logs.list.0",
]
"""Files that a home may have, and this one has not."""
OTHER_DIRECTORIES = ["audit/shipped", "audit/quarantine", "requests", "wal", "audit/former/001-deadbeef"]
"""Directories that a home may have, and this one has not."""
LINK_TO_DIRECTORY = "link to a directory"
"""The kind that takes the place of a directory."""
MAX_SECONDS = 30
"""Seconds after which a verb is said to wait without end; each takes a fraction of one."""


class HangError(BaseException):
    """A verb did not end."""


def stop(*_: object) -> NoReturn:
    """End a verb."""
    raise HangError


def tried(home: Path, verb: str) -> str | None:
    """Run a verb; return what is wrong with how it ended."""
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    signal.alarm(MAX_SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            given = [part.format(home=home, out=home.with_name("out.jsonl")) for part in verb.split()]
            main(["--home", str(home), *given], prog_name="ipfs-logs")
    except SystemExit as error:
        code = error.code or 0
        if code not in range(6):
            return f"exit code {code}"
    except HangError:
        return "it does not end"
    except BaseException:  # noqa: BLE001 - whatever it is, it is what this program looks for
        return traceback.format_exc()[-2000:]
    finally:
        signal.alarm(0)
    return "a traceback on stderr" if "Traceback" in err.getvalue() else None


def run(kind: str, made: Path, where: Path, share: int) -> None:
    """Try verbs on every file, or on every directory: one of each `share` pairs."""
    of_directories = kind == LINK_TO_DIRECTORY
    wanted = [path for path in sorted(made.rglob("*")) if path.is_dir() == of_directories]
    names = [str(path.relative_to(made)) for path in wanted] + (OTHER_DIRECTORIES if of_directories else OTHER_FILES)
    pairs = 0
    first = zlib.crc32(kind.encode()) % share
    for file, name in enumerate(dict.fromkeys(names)):
        for verb in VERBS[(first + file) % share :: share]:
            home, outside = where / "home", where / "outside"
            shutil.copytree(made, home, symlinks=True)
            if of_directories:
                put_link(home / name, outside)
            else:
                outside.write_bytes(b"mine")
                outside.chmod(0o644)
                put_kind(kind, home / name, outside)
            before = content(outside)
            problem = tried(home, verb)
            if content(outside) != before:
                problem = f"it touched what is out of the home: {content(outside)}"
            if problem is not None:
                report(file=name, verb=verb, problem=problem)
            shutil.rmtree(home)
            shutil.rmtree(outside) if of_directories else outside.unlink()
            pairs += 1
    report(pairs=pairs)


def put_link(directory: Path, outside: Path) -> None:
    """Move a directory out of the home, with files of its owner's, and put a link to it in its place."""
    if directory.exists():
        shutil.move(directory, outside)
    else:
        outside.mkdir()
        directory.parent.mkdir(parents=True, exist_ok=True)
    for name in ("work.tmp", "inner/work.tmp", f"{'9' * 16}-7.seg", f"{'9' * 16}-7.tmp", "4711-0123456789ab"):
        path = outside / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
        os.utime(path, (0, 0))
    outside.chmod(0o755)
    directory.symlink_to(outside)


def content(path: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return what lies at a path and below it: mode, number of names and bytes of each file and directory."""
    return {
        str(found.relative_to(path)): (
            found.lstat().st_mode,
            found.lstat().st_nlink,
            found.read_bytes() if found.is_file() else b"",
        )
        for found in [path, *sorted(path.rglob("*"))]
    }


def report(**members: Any) -> None:
    """Print one JSON object."""
    print(json.dumps(members), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, stop)
    with tempfile.TemporaryDirectory() as directory:
        run(sys.argv[1], Path(sys.argv[2]), Path(directory), share=int(sys.argv[3]))
