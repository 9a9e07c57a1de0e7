"""Tests of the server: a real socket, a real home, real programs that log."""
