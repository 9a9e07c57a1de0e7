"""Finds a Chromium for the tests of the page, or installs Debian's, and prints its path.

Run it as `python -m tests.browser.install`. It needs the standard library only. In this order: the browser that
`IPFS_LOGS_TEST_CHROMIUM` names, a Chromium or Chrome on PATH, and else Debian's package `chromium`, which only root can
install. No browser is downloaded in another way: Playwright's own one is not needed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["NoChromiumError", "chromium", "main"]

CHOICE = "IPFS_LOGS_TEST_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome")
APT = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-qq")
ADVICE = f"install Chromium (Debian: `apt-get install chromium`, as root), or set {CHOICE} to the path of a Chromium"


class NoChromiumError(Exception):
    """No Chromium can be had; the message says in one sentence why, and what to do."""


def chromium() -> Path:
    """Return the path of a Chromium that runs; installs Debian's package if there is none.

    Raises:
        NoChromiumError: with one sentence for the person at the terminal.
    """
    chosen = os.environ.get(CHOICE)
    if chosen:
        return _checked(Path(chosen).expanduser().absolute(), f"{CHOICE} is {chosen!r}, but")
    return _checked(_installed() or _from_debian(), "")


def _installed() -> Path | None:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return None if found is None else Path(found)


def _from_debian() -> Path:
    if shutil.which(APT[0]) is None:
        raise NoChromiumError(f"there is no Chromium on PATH, and no apt-get to install it: {ADVICE}")
    if os.geteuid() != 0:
        raise NoChromiumError(f"there is no Chromium on PATH, and only root can install it: {ADVICE}")
    with (Path(tempfile.gettempdir()) / "ipfs-logs-chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several test runs, one installs it
        if _installed() is None:
            print("installing Debian's chromium; this takes a minute, once", file=sys.stderr)
            _apt("update")
            _apt("install", "-y", "--no-install-recommends", "chromium")
    found = _installed()
    if found is None:
        raise NoChromiumError(f"the package chromium is installed, but has no program {NAMES[0]} on PATH: {ADVICE}")
    return found


def _apt(*arguments: str) -> None:
    command = [*APT, *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        last = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:]) or "no word why"
        raise NoChromiumError(f"`{' '.join(command)}` failed: {last}; {ADVICE}")


def _checked(path: Path, prefix: str) -> Path:
    try:
        subprocess.run([str(path), "--version"], capture_output=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoChromiumError(f"{prefix} {path} --version fails: {error}; {ADVICE}".strip()) from error
    return path


def main() -> int:
    """Print the path of the browser, or one sentence why there is none."""
    try:
        print(chromium())
    except NoChromiumError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
