"""What the bytes mean; pure: no file, socket, thread, clock or randomness."""
