"""Other libraries that do the same, measured beside ours."""
