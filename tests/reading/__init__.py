"""What comes back out of a home."""
