"""What can happen to a valid encoding: it is cut, something stands behind it, a bit of it is flipped.

Each mutation goes to a decoder, which has two ways out: `FormatError`, or a value. Where a format has one encoding
for each value, an accepted mutation must encode to itself again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from ipfs_log_handlers.errors import FormatError

T = TypeVar("T")

JUNK = (b"\x00", b"\n", b"\xff", b"\xf6", b" ", b"a" * 64)


def cuts(data: bytes) -> Iterator[bytes]:
    """Yield every proper prefix of `data`, the empty one first."""
    for length in range(len(data)):
        yield data[:length]


def flips(data: bytes) -> Iterator[bytes]:
    """Yield `data` with one bit flipped, for every bit."""
    for offset in range(len(data)):
        for bit in range(8):
            mutant = bytearray(data)
            mutant[offset] ^= 1 << bit
            yield bytes(mutant)


def byte_changes(data: bytes) -> Iterator[bytes]:
    """Yield `data` with each byte left out, doubled, swapped with the next one, and with a byte put in before it."""
    for at in range(len(data)):
        yield data[:at] + data[at + 1 :]
        yield data[: at + 1] + data[at:]
        yield data[:at] + bytes([data[at] ^ 0x55]) + data[at:]
        if data[at : at + 1] != data[at + 1 : at + 2] != b"":
            yield data[:at] + data[at + 1 : at + 2] + data[at : at + 1] + data[at + 2 :]


def with_junk(data: bytes) -> Iterator[bytes]:
    """Yield `data` with something behind it, a second `data` too."""
    for junk in JUNK:
        yield data + junk
    yield data + data


def mutants(data: bytes) -> Iterator[bytes]:
    """Yield all of the above."""
    yield from cuts(data)
    yield from with_junk(data)
    yield from flips(data)


def assert_refused(decode: Callable[[bytes], object], data_iter: Iterable[bytes]) -> None:
    """Each of these inputs is a FormatError."""
    for data in data_iter:
        try:
            value = decode(data)
        except FormatError:
            continue
        raise AssertionError(f"{data.hex()} was decoded to {value!r}")


def assert_total(decode: Callable[[bytes], object], data_iter: Iterable[bytes]) -> None:
    """Each of these inputs is a FormatError or has a value, nothing else."""
    for data in data_iter:
        _outcome(decode, data)


def assert_canonical(decode: Callable[[bytes], T], encode: Callable[[T], bytes], data_iter: Iterable[bytes]) -> None:
    """Each of these inputs is a FormatError or has a value that encodes to the same bytes again."""
    for data in data_iter:
        for value in _outcome(decode, data):
            again = encode(value)
            if again != data:
                raise AssertionError(f"{data.hex()} was decoded to {value!r}, which is {again.hex()}")


def _outcome(decode: Callable[[bytes], T], data: bytes) -> tuple[T, ...]:
    try:
        return (decode(data),)
    except FormatError:
        return ()
    except Exception as error:
        raise AssertionError(f"{data.hex()} made the decoder raise {error!r}") from error
