"""Golden bytes of a bundle: record 13 of batch 10 in the log of `chain.json`, and the tlog-proof in it."""

from __future__ import annotations

from tests.support.bundles import bundle


def files() -> dict[str, bytes]:
    """Build the bundle, and the proof in it."""
    made = bundle(10, 13)
    return {"bundle.proof": made.encode(), "bundle.tlog-proof": made.proof.encode()}
