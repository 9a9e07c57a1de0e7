"""Tests of ways in which logging handlers break; `docs/pitfalls.md` numbers them."""
