"""Where the arithmetic runs: the CPU's library, and the GPU's kernels."""
