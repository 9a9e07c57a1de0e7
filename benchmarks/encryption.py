"""Measure what encryption costs: CPU of sealing, bytes that are stored, and a scan of all records.

    python -m benchmarks.encryption --rounds 5

The realistic lines (`lines.py`), `--batch` of them in a batch, are sealed twice in this process, in clear and encrypted
to one recipient, by the sealer of the package with the stronger compression, as while there is time. Then each home is
read as a whole, by `Dataset` with the checks of the default. Ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from unittest import mock

from benchmarks import lines

__all__ = ["collect", "report"]

Sample = dict[str, float]
_COUNT: Final = 30_000
"""Records of a home."""
_BATCH: Final = 1000
"""Records of a batch, unless another number is given."""
_SUBSYSTEM: Final = "logs"


def _seal(home: Path, encrypt: Any, batch: int) -> Sample:
    """Log the lines, seal them, and return the CPU seconds of sealing, the batches, and the bytes of blocks."""
    from ipfs_log_handlers import IPFSHandler, open_home
    from ipfs_log_handlers.home import lock
    from ipfs_log_handlers.home.layout import HomeDir
    from ipfs_log_handlers.keeper.batch_builder import BatchLimits
    from ipfs_log_handlers.keeper.due import DueBatch
    from ipfs_log_handlers.keeper.seal import Sealer

    handler = IPFSHandler(_SUBSYSTEM, home=home, keeper="none", encrypt=encrypt)
    logger = logging.Logger("bench")
    logger.addHandler(handler)
    for now, call in lines.calls(_COUNT):
        handler.handle(lines.log_record(now, call))
    handler.close()
    held = lock.take(HomeDir(home))
    if held is None:
        raise RuntimeError(f"another process keeps {home}")
    due = DueBatch(BatchLimits(batch, 1 << 24, 11))
    try:
        with mock.patch("os.fsync", return_value=None):
            sealer = Sealer.open(held, HomeDir(home).subsystem_dir(_SUBSYSTEM))
            sealer.backlog(time.monotonic())
            began = time.process_time()
            for _ in range(_COUNT // batch):
                for _ in sealer.seal(due, urgent=False):
                    pass
            cpu = time.process_time() - began
            sealer.delete_consumed()
    finally:
        held.release()
    batches = list(open_home(home).batches())
    if sum(batch.records for batch in batches) != _COUNT:
        raise RuntimeError(f"{home} has other records than were logged")
    cars = sum(file.stat().st_size for file in home.rglob("*.car"))
    return {"cpu": cpu, "stored": cars, "payloads": sum(batch.size for batch in batches), "batches": len(batches)}


def _scan(home: Path, identity: str | Sequence[str]) -> float:
    """Read all records; return the CPU seconds."""
    from ipfs_log_handlers import open_dataset

    with open_dataset(home, identity=identity) as dataset:
        began = time.process_time()
        found = sum(1 for _ in dataset)
        cpu = time.process_time() - began
    if found != _COUNT:
        raise RuntimeError(f"{found} of {_COUNT} records were read")
    return cpu


def collect(rounds: int, batch: int = _BATCH) -> list[Sample]:
    """Return the ratios of each round: encrypted by clear."""
    from pyrage import x25519

    identity = x25519.Identity.generate()
    encrypt = {"recipients": [str(identity.to_public())]}
    samples = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as scratch:
            clear_home, encrypted_home = Path(scratch, "clear"), Path(scratch, "encrypted")
            clear, encrypted = _seal(clear_home, False, batch), _seal(encrypted_home, encrypt, batch)
            clear_scan, encrypted_scan = _scan(clear_home, ()), _scan(encrypted_home, str(identity))
        sample = {f"{name} ratio": encrypted[name] / clear[name] for name in ("cpu", "stored", "payloads")}
        sample |= {
            "scan ratio": encrypted_scan / clear_scan,
            "cpu a batch": (encrypted["cpu"] - clear["cpu"]) / encrypted["batches"],
            "bytes a batch": (encrypted["stored"] - clear["stored"]) / encrypted["batches"],
        }
        samples.append(sample)
    return samples


def report(rounds: int, batch: int = _BATCH) -> str:
    """Return a Markdown table."""
    samples = collect(rounds, batch)

    def median(name: str) -> float:
        return statistics.median(sample[name] for sample in samples)

    return "\n".join(
        [
            f"{_COUNT} lines, {batch} in a batch, one recipient",
            "",
            "| encrypted, by in clear | figure |",
            "|---|--:|",
            f"| CPU of sealing | {median('cpu ratio'):.3f} (≤ 1.15) |",
            f"| bytes of the batch files | {median('stored ratio'):.3f} (≤ 1.03) |",
            f"| bytes of the payloads alone | {median('payloads ratio'):.3f} |",
            f"| CPU of a scan of all records | {median('scan ratio'):.3f} (≤ 1.2) |",
            f"| more CPU for a batch | {median('cpu a batch') * 1000:.2f} ms |",
            f"| more bytes for a batch | {median('bytes a batch'):.0f} |",
        ]
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encryption")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=_BATCH, help=f"records of a batch, which divide {_COUNT}")
    given = parser.parse_args()
    if given.batch < 1 or _COUNT % given.batch:
        parser.error(f"--batch must divide {_COUNT}")
    print(report(given.rounds, given.batch))


if __name__ == "__main__":
    main()
