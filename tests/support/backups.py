"""Copy backups over a home in the ways in which people and tools do it, and say what is in the home then."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.keeper import new_log
from tests.support import sample_homes
from tests.support.cli import run


def signed(home: Path) -> dict[tuple[str, int], str]:
    """Return the manifest of each number of each log, also of batches above a head."""
    found: dict[tuple[str, int], str] = {}
    for log_dir in sample_homes.subsystem_dir(home).log_dirs():
        for header in LogDir(log_dir.path).batch_headers():
            found[header.manifest.log, header.manifest.index] = header.cid.text
    return found


def shown(home: Path) -> list[int]:
    """Return the numbers of the records that `cat` shows."""
    return [record["number"] for record in run("cat", "audit", home=home).objects]


def go_on(home: Path, first: int, last: int) -> None:
    """Log and seal records in batches of one, as a program does that is started, and remembers nothing."""
    new_log._sealed_here.clear()
    for number in range(first, last):
        sample_homes.log(home, range(number, number + 1), records=1)
        sample_homes.seal(home)
    new_log._sealed_here.clear()


def over(backup: Path, home: Path) -> None:
    """Copy a backup over the home: `cp -a backup/. home`. Every directory and every file keeps its inode."""
    subprocess.run(["cp", "-a", f"{backup}/.", str(home)], check=True)


def in_new_files(backup: Path, home: Path) -> None:
    """Copy a backup over the home as tar and rsync do: each file gets a new inode."""
    for path in sorted(backup.rglob("*")):
        to = home / path.relative_to(backup)
        if path.is_dir():
            to.mkdir(mode=0o700, exist_ok=True)
        else:
            shutil.copy2(path, to.with_name("fresh"))
            to.with_name("fresh").rename(to)


def with_links(backup: Path, home: Path) -> None:
    """Bring a backup that consists of hard links back: its files are the very files of that day."""
    subprocess.run(["cp", "-alf", f"{backup}/.", str(home)], check=True)


def instead(backup: Path, home: Path) -> None:
    """Delete what is in the home, and copy the backup into it."""
    for path in home.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    over(backup, home)


def head_alone(backup: Path, home: Path) -> None:
    """Copy only the head back."""
    shutil.copy2(backup / "audit" / "head", home / "audit" / "head")
