"""Where an array is, and of which library; no library is imported to find out."""

from __future__ import annotations

import sys

import numpy as np

GPU_MEMORY = (2, 13)  # kDLCUDA and kDLCUDAManaged of DLPack


def is_torch(array: object) -> bool:
    """Whether it is a torch tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def on_gpu(array: object) -> bool:
    """Whether an array lies on a GPU.

    If it has a DLPack device, that decides: a class may have a CUDA array interface that fails for
    those of its arrays that are not on a GPU.
    """
    if is_torch(array):
        return array.device.type == "cuda"
    if isinstance(array, np.ndarray | list | tuple):
        return False
    device = getattr(array, "__dlpack_device__", None)
    if device is not None:
        return device()[0] in GPU_MEMORY
    return hasattr(array, "__cuda_array_interface__")
