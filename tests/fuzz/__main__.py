"""Fuzz the decoders with atheris, which follows the branches that an input takes: `make fuzz`.

    python -m tests.fuzz [--seconds N] [TARGET…]

Each target runs in a process of its own. An input that raises anything but an error of the package, that is read and
written as other bytes, that takes more than 10 s or more than 512 MiB, stands afterwards in `build/fuzz/TARGET/`, and
the exit code is 1. The corpus that was found stands there, too, and the next run begins with it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOUND = ROOT / "build" / "fuzz"
MOST_SECONDS = 10
"""Seconds that one input may take."""
MOST_MIB = 512
"""Memory of the process."""


def main() -> int:
    """Fuzz each target that the command line names, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzzes decoders with atheris.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: all")
    parser.add_argument("--seconds", type=int, default=60, help="seconds for each target (default: %(default)s)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.here:
        _fuzz(chosen.targets[0], chosen.seconds)
    from tests.fuzz.targets import TARGETS

    if unknown := sorted(set(chosen.targets) - set(TARGETS)):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    failed = []
    for name in chosen.targets or TARGETS:
        command = [sys.executable, "-m", "tests.fuzz", "--here", "--seconds", str(chosen.seconds), name]
        (FOUND / name).mkdir(parents=True, exist_ok=True)
        with (FOUND / f"{name}.log").open("w+b") as log:
            code = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log).returncode
        said = (FOUND / f"{name}.log").read_text(errors="replace").splitlines()
        print(f"{name}: {'ok' if code == 0 else 'FAILED'}: {said[-1] if said else ''}", flush=True)
        if code:
            failed.append(name)
    for name in failed:
        print(f"{name} failed: see {(FOUND / name).relative_to(ROOT)}.log", file=sys.stderr)
    return 1 if failed else 0


def _fuzz(name: str, seconds: int) -> None:
    """Fuzz one target in this process, and end it."""
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is missing: `make fuzz` installs it, on Linux with Python 3.11 to 3.13")

    with atheris.instrument_imports(include=["ipfs_log_handlers"]):
        from tests.fuzz.targets import MOST_BYTES, TARGETS
    target = TARGETS[name]
    corpus = FOUND / name
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    limits = [f"-max_total_time={seconds}", f"-max_len={MOST_BYTES}", f"-timeout={MOST_SECONDS}"]
    limits += [f"-rss_limit_mb={MOST_MIB}", f"-artifact_prefix={corpus}/", "-print_final_stats=0"]
    atheris.Setup([name, *limits, str(corpus)], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
