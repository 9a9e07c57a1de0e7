"""Make encrypted batches, with keys that are the same in every run."""

from __future__ import annotations

import json
from typing import Any

from pyrage import x25519

from ipfs_log_handlers.format import encryption, unixfs
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.format.encoding import JSONL_AGE
from ipfs_log_handlers.format.kid import Kid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.merkle import RecordTree
from ipfs_log_handlers.format.payload import Encoder, prefix

__all__ = [
    "ALICE",
    "ALICE_KEY",
    "BOB",
    "BOB_KEY",
    "KID",
    "LINES",
    "LOG",
    "SEALED",
    "clear_manifest",
    "encrypted_batch",
    "payload_of",
]

ALICE = "AGE-SECRET-KEY-1D6G2TM35899X2W38S0TC8PM3URW3QC2R69TSY5UCEXM457TGW94QUPDVWM"
"""An identity."""
ALICE_KEY = str(x25519.Identity.from_str(ALICE).to_public())
"""Its recipient."""
BOB = "AGE-SECRET-KEY-1AWRYVKYVT7D2T69XWS4277AAXHTUUAR7SM2N24D0X0NQERAC7LYSF5MYF3"
"""Another identity."""
BOB_KEY = str(x25519.Identity.from_str(BOB).to_public())
"""Its recipient."""
LOG = "ipfs-logs/0123456789abcdef/audit/00000000"
"""Name of a log."""
SEALED = 1_772_712_345_678_901
"""A time on 2026-03-05."""
KID = Kid.at(SEALED, "audit", "month")
"""The key of that month."""
LINES = [json.dumps({"user": f"somebody-{number}", "seq": number + 1}).encode() for number in range(20)]
"""Some records."""


def payload_of(lines: list[bytes] = LINES, *, index: int = 0, log: str = LOG) -> bytes:
    """Return the payload of records before it is encrypted."""
    encoder = Encoder(1)
    return prefix(bytes(32), log, index) + encoder.add(b"".join(line + b"\n" for line in lines)) + encoder.finish()


def clear_manifest(ciphertext: bytes, lines: list[bytes] = LINES, **given: Any) -> Manifest:
    """Return the manifest of a first batch before its claims are hidden."""
    tree = RecordTree(bytes(32))
    tree.add(lines)
    members: dict[str, Any] = {
        "log": LOG,
        "index": 0,
        "prev": None,
        "jump": None,
        "edge": b"",
        "sealed": SEALED,
        "first": SEALED - 100_000_000,
        "last": SEALED - 1,
        "records": len(lines),
        "dropped": {},
        "payload": list(unixfs.build([ciphertext]))[-1][0] if len(ciphertext) > 1 << 20 else Cid.of(RAW, ciphertext),
        "size": len(ciphertext),
        "raw": sum(map(len, lines)) + len(lines),
        "encoding": JSONL_AGE,
        "root": tree.root(),
        "meta": {"type": "audit_log", "actions": {"login": 20}},
        "stats": {"levels": {"info": 20}, "loggers": {"shop": 20}, "events": ["somebody came"]},
        "sources": (("0123456789abcdef", 7, 1, len(lines)),),
        "evidence": (),
    }
    return Manifest(**{**members, **given})


def encrypted_batch(recipient: str = ALICE_KEY, **given: Any) -> tuple[Manifest, bytes]:
    """Return an encrypted manifest and its encrypted payload."""
    ciphertext = encryption.encrypt(payload_of(), recipient)
    return encryption.hide(clear_manifest(ciphertext, **given), KID, recipient), ciphertext
