"""The definitions in NumPy and float64, from the papers: what the kernels must equal."""
