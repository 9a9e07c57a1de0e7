"""Tests of stats/."""
