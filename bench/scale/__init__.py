"""What becomes of a loader with a million files, and with several processes."""
