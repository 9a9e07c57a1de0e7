"""Encode and decode the bytes of every format; pure: no file, socket, thread, clock or randomness."""
