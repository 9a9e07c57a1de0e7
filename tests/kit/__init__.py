"""The real `ipfs_kit_py`."""
