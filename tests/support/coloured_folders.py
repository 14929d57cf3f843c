"""Image folders whose pictures tell by their colour which they are, after any crop and flip."""

import io
import tarfile

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 48, 40


def encoded(label, number):
    """A JPEG of one colour: its red tells the label (up to 6), its green the number (up to 20)."""
    colour = (20 + 40 * label, 10 + 12 * number, 128)
    stream = io.BytesIO()
    picture = Image.fromarray(np.full((HEIGHT, WIDTH, 3), colour, np.uint8))
    picture.save(stream, "JPEG", quality=95)
    return stream.getvalue()


def write_folder(root, counts):
    """One folder per class, ``counts[label]`` pictures in each."""
    for label, count in enumerate(counts):
        (root / f"class{label}").mkdir(parents=True)
        for number in range(count):
            (root / f"class{label}" / f"{number:02d}.jpg").write_bytes(encoded(label, number))
    return root


def write_shard(path, samples, suffix_of_labels="cls"):
    """A WebDataset archive of (encoded image, text of the label)."""
    with tarfile.open(path, "w") as archive:
        for index, (image, text) in enumerate(samples):
            for suffix, content in (("jpg", image), (suffix_of_labels, text)):
                entry = tarfile.TarInfo(f"{path.stem}-{index:04d}.{suffix}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


def identities(images):
    """(label, number) of each picture in a batch ``(B, 3, H, W)``, neither mixed nor scaled."""
    red, green, _ = np.asarray(images.float().mean((2, 3))).T
    labels, numbers = np.rint((red - 20) / 40), np.rint((green - 10) / 12)
    return list(zip(labels.astype(int).tolist(), numbers.astype(int).tolist(), strict=True))
