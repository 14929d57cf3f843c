"""The benchmarks of this project's own parts, one module for each."""
