"""Tests of loki/."""
