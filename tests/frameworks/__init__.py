"""The programs of examples/frameworks/, run as their users run them, and read back."""
