"""Write and read IPNS records, the signed pointer from a name to a block, and the names themselves.

A name is the CID of an Ed25519 public key (codec libp2p-key, identity hash) in base36: `k51…`, 62 characters. A record
is a protobuf message with two fields, the signature (8) and `data` (9), a DAG-CBOR map of `Value` (`/ipfs/<cid>`),
`Sequence`, `Validity` (the end of the record, RFC 3339), `ValidityType` (0) and `TTL` (ns). The signature is over
`ipns-signature:` and `data`. This is the form "V2 only"; fields of the older form V1 are neither written nor read. Each
record has one encoding, and only this one is read.
Spec: https://specs.ipfs.tech/ipns/ipns-record/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import dagcbor, varint
from ipfs_log_handlers.format.checkpoint import SecretKey, VerifierKey
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.moment import micros, rfc3339

__all__ = ["MAX_RECORD", "MAX_SEQUENCE", "IpnsRecord", "name_of_key", "public_key_of"]

MAX_RECORD: Final = 10 << 10
"""Bytes of a record; the specification allows no longer one, and ours have some 230."""
MAX_SEQUENCE: Final = (1 << 63) - 1
"""Largest sequence number that is written or read; the specification has 64 bits without a sign."""

_KEY_HEAD: Final = bytes((0x01, 0x72, 0x00, 0x24, 0x08, 0x01, 0x12, 0x20))
"""Bytes before the public key: CIDv1, libp2p-key, identity, 36 bytes; protobuf: type 1 (Ed25519), 32 bytes."""
_NAME: Final = re.compile(r"k[0-9a-z]{61}", re.ASCII)
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_SIGNATURE_FIELD, _DATA_FIELD = b"\x42", b"\x4a"
"""Protobuf tags of the fields 8 and 9, both of wire type 2: bytes after their length."""
_PREFIX: Final = b"ipns-signature:"
_KEYS: Final = frozenset(("TTL", "Value", "Sequence", "Validity", "ValidityType"))
_PATH: Final = b"/ipfs/"
_MAX_MICROS: Final = 253_402_300_799_999_999
"""The end of the year 9999, the last one of RFC 3339."""
_SIGNATURE_BYTES: Final = 64
"""Bytes of a signature of Ed25519."""


def name_of_key(public: bytes) -> str:
    """Return the name of an Ed25519 public key of 32 bytes.

    Raises:
        FormatError: it does not have 32 bytes.
    """
    if not isinstance(public, bytes) or len(public) != 32:
        raise FormatError("an Ed25519 key has 32 bytes", expected=32, found=ascii(public)[:80])
    number, digits = int.from_bytes(_KEY_HEAD + public, "big"), []
    while number:
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    return "k" + "".join(reversed(digits))


def public_key_of(name: str) -> bytes:
    """Return the public key in a name.

    Raises:
        FormatError: it is not the name of an Ed25519 key in its one spelling.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise FormatError("not the name of a key", expected="k and 61 characters of base36", found=ascii(name)[:80])
    number = int(name[1:], 36)
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    if len(data) != len(_KEY_HEAD) + 32 or data[: len(_KEY_HEAD)] != _KEY_HEAD:
        raise FormatError("not the name of an Ed25519 key", found=ascii(name)[:80])
    return data[len(_KEY_HEAD) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class IpnsRecord:
    """The value of a name up to some moment. This value holds no signature; `signed` adds one."""

    value: Cid
    """The block to which the name leads."""
    sequence: int
    """Number of the record: of two records of a name, the one with the larger number counts."""
    validity: int
    """End of the record, µs since 1970; later no one accepts it."""
    ttl: int
    """Time for which an answer may be cached, ns."""

    def __post_init__(self) -> None:
        if type(self.value) is not Cid:
            raise FormatError("a name leads to a block", found=ascii(self.value)[:80])
        for name, value, most in (
            ("sequence", self.sequence, MAX_SEQUENCE),
            ("validity", self.validity, _MAX_MICROS),
            ("ttl", self.ttl, MAX_SEQUENCE),
        ):
            if type(value) is not int or not 0 <= value <= most:
                raise FormatError(f"not the {name} of a record", expected=f"0 to {most}", found=ascii(value)[:80])

    def _data(self) -> bytes:
        return dagcbor.encode(
            {
                "TTL": self.ttl,
                "Value": _PATH + self.value.text.encode(),
                "Sequence": self.sequence,
                "Validity": rfc3339(self.validity).encode(),
                "ValidityType": 0,
            }
        )

    def signed(self, key: SecretKey) -> bytes:
        """Return the bytes of the record under the name of this key; the same for the same record."""
        data = self._data()
        return _field(_SIGNATURE_FIELD, key.sign(_PREFIX + data)) + _field(_DATA_FIELD, data)

    @classmethod
    def open(cls, record: bytes, name: str) -> IpnsRecord:
        """Read the bytes of a record, and check that the key of a name has signed it. Its end is not checked.

        Raises:
            FormatError: it is not a record in the form that `signed` writes, or the name is malformed.
            VerificationError: the key of the name has not signed it.
        """
        signature, data = _split(record)
        value = cls._of_data(data)
        try:
            VerifierKey(name, public_key_of(name)).verify(_PREFIX + data, signature)
        except VerificationError as error:
            raise VerificationError("the key of this name has not signed the record", where=name) from error
        return value

    @classmethod
    def parse(cls, record: bytes) -> IpnsRecord:
        """Read the bytes of a record without checking its signature."""
        return cls._of_data(_split(record)[1])

    @classmethod
    def _of_data(cls, data: bytes) -> IpnsRecord:
        members = dagcbor.decode(data)
        if not isinstance(members, dict) or members.keys() != _KEYS:
            raise FormatError("not the data of a record", expected=", ".join(sorted(_KEYS)), found=ascii(members)[:200])
        if type(members["ValidityType"]) is not int or members["ValidityType"] != 0:
            raise FormatError("not a type of validity", expected=0, found=ascii(members["ValidityType"])[:80])
        record = cls(
            value=_cid(members["Value"]),
            sequence=members["Sequence"],
            validity=_moment(members["Validity"]),
            ttl=members["TTL"],
        )
        if record._data() != data:
            raise FormatError("a record is not in its one spelling", found=ascii(members)[:200])
        return record


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + varint.encode(len(content)) + content


def _split(record: bytes) -> tuple[bytes, bytes]:
    """Return the signature and the data of a record."""
    if not isinstance(record, bytes) or len(record) > MAX_RECORD:
        raise FormatError("not a record", expected=f"at most {MAX_RECORD} bytes", found=ascii(record)[:80])
    signature, at = _content(record, 0, _SIGNATURE_FIELD)
    data, at = _content(record, at, _DATA_FIELD)
    if at != len(record):
        raise FormatError("bytes follow after a record", found=f"{len(record) - at} bytes")
    if len(signature) != _SIGNATURE_BYTES:
        raise FormatError("a signature has 64 bytes", found=len(signature))
    return signature, data


def _content(record: bytes, at: int, tag: bytes) -> tuple[bytes, int]:
    if record[at : at + 1] != tag:
        raise FormatError("not a field of a record", expected=tag.hex(), found=record[at : at + 1].hex() or "the end")
    size, start = varint.decode(record, at + 1)
    if size > len(record) - start:
        raise FormatError("a field goes past the end", found=size, where=f"byte {at}")
    return record[start : start + size], start + size


def _cid(path: object) -> Cid:
    if not isinstance(path, bytes) or not path.startswith(_PATH):
        raise FormatError("a name does not lead to a block", expected="/ipfs/<cid>", found=ascii(path)[:80])
    return Cid.parse(path[len(_PATH) :].decode("ascii", "replace"))


def _moment(text: object) -> int:
    if not isinstance(text, bytes):
        raise FormatError("the end of a record is not text", found=ascii(text)[:80])
    moment = micros(text.decode("ascii", "replace"))
    if moment is None:
        raise FormatError("the end of a record is not a time", found=ascii(text)[:80])
    return moment
