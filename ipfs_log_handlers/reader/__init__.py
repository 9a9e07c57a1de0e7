"""Read records and archives: every block is hashed before its content is used."""
