"""Tests of redaction/."""
