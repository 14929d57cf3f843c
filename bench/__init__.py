"""Benchmarks: what is measured, against what, and how far from possible. See README.md beside."""
