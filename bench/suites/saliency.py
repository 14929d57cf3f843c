"""The saliency filter, beside OpenCV's.

SaliencyMix runs it over every image of a batch before the blend. The maps of both are compared
first. Ours then makes only the peaks, which are all that SaliencyMix needs.
"""

import numpy as np

from bench.cases import Job, Mismatch
from bench.memory import pixels
from dali_msda.backends import cpu

BATCH = 32
COMMON = {"batch": BATCH, "threads": 1}
TABLES = {
    "quick": [{"size": 224, "dtype": "uint8", **COMMON}],
    "default": [{"size": (32, 128, 224), "dtype": "uint8", **COMMON}],
    "all": [{"size": (32, 128, 224, 256), "dtype": ("uint8", "float32"), **COMMON}],
}


def prepare(case: dict[str, object]) -> Job:
    """The filter over a batch; OpenCV's where it is installed."""
    batch, size, threads = case["batch"], case["size"], case["threads"]
    images = pixels(batch, size, size, 3, dtype=case["dtype"])
    peaks = np.empty((batch, 2), np.int32)
    runs = {"kernels": lambda: cpu.saliency(peaks, images, threads=threads)}
    try:
        import cv2
    except ImportError:
        return Job(runs, images.nbytes, batch, "images", threads=threads)
    if case["dtype"] == "uint8":
        cv2.setNumThreads(threads)
        found = cv2.saliency.StaticSaliencyFineGrained_create()
        _check(images[:2], found)
        runs["opencv"] = lambda: [found.computeSaliency(image) for image in images]
    return Job(runs, images.nbytes, batch, "images", threads=threads)


def _check(images: np.ndarray, found: object) -> None:
    """The maps are equal up to single grey levels in large images: see dali_msda.saliency."""
    maps, peaks = np.empty(images.shape[:3], np.uint8), np.empty((len(images), 2), np.int32)
    cpu.saliency(peaks, images, maps=maps)
    for ours, image in zip(maps, images, strict=True):
        _, theirs = found.computeSaliency(np.ascontiguousarray(image[..., ::-1]))
        apart = np.abs(ours - np.rint(theirs * 255 if theirs.dtype.kind == "f" else theirs)).max()
        if apart > 1:
            raise Mismatch(f"opencv: maps differ by {apart} grey levels")
