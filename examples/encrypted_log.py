"""Encrypt a log to an auditor: the program has a public key, and only the auditor reads the records.

In real life the auditor makes the keys, with `age-keygen`, and keeps the secret one on another machine. The home comes
from IPFS_LOGS_HOME, or is the program's own directory under the user's state directory.
"""

from __future__ import annotations

import logging

from pyrage import x25519

from ipfs_log_handlers import IPFSHandler, NoIdentityError, check, open_home


def log(recipient: str) -> None:
    """Log three records; they are encrypted when they are sealed."""
    handler = IPFSHandler("audit", encrypt={"recipients": [recipient], "period": "month"})
    logger = logging.getLogger("shop")
    logger.addHandler(handler)
    for user in ("ada", "ben", "cleo"):
        logger.warning("%s signed in", user, extra={"event_type": "authentication", "action": "login"})
    handler.close()


def main() -> None:
    """Log, then look at the log with and without the secret key."""
    identity = x25519.Identity.generate()
    log(str(identity.to_public()))

    home = open_home()
    for batch in home.batches():
        print(f"batch {batch.index}: {batch.records} records, {batch.encoding}, metadata {batch.meta}")
    with home.dataset(identity=()) as dataset:
        try:
            print(list(dataset))
        except NoIdentityError as error:
            print(f"without the identity: {error}")
    for report in home.verify(identity=()):
        print(f"verified without it: {report.result}, {report.encrypted} batch not opened")

    with home.dataset(identity=str(identity)) as dataset:
        for record in dataset:
            print(f"with it: {record['event']}")
        bundle = dataset.prove(next(dataset.filter(contains="ben").matches()))
    key = home.public_key()
    assert key is not None  # noqa: S101 - the home has sealed a batch
    print(f"proved to everybody: {check(bundle, key.verifier).record['event']}")


if __name__ == "__main__":
    main()
