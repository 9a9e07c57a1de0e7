"""The package is installed with the accelerator where there is a compiler, and works the same without one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.programs import ROOT, environment


def wheel(directory: Path, **variables: str) -> Path:
    """Build the wheel of this checkout, as `pip install .` does."""
    sources = directory / "sources"
    parts = (
        "ipfs_log_handlers",
        "setup.cfg",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "LICENSE-MIT",
        "LICENSE-APACHE",
    )
    sources.mkdir(parents=True)
    for part in (path for name in parts if (path := ROOT / name).exists()):
        if part.is_dir():
            shutil.copytree(part, sources / part.name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            shutil.copy(part, sources)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(directory),
        str(sources),
    ]
    subprocess.run(command, check=True, env={**os.environ, **variables}, timeout=280)
    return next(directory.glob("*.whl"))


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["", "false"])
def test_a_wheel_with_and_without_a_compiler(tmp_path: Path, compiler: str) -> None:
    """A compiler that fails fails no installation; the package then takes every record in Python."""
    if not (ROOT / "ipfs_log_handlers").exists():
        pytest.fail("this test builds the package from its sources; run it in a checkout", pytrace=False)
    built = wheel(tmp_path, **({"CC": compiler} if compiler else {}))
    with zipfile.ZipFile(built) as archive:
        archive.extractall(tmp_path / "installed")
        libraries = [name for name in archive.namelist() if name.endswith(".so")]
        assert not [name for name in archive.namelist() if name.endswith((".c", ".h"))]
    assert libraries == ([] if compiler else ["ipfs_log_handlers/accelerator/_accelerator.abi3.so"])
    program = f"""
import logging, sys
sys.path.insert(0, {str(tmp_path / "installed")!r})
from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.accelerator import state
handler = IPFSHandler("logs", home={str(tmp_path / "home")!r}, keeper="none")
for number in range(3):
    handler.handle(logging.LogRecord("t", 20, "program.py", 1, "x %d", (number,), None))
handler.close()
print(state.__file__.startswith({str(tmp_path)!r}), state.ACCELERATOR is not None)
"""
    variables = {**environment(), "PYTHONPATH": ""}
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=variables, cwd=tmp_path
    )
    assert ended.stdout.split() == ["True", str(not compiler)]
    written = b"".join(path.read_bytes() for path in (tmp_path / "home/logs/spool").glob("*.seg"))
    assert [number for number in range(3) if b'"event":"x %d"' % number in written] == [0, 1, 2]
