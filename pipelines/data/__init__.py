"""Data sets: finding, checking and decoding images; writing and reading .beton files."""
