"""Tests of spool/."""
