"""The stand-ins for `jq` and `zstd` do what the pages need of the real programs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import page_tools

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@pytest.mark.parametrize(
    ("arguments", "given", "printed"),
    [
        (("-c",), '{"b":1,"a":[true,null]}\n{"b":"é"}\n', '{"b":1,"a":[true,null]}\n{"b":"é"}\n'),
        (("-r", ".head"), '{"head":"bafy"}', "bafy\n"),
        (("-c", ".records, .sources[0][2:]"), '{"records":1,"sources":[["w",7,3,3]]}', "1\n[3,3]\n"),
    ],
)
def test_the_stand_in_for_jq_applies_a_program_to_each_value(tmp_path, arguments, given, printed):
    """It keeps the order of keys, prints compact JSON, and with `-r` prints a text without quotes."""
    jq = page_tools.install("jq", tmp_path)

    done = subprocess.run([jq, *arguments], input=given, capture_output=True, text=True, encoding="utf-8")

    assert (0, printed, "") == (done.returncode, done.stdout, done.stderr)


def test_the_stand_in_for_zstd_skips_skippable_frames(tmp_path):
    """It prints the content of all frames and leaves out skippable ones, as a payload begins with one."""
    command = page_tools.install("zstd", tmp_path)
    skippable = bytes.fromhex("502a4d18") + (3).to_bytes(4, "little") + b"abc"

    frames = skippable + zstd.compress(b"one\n") + zstd.compress(b"two\n")

    done = subprocess.run([command, "-d", "-q"], input=frames, capture_output=True)

    assert (0, b"one\ntwo\n", b"") == (done.returncode, done.stdout, done.stderr)


def test_an_option_that_the_stand_in_lacks_is_an_error(tmp_path):
    """A page that needs more than a stand-in has fails on every machine without the real program, with a reason."""
    jq = page_tools.install("jq", tmp_path)

    done = subprocess.run([jq, "-s", "."], input="1", capture_output=True, text=True)

    assert 0 != done.returncode
    assert "knows only -c and -r" in done.stderr
