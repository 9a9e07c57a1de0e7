"""Give PyInstaller what the command line imports by name: its verbs, the tables with which it reads CIDs, the page."""

from __future__ import annotations

from PyInstaller.utils.hooks import collect_data_files

from ipfs_log_handlers.cli import VERBS

hiddenimports = [f"ipfs_log_handlers.cli.{verb}" for verb in VERBS]
datas = [*collect_data_files("multiformats_config"), *collect_data_files("ipfs_log_handlers", subdir="server/page")]
