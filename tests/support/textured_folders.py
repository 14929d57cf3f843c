"""Image folders with a different picture in every place, so that a wrong crop or mask shows."""

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 57, 43


def write_textures(root, counts):
    """One folder per class, ``counts[label]`` JPEGs of coloured waves and noise in each."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for label, count in enumerate(counts):
        (root / f"class{label}").mkdir(parents=True)
        for number in range(count):
            waves = [np.sin(rng.normal(0, 0.3, 2) @ (y.ravel(), x.ravel())) for _ in range(3)]
            colours = 127 + 100 * np.stack(waves, 1) + rng.normal(0, 9, (y.size, 3))
            picture = colours.clip(0, 255).astype(np.uint8).reshape(HEIGHT, WIDTH, 3)
            Image.fromarray(picture).save(root / f"class{label}" / f"{number:02d}.jpg")
    return root
