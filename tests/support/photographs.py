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


def write_textures(root, counts):
    """One folder per class, ``counts[label]`` JPEGs of coloured waves and noise in each.

    There is a different picture in every place, so that a wrong crop or mask shows.
    """
    width, height = 57, 43
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    for label, count in enumerate(counts):
        (root / f"class{label}").mkdir(parents=True)
        for number in range(count):
            waves = [np.sin(rng.normal(0, 0.3, 2) @ (y.ravel(), x.ravel())) for _ in range(3)]
            colours = 127 + 100 * np.stack(waves, 1) + rng.normal(0, 9, (y.size, 3))
            picture = colours.clip(0, 255).astype(np.uint8).reshape(height, width, 3)
            Image.fromarray(picture).save(root / f"class{label}" / f"{number:02d}.jpg")
    return root
