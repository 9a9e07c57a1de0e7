"""Read and write CIDs: the name of a block, made of its codec and its SHA-256.

Only CIDv1 with sha2-256 and the codecs raw, dag-pb and dag-cbor exists in a log; a name is then always 36 bytes, or
59 characters of text, and has one spelling. What users type (CIDv0, other bases) enters through `Cid.from_user` alone.
Spec: https://github.com/multiformats/cid, text in the `base32` of https://github.com/multiformats/multibase.

>>> Cid.of(RAW, b"").text
'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'
"""

from __future__ import annotations

import re
from base64 import b32encode
from hashlib import sha256
from typing import Final, final

from ipfs_log_handlers.errors import FormatError, VerificationError

__all__ = ["CODECS", "DAG_CBOR", "DAG_PB", "RAW", "Cid"]

RAW: Final = 0x55
"""Codec of a block of plain bytes."""
DAG_PB: Final = 0x70
"""Codec of a block of a UnixFS file or directory."""
DAG_CBOR: Final = 0x71
"""Codec of a block of DAG-CBOR, such as a manifest."""

CODECS: Final = {RAW: "raw", DAG_PB: "dag-pb", DAG_CBOR: "dag-cbor"}
"""The codecs of blocks in a log, with their names. The numbers are those of the multicodec table."""

_SIZE = 36
"""Bytes of a binary CID: version, codec, hash function, length of the hash, hash."""
_HEADS = {codec: bytes((0x01, codec, 0x12, 0x20)) for codec in CODECS}
_KNOWN_HEADS = frozenset(_HEADS.values())

# 58 base32 characters hold 290 bits, two more than a CID has: the last one must leave these two at zero.
_TEXT = re.compile(r"b[a-z2-7]{57}[aeimquy4]")
_DIGITS = str.maketrans("abcdefghijklmnopqrstuvwxyz234567", "0123456789abcdefghijklmnopqrstuv")
"""From the digits of base32 to those that `int` reads, which is several times as fast as `base64.b32decode`."""

_OURS = "a CIDv1 with sha2-256 and raw, dag-pb or dag-cbor"


@final
class Cid(bytes):
    """The 36 bytes of a binary CIDv1; the constructor checks their form (`FormatError`), not the block of the CID.

    It compares and hashes as its bytes do. `str()` gives the text that IPFS tools print.
    """

    __slots__ = ()

    def __new__(cls, data: bytes | bytearray | memoryview) -> Cid:
        """Check that `data` is a CID of ours."""
        cid = super().__new__(cls, data)
        if len(cid) != _SIZE or cid[:4] not in _KNOWN_HEADS:
            raise FormatError("not a CID of a log", expected=_OURS, found=bytes(cid[:40]).hex() or "nothing")
        return cid

    @classmethod
    def of(cls, codec: int, block: bytes | bytearray | memoryview) -> Cid:
        """Name a block."""
        try:
            return bytes.__new__(cls, _HEADS[codec] + sha256(block).digest())
        except KeyError:
            raise FormatError("not a codec of a log", expected="raw, dag-pb or dag-cbor", found=codec) from None

    @classmethod
    def parse(cls, text: str) -> Cid:
        """Read the one spelling that a log uses: lower-case base32, 59 characters, no stray bits."""
        if type(text) is not str or not _TEXT.fullmatch(text):  # it may come out of a decoder
            raise FormatError("not the text of a CID", expected="b and 58 characters of base32", found=_shown(text))
        return cls((int(text[1:].translate(_DIGITS), 32) >> 2).to_bytes(_SIZE, "big"))

    @classmethod
    def decode(cls, data: bytes | bytearray | memoryview) -> Cid:  # type: ignore[override]  # hides bytes.decode()
        """Read the 36 bytes of a binary CID."""
        return cls(data)

    @classmethod
    def from_user(cls, text: str) -> Cid:
        """Read a CID as people write it: CIDv0, any base, with or without `/ipfs/` or `ipfs://` in front.

        Raises:
            FormatError: it is not a CID, or not the CID of a block of a log.
        """
        from multiformats import CID  # takes 40 ms, and is only for texts from users

        bare = text.strip().removeprefix("ipfs://").removeprefix("/ipfs/").rstrip("/")
        try:
            foreign = CID.decode(bare)
            version, codec, multihash = foreign.version, foreign.codec.code, foreign.digest
        except Exception as error:  # multiformats raises KeyError, TypeError and others, too
            raise FormatError(
                "not a CID", found=_shown(text), hint="`ipfs-logs ls` prints the CIDs of the batches"
            ) from error
        if version not in (0, 1) or codec not in CODECS or multihash[:2] != b"\x12\x20":
            raise FormatError(
                "a CID of a block that a log cannot have",
                expected=_OURS,
                found=_shown(bare),
                hint="add the file again with `ipfs add --cid-version=1 --hash=sha2-256`",
            )
        return cls(_HEADS[codec][:2] + multihash)

    @property
    def codec(self) -> int:
        """Codec of the block: `RAW`, `DAG_PB` or `DAG_CBOR`."""
        return self[1]

    def as_codec(self, codec: int) -> Cid:
        """Return the CID of the same bytes read as a block of another codec: as `RAW` it has no links."""
        return type(self)(_HEADS[codec] + self.digest)

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the block."""
        return self[4:]

    @property
    def text(self) -> str:
        """The text that IPFS tools print: `b` and 58 characters of lower-case base32."""
        return "b" + b32encode(self)[:58].decode("ascii").lower()

    def matches(self, block: bytes | bytearray | memoryview) -> bool:
        """Return whether this is the CID of a block."""
        return sha256(block).digest() == self[4:]

    def verify(self, block: bytes | bytearray | memoryview) -> None:
        """Raise `VerificationError` if this is not the CID of the block."""
        digest = sha256(block).hexdigest()
        if digest != self[4:].hex():
            raise VerificationError(
                "the block does not have the hash in its CID",
                expected=self[4:].hex(),
                found=digest,
                where=self.text,
                hint="the block was damaged or replaced; fetch it again, or from another store",
            )

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Cid({self.text!r})"


def _shown(text: object) -> str:
    shown = ascii(text)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
