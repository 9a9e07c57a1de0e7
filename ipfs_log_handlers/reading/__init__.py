"""Records come back: every block is hashed before anything in it is believed."""
