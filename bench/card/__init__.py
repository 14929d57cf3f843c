"""One call for a card: ``python -m bench.card`` checks and measures a GPU in a few minutes."""
