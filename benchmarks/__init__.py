"""What the promises about cost and size rest on; `python -m benchmarks` measures all of it and prints the tables."""
