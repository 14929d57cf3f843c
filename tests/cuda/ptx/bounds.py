"""What the GPU's kernels take on sm_90 and on sm_120, counted: ``python -m tests.cuda.ptx.count``.

registers of a thread; bytes of local memory of a thread, to which registers spill; bytes of shared
memory of a block, without what the launch adds; warps that a multiprocessor holds. Blends, masks
and targets: instructions for each byte of output, of a warp, times 32: an instruction counts once
however many threads of the warp take it. Loads and stores: of threads, for each KiB of output.
Fields and saliency: a warp's instructions. Instructions are weighted (cost.py).
"""

BOUNDS = {}
