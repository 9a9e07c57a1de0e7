from __future__ import annotations

import contextlib
import random
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import dagcbor, payload, zstd_frame
from ipfs_log_handlers.format.payload import PIECE, Encoder, Salt, open_prefix, prefix
from tests.support.mutations import assert_refused, assert_total, cuts, flips, mutants, with_junk
from tests.vectors import FOLDER, load
from tests.vectors.build_chain import LINES, LOG, RAW_SIZE, payload_of, salt_of

zstd = zstd_frame.zstd_library()
SALT = bytes(range(32))
PREFIX = prefix(SALT, LOG, 7)
TEXT = b"".join(line + b"\n" for line in LINES)
GIB = 1 << 30
MIB = 1 << 20


def frame(data: bytes, *, level: int = 1) -> bytes:
    """Compress as the keeper does."""
    encoder = Encoder(level)
    return encoder.add(data) + encoder.finish()


def skippable(data: bytes, number: int = 0) -> bytes:
    """Make a frame that decoders pass over."""
    return (0x184D2A50 + number).to_bytes(4, "little") + len(data).to_bytes(4, "little") + data


def raw_frame(*blocks: bytes, window: int = 0, content: int | None = None) -> bytes:
    """Write a zstd frame by hand (RFC 8878 §3.1.1): a window of 2^(10 + window), or one segment of a stated size."""
    header = bytes((0b1110_0000,)) + content.to_bytes(8, "little") if content is not None else bytes((0, window << 3))
    return b"\x28\xb5\x2f\xfd" + header + b"".join(blocks)


def raw_block(data: bytes, *, last: bool = True) -> bytes:
    """Write a block that is not compressed."""
    return (len(data) << 3 | last).to_bytes(3, "little") + data


def repeat_block(byte: bytes, count: int, *, last: bool = False) -> bytes:
    """Write a block that stands for `count` times one byte, in four."""
    return (count << 3 | 1 << 1 | last).to_bytes(3, "little") + byte


def read(data: bytes, *, raw: int = RAW_SIZE, size: int | None = None, index: int = 7) -> list[bytes]:
    """Read a payload that comes in one chunk, by each way to read it; all return the same lines, or refuse it."""
    whole = len(data) if size is None else size
    outcomes = [_lines_or_error(way, data, index=index, raw=raw, size=whole) for way in WAYS]
    for outcome in outcomes[1:]:
        assert type(outcomes[0]) is type(outcome)
        assert isinstance(outcome, FormatError) or outcomes[0] == outcome
    if isinstance(outcomes[0], FormatError):
        raise outcomes[0]
    return outcomes[0]


def _lines_or_error(way: Callable[..., list[bytes]], data: bytes, **claims: int) -> list[bytes] | FormatError:
    try:
        return way([data], log=LOG, **claims)
    except FormatError as error:
        return error


def _lines_one_by_one(chunks: Iterable[bytes], **claims: Any) -> list[bytes]:
    return list(payload.lines(chunks, **claims))


def _text(chunks: Iterable[bytes], **claims: Any) -> list[bytes]:
    return payload.text(chunks, **claims).split(b"\n")[:-1]


def _text_without_zstandard(chunks: Iterable[bytes], **claims: Any) -> list[bytes]:
    with mock.patch.object(zstd_frame, "_zstandard", return_value=None):
        return _text(chunks, **claims)


WAYS = (_lines_one_by_one, _text, _text_without_zstandard)


def peak(work: Callable[[], object]) -> int:
    """Return how many bytes were held at once; what zstd itself holds for its window is not counted."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class TestPrefix:
    def test_golden(self) -> None:
        """The frozen frame in front is made again byte by byte, and read."""
        golden = load("chain.json")
        data = bytes.fromhex(golden["prefix"])
        assert data == prefix(salt_of(1), golden["log"], 1)
        assert open_prefix(data) == (Salt(salt=salt_of(1), log=golden["log"], index=1), len(data))

    def test_form(self) -> None:
        """It is a zstd skippable frame with DAG-CBOR in it."""
        content = dagcbor.encode([SALT, LOG, 7])
        assert bytes.fromhex("502a4d18") + len(content).to_bytes(4, "little") + content == PREFIX

    def test_mutants(self) -> None:
        """Cut it is refused, what stands behind it is not looked at, and with a bit flipped it never says the same."""
        told = open_prefix(PREFIX)
        assert_refused(open_prefix, cuts(PREFIX))
        assert all(open_prefix(data) == told for data in with_junk(PREFIX))
        for mutant in flips(PREFIX):
            try:
                assert open_prefix(mutant) != told
            except FormatError:
                continue

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            dagcbor.encode(None),
            dagcbor.encode([]),
            dagcbor.encode([SALT, LOG]),
            dagcbor.encode([SALT, LOG, 7, 8]),
            dagcbor.encode([SALT[1:], LOG, 7]),
            dagcbor.encode([SALT.decode("latin-1"), LOG, 7]),
            dagcbor.encode([SALT, "audit", 7]),
            dagcbor.encode([SALT, 7, LOG]),
            dagcbor.encode([SALT, LOG, -1]),
            dagcbor.encode([SALT, LOG, True]),
            dagcbor.encode([SALT, LOG, 2**63]),
            dagcbor.encode([SALT, LOG, 7]) + b"\x00",
            bytes(513),
        ],
    )
    def test_refused(self, content: bytes) -> None:
        """What is not a salt, a log and an index is refused."""
        with pytest.raises(FormatError):
            open_prefix(skippable(content))
        with pytest.raises(FormatError):
            read(skippable(content) + frame(TEXT))

    @pytest.mark.parametrize("number", range(1, 16))
    def test_other_skippable_frame(self, number: int) -> None:
        """Another of the sixteen skippable frames is not ours."""
        with pytest.raises(FormatError, match="begins with its salt"):
            read(skippable(PREFIX[8:], number) + frame(TEXT))


class TestBothWays:
    @pytest.mark.parametrize("index", [1, 2], ids=["level 9", "level 1"])
    def test_golden(self, index: int) -> None:
        """The frozen payloads, of both levels, hold the frozen lines."""
        assert list(LINES) == read(payload_of(index), index=index)
        assert TEXT == zstd.decompress((FOLDER / "frame-1.zst").read_bytes())

    @pytest.mark.parametrize("level", [1, 11])
    def test_foreign_decoder(self, level: int) -> None:
        """Any zstd decoder gets pure JSON Lines out of a payload, passing over the salt."""
        assert TEXT == zstd.decompress(PREFIX + frame(TEXT, level=level))

    @pytest.mark.parametrize("level", [1, 11])
    def test_checksum(self, level: int) -> None:
        """Our frames carry a checksum: the last four bytes can not be changed."""
        data = PREFIX + frame(TEXT, level=level)
        with pytest.raises(FormatError, match="damaged"):
            read(data[:-1] + bytes([data[-1] ^ 1]))

    @given(
        lines=st.lists(st.binary(max_size=60).map(lambda line: line.replace(b"\n", b"")), max_size=30),
        level=st.sampled_from([1, 11]),
        cut=st.integers(1, 50),
    )
    def test_chunks(self, lines: list[bytes], level: int, cut: int) -> None:
        """However lines are added and however chunks are cut, the same lines come out."""
        encoder = Encoder(level)
        data = PREFIX + b"".join(encoder.add(line + b"\n") for line in lines) + encoder.finish()
        raw = sum(len(line) + 1 for line in lines)
        chunks = [data[at : at + cut] for at in range(0, len(data), cut)]
        assert lines == list(payload.lines(chunks, log=LOG, index=7, raw=raw, size=len(data)))

    def test_large(self) -> None:
        """Lines that span pieces, and one of 3 MiB, come out whole, in memory of their own size."""
        expected = [b"x" * n for n in (0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * MIB, 5)]
        text = b"".join(line + b"\n" for line in expected)
        assert expected == read(PREFIX + frame(text), raw=len(text))

    def test_no_records(self) -> None:
        """A payload without a record is its salt, with or without an empty frame behind it."""
        assert [] == read(PREFIX, raw=0)
        assert [] == read(PREFIX + frame(b""), raw=0)

    def test_window(self) -> None:
        """Level 9 on a long stream asks for no larger window than a reader allows."""
        text = b"".join(b"%d" % n + b" " * (n % 1000) + b"\n" for n in range(40000))
        assert 40000 == len(read(PREFIX + frame(text, level=11), raw=len(text)))


class TestFrames:
    HALF = TEXT.index(b"\n") + 1

    @pytest.mark.parametrize("at", [0, 1, HALF - 1, HALF, len(TEXT)])
    def test_several(self, at: int) -> None:
        """Frames are read one after the other; a line may go on in the next."""
        assert list(LINES) == read(PREFIX + frame(TEXT[:at]) + frame(TEXT[at:]))

    @pytest.mark.parametrize("number", range(16))
    def test_skippable_between(self, number: int) -> None:
        """Skippable frames may stand anywhere behind the first, and are passed over: padding, for one."""
        pad = skippable(b"pad", number)
        empty = skippable(b"", number)
        data = pad + frame(TEXT[: self.HALF]) + empty + pad + frame(TEXT[self.HALF :]) + skippable(bytes(3 * PIECE))
        assert list(LINES) == read(PREFIX + data)

    @pytest.mark.parametrize("length", [5, 2**32 - 1])
    def test_skippable_too_long(self, length: int) -> None:
        """A skippable frame that says it is longer than what is there is refused, and nothing is held for it."""
        data = PREFIX + frame(TEXT) + skippable(b"")[:4] + length.to_bytes(4, "little") + b"four"
        with pytest.raises(FormatError, match="in the middle of a skippable frame"):
            read(data)

    @pytest.mark.parametrize(
        "junk", [b"\x00", b"{}\n", b"\x28\xb5\x2f", b"\x28\xb5\x2f\xfe", b"\x1f\x8b\x08\x00", b"\xfd7zXZ"]
    )
    def test_junk_behind(self, junk: bytes) -> None:
        """What follows a frame is a frame, or the payload is refused."""
        with pytest.raises(FormatError):
            read(PREFIX + frame(TEXT) + junk)

    def test_no_prefix(self) -> None:
        """Without its salt a payload is refused."""
        with pytest.raises(FormatError, match="begins with its salt"):
            read(frame(TEXT))

    def test_other_batch(self) -> None:
        """The payload of another batch, or of another log, is refused before a line of it is seen."""
        data = PREFIX + frame(TEXT)
        for log, index in ((LOG, 8), (LOG.replace("audit", "logs"), 7)):
            stream = payload.lines([data], log=log, index=index, raw=RAW_SIZE, size=len(data))
            with pytest.raises(FormatError, match="another batch"):
                next(stream)


class TestHostile:
    @pytest.mark.slow
    def test_mutants(self) -> None:
        """Cut anywhere or with junk a payload is refused; with a bit flipped it is refused or gives the same lines.

        (The same: a few bits of a frame mean nothing, such as the number of bytes it may look back.)
        """
        data = PREFIX + frame(TEXT)
        assert_refused(read, cuts(data))
        assert_refused(read, with_junk(data))
        for mutant in flips(data):
            try:
                found = read(mutant)
            except FormatError:
                continue
            assert list(LINES) == found

    @pytest.mark.slow
    def test_mutants_without_checksum(self) -> None:
        """Without the checksum, which others may leave out, nothing but FormatError comes out either."""
        bare = PREFIX + zstd.compress(TEXT)
        assert list(LINES) == read(bare)
        assert_total(read, mutants(bare))

    @given(data=st.binary(max_size=200), raw=st.integers(0, 10_000))
    def test_anything(self, data: bytes, raw: int) -> None:
        """Whatever stands where frames should, the answer is lines or a FormatError."""
        tails = [data, b"\x28\xb5\x2f\xfd" + data, b"\x28\xb5\x2f\xfd\x00\x00" + data, skippable(b"")[:4] + data]
        assert_total(lambda tail: read(PREFIX + tail, raw=raw), tails)

    def test_bomb(self) -> None:
        """A frame of 32 KiB that inflates to 1 GiB is stopped where the manifest says, in little memory."""
        blocks = [repeat_block(b"\n", 128 * 1024) for _ in range(GIB // (128 * 1024))]
        data = PREFIX + raw_frame(*blocks, raw_block(b""), window=10)
        assert len(data) < 40_000
        seen = 0

        def explode() -> None:
            nonlocal seen
            for _ in payload.lines([data], log=LOG, index=7, raw=100_000, size=len(data)):
                seen += 1

        def attempt() -> None:
            with pytest.raises(FormatError, match="more than its manifest says"):
                explode()

        assert peak(attempt) < 4 * MIB
        assert seen <= 100_000

    def test_bomb_in_one_line(self) -> None:
        """A bomb without a line end is stopped at the same place."""
        encoder = zstd.ZstdCompressor()
        data = PREFIX + b"".join(encoder.compress(bytes(MIB)) for _ in range(64)) + encoder.flush()
        assert len(data) < 10_000

        def attempt() -> None:
            with pytest.raises(FormatError, match="more than its manifest says"):
                read(data, raw=100_000)

        assert peak(attempt) < MIB

    def test_a_large_batch_is_handed_on_piece_by_piece(self) -> None:
        """What a manifest admits is never held, as long as a batch can be as large."""
        text = raw_block(b"x" * 63_000 + b"\n", last=False)
        data = PREFIX + raw_frame(*[text for _ in range(2000)], raw_block(b""), window=10)
        stream = payload.lines([data], log=LOG, index=7, raw=2000 * 63_001, size=len(data))
        assert peak(lambda: sum(1 for _ in stream)) < 4 * MIB

    @pytest.mark.parametrize(
        ("block", "count", "why"),
        [(b"x", 2000, "a record is too long"), (b"\n", 64, "too many records"), (b"x", 8000, "too many bytes")],
    )
    def test_a_bomb_that_its_manifest_admits_is_refused_in_bounded_memory(
        self, block: bytes, count: int, why: str
    ) -> None:
        """A few kilobytes that inflate to one line of gigabytes, or to millions of records, are no batch of ours."""
        data = PREFIX + raw_frame(*[repeat_block(block, 64 * 1024) for _ in range(count)], raw_block(b""), window=10)

        def attempt() -> None:
            with pytest.raises(FormatError, match=why):
                for _ in payload.lines([data], log=LOG, index=7, raw=count * 64 * 1024, size=len(data)):
                    pass

        assert peak(attempt) < 72 * MIB

    @pytest.mark.parametrize("claim", [0, RAW_SIZE - 1, RAW_SIZE + 1, 4 * MIB, GIB, 2**63])
    def test_wrong_content_size(self, claim: int) -> None:
        """A frame header with a wrong content size is refused, and no memory is taken for it."""
        data = PREFIX + raw_frame(raw_block(TEXT), content=claim)

        def attempt() -> None:
            with pytest.raises(FormatError):
                read(data)

        assert list(LINES) == read(PREFIX + raw_frame(raw_block(TEXT), content=RAW_SIZE))
        assert peak(attempt) < MIB

    @pytest.mark.parametrize("window", [0, 3, 13])
    def test_window(self, window: int) -> None:
        """A window of up to 8 MiB is allowed."""
        assert [b"{}"] == read(PREFIX + raw_frame(raw_block(b"{}\n"), window=window), raw=3)

    @pytest.mark.parametrize("window", [14, 17, 20, 31])
    def test_window_too_large(self, window: int) -> None:
        """A frame that asks for a window over 8 MiB is refused before it is made."""
        with pytest.raises(FormatError, match="window"):
            read(PREFIX + raw_frame(raw_block(b"{}\n"), window=window), raw=3)

    def test_foreign_long_window(self) -> None:
        """So is one that another program made with `--long`."""
        options = {zstd.CompressionParameter.window_log: 24}
        encoder = zstd.ZstdCompressor(options=options)
        data = PREFIX + encoder.compress(TEXT) + encoder.flush()
        with pytest.raises(FormatError, match="window"):
            read(data)

    def test_dictionary(self) -> None:
        """A frame that needs a dictionary is refused: nobody has it."""
        dictionary = zstd.ZstdDict(TEXT * 2, is_raw=True)
        data = PREFIX + zstd.compress(TEXT, zstd_dict=dictionary)
        assert_total(read, [data])
        header = b"\x28\xb5\x2f\xfd\x21\x07\x03"  # single segment, dictionary 7, 3 bytes of content
        with pytest.raises(FormatError):
            read(PREFIX + header + raw_block(b"{}\n"), raw=3)

    @pytest.mark.parametrize("difference", [-1, 1, -RAW_SIZE, 100 * MIB])
    def test_wrong_raw(self, difference: int) -> None:
        """A payload inflates to exactly what its manifest says."""
        with pytest.raises(FormatError, match="than its manifest says"):
            read(PREFIX + frame(TEXT), raw=RAW_SIZE + difference)

    @pytest.mark.parametrize("difference", [-1, 1, GIB])
    def test_wrong_size(self, difference: int) -> None:
        """A payload has exactly the bytes that its manifest says."""
        data = PREFIX + frame(TEXT)
        with pytest.raises(FormatError, match="than its manifest says"):
            read(data, size=len(data) + difference)

    def test_endless(self) -> None:
        """A source that never ends is left as soon as it gives more than it should."""
        taken = 0

        def endless() -> Iterator[bytes]:
            nonlocal taken
            yield PREFIX
            while True:
                taken += 1
                yield skippable(bytes(1000))

        with pytest.raises(FormatError, match="longer"):
            list(payload.lines(endless(), log=LOG, index=7, raw=0, size=10_000))
        assert taken <= 10

    @pytest.mark.parametrize("chunks", [[], [b""], [b"", b""]])
    def test_nothing(self, chunks: Iterable[bytes]) -> None:
        """No bytes at all are no payload."""
        with pytest.raises(FormatError):
            list(payload.lines(chunks, log=LOG, index=7, raw=0, size=0))

    @pytest.mark.parametrize("text", [b"{}", b"{}\n{}", b"\n{"])
    def test_last_line_without_end(self, text: bytes) -> None:
        """A last line that does not end in LF is refused."""
        with pytest.raises(FormatError, match="no end"):
            read(PREFIX + frame(text), raw=len(text))

    def test_lazy(self) -> None:
        """Lines come before the whole payload has: nothing is taken from the source that is not needed yet."""
        taken = []
        data = PREFIX + frame(TEXT)

        def source() -> Iterator[bytes]:
            for chunk in (data, frame(TEXT)):
                taken.append(len(chunk))
                yield chunk

        total = len(data) + len(frame(TEXT))
        stream = payload.lines(source(), log=LOG, index=7, raw=2 * RAW_SIZE, size=total)
        assert LINES[0] == next(stream)
        assert [len(data)] == taken
        assert [*LINES[1:], *LINES] == list(stream)


@pytest.mark.parametrize("mebibytes", [8, 9])
def test_the_window_of_a_single_segment_is_its_content(mebibytes):
    """A frame that is one segment is refused above 8 MiB, whether it is inflated in pieces or at once."""
    size, step = mebibytes * MIB, 128 * 1024
    blocks = [repeat_block(b"x", step) for _ in range(size // step - 1)]
    data = PREFIX + raw_frame(*blocks, raw_block(b"x" * (step - 1) + b"\n"), content=size)
    if mebibytes == 8:
        assert [b"x" * (size - 1)] == read(data, raw=size)
    else:
        with pytest.raises(FormatError, match="window"):
            read(data, raw=size)


@pytest.mark.parametrize("tail", [b"", b"junk", frame(b"{}\n")])
def test_an_empty_frame_that_states_its_size_hides_nothing(tail):
    """Zstandard returns its text without a look at the rest of the payload."""
    empty = raw_frame(raw_block(b""), content=0)
    if tail == b"":
        assert read(PREFIX + empty, raw=0) == []
    else:
        with pytest.raises(FormatError):
            read(PREFIX + empty + tail, raw=0)
    with pytest.raises(FormatError):
        read(PREFIX + empty[:-1] + tail, raw=0)


@pytest.mark.parametrize("size", [300_000, 600_000])
def test_a_frame_that_looks_back_beyond_its_window_has_one_reading(size):
    """Zstandard would find the bytes of a frame that states its size, where others find different ones, or none."""
    chosen = random.Random(1)
    repeated = bytes(chosen.choices(b"abcdefghijklmnop0123456789", k=60_000))
    text = repeated + bytes(chosen.choices(b"abcdefgh", k=size)) + repeated + b"\n"
    zstandard = zstd_frame._zstandard()
    assert zstandard is not None
    parameters = zstandard.ZstdCompressionParameters(window_log=22, enable_ldm=1, compression_level=19)
    whole = zstandard.ZstdCompressor(compression_params=parameters).compress(text)
    assert whole[4] >> 5 == 0b101  # one segment, whose size has four bytes
    data = whole[:4] + bytes([whole[4] & ~0x20, (17 - 10) << 3]) + whole[5:]
    with contextlib.suppress(FormatError):
        read(PREFIX + data, raw=len(text))


@pytest.mark.parametrize("count", [100, 4096])
def test_a_short_frame_with_a_large_window_is_refused_by_each_way_to_read(count):
    """Also by `text`, although zstd does not need the window of a frame that comes whole."""
    plain = b'{"a":1}\n' * count
    sizes = len(plain).to_bytes(4, "little") + (len(plain) << 3 | 1).to_bytes(3, "little")
    frame = b"\x28\xb5\x2f\xfd\x80" + bytes([(31 - 10) << 3]) + sizes + plain
    data = payload.prefix(salt_of(7), LOG, 7) + frame
    for read_payload in (payload.text, payload.lines):
        with pytest.raises(FormatError, match="window"):
            list(read_payload([data], log=LOG, index=7, raw=len(plain), size=len(data)))
