"""The accelerator reads and writes no memory that is not its own: AddressSanitizer and valgrind watch it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.programs import ROOT, environment

pytestmark = pytest.mark.soak

_SOURCE = ROOT / "ipfs_log_handlers/accelerator/_accelerator.c"
_PROGRAM = """
import importlib.util, logging, random, sys, threading
path, home, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
name = "ipfs_log_handlers.accelerator._accelerator"
specification = importlib.util.spec_from_file_location(name, path)
sys.modules[name] = module = importlib.util.module_from_spec(specification)
specification.loader.exec_module(module)
from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.accelerator import state
from ipfs_log_handlers.spool import writer_segments
from tests.support.record_pairs import random_record
assert state.ACCELERATOR is module
writer_segments.SEGMENT_BYTES = 64 << 10
rng = random.Random(1)
for gil in ("auto", "release"):
    handler = IPFSHandler("logs", home=home + gil, keeper="none", gil=gil)
    records = [random_record(rng, hostile=number % 2 == 0) for number in range(count)]
    def run(part):
        for record in records[part::4]:
            handler.handle(record)
    threads = [threading.Thread(target=run, args=(part,)) for part in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    handler.close()
for path in (home + "auto/logs/spool").split("\\0"):
    import glob
    for segment in glob.glob(path + "/*.seg"):
        block = open(segment, "rb").read()
        block = block[block.index(b"\\n") + 1:]
        for cut in (0, 1, 7, len(block) // 2):
            module.split_records(block[: len(block) - cut])
            module.split_records(block[cut:])
from ipfs_log_handlers.format.cid import Cid
from tests.vectors.build_chain import manifests
import os
folder = home + "auto/files"
os.makedirs(folder + "/below")
for manifest in manifests()[:3]:
    block = manifest.encode()
    for _ in range(count // 3):
        changed = bytearray(block[: rng.choice((len(block), rng.randrange(len(block))))])
        for _ in range(rng.randrange(4) if changed else 0):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        module.read_dag_cbor(bytes(changed), Cid)
pieces = [b'"a"', b'"ms":', b" ", b"\\\\u", b"\\\\", b"\\n", b"5", b"-.e", b"1e9", b"999999999999999999", b"{", b"\\0"]
for _ in range(count):
    text = b"".join(rng.choices(pieces, k=rng.randrange(30)))
    module.lines_with(text, ((b'"a"', None), (b"ms", (5.0, 1e9)), (b'"', (0.0, 1.0)))[: rng.randrange(4)])
for size in (0, 1, 5000):
    with open(folder + "/below/file", "wb") as file:
        file.write(bytes(size))
    for names in (["below", "file"], ["below"], ["no"], ["below", "no"], ["file", "file"], [], ["a"] * 20):
        for offset in (0, 1, 5000):
            module.read_below(folder, names, offset, 4000)
print("done")
"""


def _built(directory: Path, *options: str) -> Path:
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        pytest.fail("no gcc and no clang on PATH: install one, or name it in CC", pytrace=False)
    library = directory / "_accelerator.abi3.so"
    include = sysconfig.get_path("include")
    command = [*compiler.split(), "-g", "-O1", "-fno-omit-frame-pointer", *options, "-shared", "-fPIC", f"-I{include}"]
    subprocess.run([*command, str(_SOURCE), "-o", str(library)], check=True)
    return library


def _run(
    tmp_path: Path, library: Path, count: int, before: list[str], **variables: str
) -> subprocess.CompletedProcess[str]:
    env = environment(PYTHONMALLOC="malloc", PYTHONPATH=os.pathsep.join([str(ROOT), *sys.path]), **variables)
    command = [*before, sys.executable, "-c", _PROGRAM, str(library), str(tmp_path / "home"), str(count)]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT)


def test_address_sanitizer_finds_nothing(tmp_path: Path) -> None:
    """No error of memory and no undefined behaviour, in 40,000 records of four threads and the calls of readers."""
    library = _built(tmp_path, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    compiler = (os.environ.get("CC") or shutil.which("gcc") or "clang").split()[0]
    runtimes = [
        subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    ended = _run(
        tmp_path, library, 20_000, [], LD_PRELOAD=" ".join(runtimes), ASAN_OPTIONS="detect_leaks=0:abort_on_error=1"
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, "done"), ended.stderr[-5000:]
    assert "runtime error" not in ended.stderr


def test_valgrind_finds_nothing(tmp_path: Path) -> None:
    """Memcheck reports no error in the accelerator; errors of the interpreter itself are not counted."""
    valgrind = shutil.which("valgrind")
    if not valgrind:
        pytest.fail("valgrind is not on PATH: install it (on Debian: apt-get install valgrind)", pytrace=False)
    log = tmp_path / "valgrind.log"
    options = [valgrind, "--quiet", "--error-limit=no", f"--log-file={log}", "--num-callers=30"]
    ended = _run(tmp_path, _built(tmp_path), 1000, options)
    assert (ended.returncode, ended.stdout.strip()) == (0, "done"), ended.stderr[-5000:]
    errors = [block for block in log.read_text().split("== \n") if "_accelerator" in block]
    assert not errors, errors[0]
