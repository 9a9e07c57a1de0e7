"""Find and repair damage in a home."""
