"""Store files, directories and bytes as batches: the datasets manager, as the classes of `ipfs_kit_py` call it.

`install()` registers it under the name where these classes look for it. `store` returns when the bytes are durable in
the home and their CID is final; the keeper seals and ships them later, each exactly once, even if the daemon is down
for a long time. No method raises an exception. If something cannot be stored, `store` returns
`{"success": False, "error": …}` and leaves nothing behind.

Home, stores and token come from `configure(…)`, else from `IPFS_LOGS_HOME`, `IPFS_LOGS_KUBO` and `IPFS_LOGS_TOKEN`.
"""

from __future__ import annotations

from ipfs_log_handlers.manager.datasets import DatasetsManager
from ipfs_log_handlers.manager.shared import configure, get_ipfs_datasets_manager, install

__all__ = ["DatasetsManager", "configure", "get_ipfs_datasets_manager", "install"]
