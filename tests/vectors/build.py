"""Makes the golden vectors of this folder again: `python -m tests.vectors.build [--check] [TOPIC…]`.

Each topic is a module `build_<topic>.py` beside this one, with a function `files()` that gives file names and what is
in them, the same on every run and every machine. `--check` writes nothing and fails when a file differs.
"""

from __future__ import annotations

import sys
from importlib import import_module

from tests.vectors import FOLDER


def topics() -> list[str]:
    """Name what can be built."""
    return sorted(path.stem.removeprefix("build_") for path in FOLDER.glob("build_*.py"))


def files(topic: str) -> dict[str, bytes]:
    """Build one topic: file names and contents."""
    built: dict[str, bytes] = import_module(f"tests.vectors.build_{topic}").files()
    return built


def stale(topic: str) -> list[str]:
    """Name the files of a topic that are missing or are not what the builder makes."""
    built = files(topic)
    return [name for name in built if not (FOLDER / name).exists() or (FOLDER / name).read_bytes() != built[name]]


def main(arguments: list[str]) -> int:
    """Build, or check, what is asked for; all of it when nothing is."""
    check = "--check" in arguments
    old = []
    for topic in [name for name in arguments if name != "--check"] or topics():
        if check:
            old += stale(topic)
            continue
        for name, content in files(topic).items():
            (FOLDER / name).write_bytes(content)
    for name in old:
        print(f"{name} is not what its builder makes", file=sys.stderr)
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
