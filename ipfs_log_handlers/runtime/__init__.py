"""Manage this process: its open handlers, flush, exit and fork."""
