"""Gather the logs of two machines in the home of a third one, and ask all of them at once.

Here the machines are directories. Over a network the sources are the IPNS names of the homes, for which the programs
there set `publish`, or IPFS_LOGS_PUBLISH=1: `home.mirror(["/ipns/k51…"], keys=[…], gateway="http://127.0.0.1:8080")`.
With IPFS_LOGS_KUBO and IPFS_LOGS_PINS, the batches of each machine go to a daemon, and to pin services as more copies.
"""

from __future__ import annotations

import logging
from pathlib import Path

from ipfs_log_handlers import IPFSHandler, open_home


def log_on(machine: Path, name: str) -> str:
    """Log some records as a program on another machine; return the verifier key of its home."""
    handler = IPFSHandler("audit", home=machine)
    logger = logging.getLogger(name)
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    for number in range(20):
        logger.info("request %d", number, extra={"event_type": "request", "action": "serve"})
    handler.flush()
    handler.close()
    key = open_home(machine).public_key()
    if key is None:
        raise SystemExit(f"nothing was logged in {machine}")
    return key.verifier


def main() -> None:
    """Let two machines log, copy their logs, and count the records of each."""
    here = open_home(must_exist=False)
    machines = {name: here.path.parent / name for name in ("web1", "web2")}
    keys = [log_on(machine, name) for name, machine in machines.items()]
    for found in here.mirror(list(machines.values()), keys=keys):
        print(f"{Path(found.source).name}: {found.result}, {found.batches} batches of {found.log}")
    with here.dataset() as dataset:
        for origin, count in dataset.top("origin"):
            print(f"{count} records of {origin}")


if __name__ == "__main__":
    main()
