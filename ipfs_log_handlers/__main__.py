"""`python -m ipfs_log_handlers` is `ipfs-logs`."""

from __future__ import annotations

from ipfs_log_handlers.cli import main

if __name__ == "__main__":
    main(prog_name="ipfs-logs")
