"""Give PyInstaller the version of the package, which requests to a store name."""

from __future__ import annotations

from PyInstaller.utils.hooks import copy_metadata

datas = copy_metadata("ipfs_log_handlers")
