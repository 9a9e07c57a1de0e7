"""Tests of reader/."""
