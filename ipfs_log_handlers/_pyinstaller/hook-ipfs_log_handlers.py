"""Give PyInstaller the version of the package, which requests to a store name, and the accelerator."""

from __future__ import annotations

from PyInstaller.utils.hooks import copy_metadata

from ipfs_log_handlers.accelerator.state import ACCELERATOR

datas = copy_metadata("ipfs_log_handlers")
hiddenimports = ["ipfs_log_handlers.accelerator._accelerator"] if ACCELERATOR is not None else []
