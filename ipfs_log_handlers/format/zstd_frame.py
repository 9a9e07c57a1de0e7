"""Choose the libraries for zstd, and inflate one frame of it, in pieces or at once.

One library is that of the standard library, or its copy for older Pythons; it compresses, and inflates in pieces. The
other one, `zstandard`, only inflates whole frames, if it is installed: every answer is the same without it.
Spec: RFC 8878.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["MAGIC", "MAX_WINDOW_LOG", "decompressor", "inflate_at_once", "zstd_library"]

MAGIC: Final = b"\x28\xb5\x2f\xfd"
"""The first bytes of a frame."""
MAX_WINDOW_LOG: Final = 23
"""Binary logarithm of the window that a frame may ask for: 8 MiB, as `zstd -19` does; our frames ask for 1 MiB."""
_UNKNOWN: Final = -1
"""The content size, for `zstandard`, of a frame that does not state it."""
_MIN_ZSTANDARD: Final = (0, 22)
"""The first version of `zstandard` that refuses bytes after a frame."""


def zstd_library() -> ModuleType:
    """Return the zstd of the standard library, or a compatible module for older Pythons."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


@cache
def _zstandard() -> ModuleType | None:
    """Return the library that inflates a whole frame fastest, if it is installed in a version that can."""
    try:
        import zstandard
    except ImportError:
        return None
    version = re.match(r"(\d+)\.(\d+)", zstandard.__version__)
    return zstandard if version and (int(version[1]), int(version[2])) >= _MIN_ZSTANDARD else None


def decompressor() -> Any:
    """Return a decompressor for one frame, which inflates it in pieces."""
    zstd = zstd_library()
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_WINDOW_LOG})


def inflate_at_once(frame: memoryview, raw: int) -> bytes | None:
    """Inflate one frame in one step.

    `zstandard` waits for the GIL once, and writes to where the text stays. The other library waits for it at each piece
    of the text, and copies the text at the end; a reader of many batches takes a third longer with it.

    Args:
        frame: the frame, and nothing after it.
        raw: bytes of the text; more are not inflated.

    Returns:
        `None` for a frame that must be inflated in pieces, which also says what is wrong: it is not one whole frame, is
        damaged, or asks for a window over 8 MiB.
    """
    if _window_of(frame) > 1 << MAX_WINDOW_LOG:  # zstd does not refuse it in a short frame that comes whole
        return None
    zstandard = _zstandard()
    inflated = _by_zstd(frame, raw) if zstandard is None else _by_zstandard(zstandard, frame, raw)
    return inflated if inflated is not None and len(inflated) == raw else None


def _by_zstandard(zstandard: ModuleType, frame: memoryview, raw: int) -> bytes | None:
    """Inflate one frame that does not state its size, as our encoder makes it.

    Of a frame that states its size, zstandard would allocate this size, and use bytes that lie before the window.
    """
    whole = zstandard.ZstdDecompressor(max_window_size=1 << MAX_WINDOW_LOG)
    try:
        if zstandard.frame_content_size(frame) != _UNKNOWN:
            return None
        inflated: bytes = whole.decompress(frame, max_output_size=raw, allow_extra_data=False)
    except zstandard.ZstdError:
        return None
    return inflated


def _by_zstd(frame: memoryview, raw: int) -> bytes | None:
    whole = decompressor()
    try:
        inflated: bytes = whole.decompress(frame, max_length=raw + 1)
    except zstd_library().ZstdError:
        return None
    return inflated if whole.eof and not whole.unused_data else None


def _window_of(frame: memoryview) -> int:
    """Return the bytes of the window that a frame asks for, 0 where it is its content (RFC 8878, 3.1.1.1)."""
    head = frame[len(MAGIC) : len(MAGIC) + 2]
    if len(head) < 2 or head[0] & 0x20:
        return 0
    exponent, mantissa = head[1] >> 3, head[1] & 7
    return (1 << 10 + exponent) // 8 * (8 + mantissa)
