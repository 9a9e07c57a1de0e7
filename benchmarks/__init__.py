"""Measure cost, size and reliability: `python -m benchmarks` prints the tables of benchmarks/README.md."""
