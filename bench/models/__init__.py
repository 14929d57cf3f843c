"""Benchmarks of the methods that look at the model."""
