"""IPNS records: one encoding for each, a signature over all of it, and names that are keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError, LogStoreError, VerificationError
from ipfs_log_handlers.format import dagcbor
from ipfs_log_handlers.format.checkpoint import SecretKey
from ipfs_log_handlers.format.cid import DAG_CBOR, RAW, Cid
from ipfs_log_handlers.format.ipns_record import MAX_RECORD, MAX_SEQUENCE, IpnsRecord, name_of_key, public_key_of
from tests.support import mutations

KEY = SecretKey("name", bytes(range(32)))
NAME = name_of_key(KEY.verifier.public)
RECORD = IpnsRecord(value=Cid.of(DAG_CBOR, b"\xa0"), sequence=1796035200, validity=1796208000_000000, ttl=5_000_000_000)
SIGNED = RECORD.signed(KEY)

GOLDEN_NAME = "k51qzi5uqu5dg9ufswxt229ntzdy7p4125xzv5rtyjso89ajdujg6csfxcj260"
GOLDEN_HEX = (
    "4240642e0c627d8d0044307b243eda093ab92b93b6193d6d1f25bc68ed0a40cf1563309d1c85ae98b1d760e11113bd13d6e8"
    "c1978b926d315e60c7f43537c7648b0b4a9901a56354544c1b000000012a05f2006556616c756558412f697066732f626166"
    "797265696762746a3478376970356c65676e667a6e7566756f706c347367346b6e7a6332636f663664756173346233713266"
    "7936737775616853657175656e63651a6b0d52806856616c6964697479581b323032362d31322d30325431303a34303a3030"
    "2e3030303030305a6c56616c69646974795479706500"
)

moments = st.integers(0, 253_402_300_799_999_999)
records = st.builds(
    IpnsRecord,
    value=st.builds(Cid.of, st.sampled_from([DAG_CBOR, RAW]), st.binary(max_size=8)),
    sequence=st.integers(0, MAX_SEQUENCE),
    validity=moments,
    ttl=st.integers(0, MAX_SEQUENCE),
)


def field(tag: int, content: bytes) -> bytes:
    """Return a protobuf field, written apart from the code under test; content of at most 16383 bytes."""
    size = len(content)
    return bytes([tag]) + (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])) + content


def with_data(**changes: object) -> bytes:
    """Return a record that is signed rightly over other data."""
    data = {
        "TTL": 5_000_000_000,
        "Value": f"/ipfs/{RECORD.value.text}".encode(),
        "Sequence": RECORD.sequence,
        "Validity": b"2026-12-02T10:40:00.000000Z",
        "ValidityType": 0,
    }
    data |= changes
    encoded = dagcbor.encode({key: value for key, value in data.items() if value != "left out"})
    return field(0x42, KEY.sign(b"ipns-signature:" + encoded)) + field(0x4A, encoded)


@given(records)
def test_a_record_comes_back(record):
    """What is written is read again, under the name of the key alone."""
    signed = record.signed(KEY)
    assert IpnsRecord.open(signed, NAME) == IpnsRecord.parse(signed) == record
    assert len(signed) <= MAX_RECORD
    with pytest.raises(VerificationError, match="the key of this name"):
        IpnsRecord.open(signed, name_of_key(bytes(32)))


@given(st.binary(min_size=32, max_size=32))
def test_a_name_is_its_key(public):
    """Each key has one name, from which the key is read again."""
    name = name_of_key(public)
    assert len(name) == 62
    assert name.startswith("k51qzi5uqu5")
    assert public_key_of(name) == public


def test_every_changed_bit_of_a_record_is_found():
    """Also every cut, and everything that stands behind it."""
    for mutant in mutations.mutants(SIGNED):
        with pytest.raises(LogStoreError):
            IpnsRecord.open(mutant, NAME)


def test_every_changed_bit_of_a_name_is_found():
    """A changed letter is another name, or no name; none of them has signed the record."""
    for mutant in mutations.flips(NAME.encode()):
        with pytest.raises(LogStoreError):
            IpnsRecord.open(SIGNED, mutant.decode("latin-1"))


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_or_read(data):
    """The decoder has two ways out."""
    mutations.assert_total(IpnsRecord.parse, [data, SIGNED[:66] + data, SIGNED[: len(SIGNED) // 2] + data])


@pytest.mark.parametrize(
    "changes",
    [
        {"Sequence": -1},
        {"Sequence": 1 << 63},
        {"Sequence": "1"},
        {"Sequence": True},
        {"ValidityType": 1},
        {"ValidityType": False},
        {"Validity": b"2026-12-02T20:00:00Z"},
        {"Validity": b"2026-12-02T20:00:00.00000_Z"},
        {"Validity": b"never"},
        {"Validity": "2026-12-02T10:40:00.000000Z"},
        {"Value": b"/ipns/k51"},
        {"Value": b"/ipfs/bafy"},
        {"Value": b"/ipfs/\xff"},
        {"TTL": "left out"},
        {"Extra": 1},
    ],
    ids=str,
)
def test_other_data_is_refused_although_it_is_signed(changes):
    """The decoder reads what `signed` writes, and nothing else."""
    assert IpnsRecord.open(with_data(), NAME) == RECORD
    with pytest.raises(FormatError):
        IpnsRecord.open(with_data(**changes), NAME)


def test_fields_of_the_older_form_are_refused():
    """Fields 1 to 7, fields twice, in another order, or too long."""
    signature, data = SIGNED[:66], SIGNED[66:]
    for record in (
        field(0x0A, b"/ipfs/x") + SIGNED,
        data + signature,
        signature + SIGNED,
        SIGNED + data,
        signature,
        field(0x42, bytes(63)) + data,
        b"\x42\xc0\x00" + SIGNED[2:],
        bytes(MAX_RECORD + 1),
    ):
        with pytest.raises(FormatError):
            IpnsRecord.parse(record)
    for name in ("", "k51", NAME.upper(), "k" + "0" * 61, "k" + "z" * 61, NAME + "a"):
        with pytest.raises(FormatError):
            public_key_of(name)
    with pytest.raises(FormatError):
        name_of_key(b"short")


def test_the_bytes_never_change():
    """The record and the name as they were frozen; Kubo reads them (`keeper/test_publishing_to_kubo.py`)."""
    assert NAME == GOLDEN_NAME
    assert SIGNED.hex() == GOLDEN_HEX
