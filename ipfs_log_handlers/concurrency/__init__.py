"""Provide threads, locks and the steps at a fork; every other package uses them."""
