"""Pieces of real photographs, those that the demo's packages bring."""

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from dali_msda.pipelines.data.demo_data import PHOTOGRAPHS


def photographs():
    """Each of them, uint8 ``(H, W, 3)`` or, of a greyscale file, ``(H, W, 1)``."""
    for package, file, _ in PHOTOGRAPHS.values():
        folder = Path(importlib.util.find_spec(package).origin).parent
        with Image.open(folder / file) as opened:
            pixels = np.asarray(opened)
        yield pixels[..., :3] if pixels.ndim == 3 else pixels[..., None]


def pieces(each, sizes, seed):
    """Crops of every photograph, of ``each`` size in turn, shrunk or enlarged from any size."""
    rng = np.random.default_rng(seed)
    for photograph in photographs():
        for k in range(each):
            height, width = sizes[k % len(sizes)]
            rows, columns = (rng.integers(min(n, 32), n + 1) for n in photograph.shape[:2])
            y, x = (
                rng.integers(n - m + 1)
                for n, m in zip(photograph.shape[:2], (rows, columns), strict=True)
            )
            crop = Image.fromarray(photograph[y : y + rows, x : x + columns].squeeze())
            pixels = np.asarray(crop.resize((width, height), Image.Resampling.BILINEAR))
            yield pixels.reshape(height, width, -1)
