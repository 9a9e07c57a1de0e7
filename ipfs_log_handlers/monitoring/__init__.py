"""Describe the state of a home."""
