"""Tell PyInstaller what a frozen program needs beside what import statements show: the hooks of this directory.

PyInstaller finds this module by the entry point `pyinstaller40` of the package.
"""

from __future__ import annotations

import os

__all__ = ["hook_directories"]


def hook_directories() -> list[str]:
    """Return the directories that hold hooks for PyInstaller."""
    return [os.path.dirname(__file__)]
