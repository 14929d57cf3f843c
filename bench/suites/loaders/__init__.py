"""Whole loaders, from JPEGs to batches: with mixing and without, and beside those of others."""
