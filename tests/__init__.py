"""Tests of ipfs_log_handlers: what the package promises, claim by claim."""
