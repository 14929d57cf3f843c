"""The peers that build graphs: DALI's own operators, connected by hand, and a layer of Keras."""

import os
from collections.abc import Callable

import numpy as np

from bench.cases import Missing
from bench.memory import MEAN, STD

CLASSES = 1000


def by_hand(images: np.ndarray, labels: np.ndarray, case: dict[str, object]) -> Callable:
    """Mixup as DALI's operators allow it: normalise, permute the batch, draw, multiply, add."""
    fn, types, _ = dali()

    def last(pictures, classes):
        mixed = fn.crop_mirror_normalize(
            pictures, dtype=types.FLOAT, output_layout="CHW", mean=list(MEAN), std=list(STD)
        )
        rows = fn.one_hot(classes, num_classes=CLASSES, dtype=types.FLOAT)
        order = fn.batch_permutation()
        lam = fn.random.beta(alpha=1.0, beta=1.0)
        if case["scope"] == "batch":
            lam = fn.permute_batch(lam, indices=[0] * len(images))
        mixed = lam * mixed + (1.0 - lam) * fn.permute_batch(mixed, indices=order)
        return mixed, lam * rows + (1.0 - lam) * fn.permute_batch(rows, indices=order)

    return _pipeline(images, labels, case, last)


def ours(images: np.ndarray, labels: np.ndarray, case: dict[str, object]) -> Callable:
    """The operators of this project in the same pipeline."""
    dali()
    import dali_msda as msda
    from dali_msda.dali import mix

    def last(pictures, classes):
        options = {"num_classes": CLASSES, "mean": list(MEAN), "std": list(STD)}
        return mix(pictures, classes, msda.Mixup(), **options)

    return _pipeline(images, labels, case, last)


def dali() -> tuple:
    """DALI's functions, its types and its decorator of pipelines.

    Raises:
        Missing: If DALI is not installed.
    """
    try:
        from nvidia.dali import fn, pipeline_def, types
    except ImportError as error:
        raise Missing(f"nvidia.dali: {error}") from error
    return fn, types, pipeline_def


def _pipeline(images: np.ndarray, labels: np.ndarray, case: dict[str, object], last) -> Callable:
    pipeline = built(images, labels, case["threads"], last)
    return lambda: [np.asarray(output.as_tensor()) for output in pipeline.run()]


def built(images: np.ndarray, labels: np.ndarray, threads: int, last: Callable) -> object:
    """A pipeline without prefetching; ``last`` defines what becomes of its images and labels."""
    fn, _, pipeline_def = dali()
    column = labels[:, None].astype(np.int32)

    @pipeline_def(
        batch_size=len(images),
        num_threads=threads,
        device_id=None,
        seed=0,
        prefetch_queue_depth=1,
        exec_pipelined=False,
        exec_async=False,
    )
    def pipeline():
        source = {"batch": True, "no_copy": True}
        pictures = fn.external_source(lambda: images, layout="HWC", **source)
        return last(pictures, fn.external_source(lambda: column, **source))

    made = pipeline()
    made.build()
    return made


def keras_fourier_mix(images: np.ndarray, labels: np.ndarray, case: dict[str, object]) -> Callable:
    """keras-cv's FMix on normalised pixels, compiled as tf.data would compile it."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    try:
        import tensorflow as tf

        if case["threads"]:
            tf.config.threading.set_intra_op_parallelism_threads(case["threads"])
            tf.config.threading.set_inter_op_parallelism_threads(case["threads"])
        from keras_cv.layers import FourierMix
    except (ImportError, RuntimeError) as error:
        raise Missing(f"keras_cv: {error}") from error
    layer = FourierMix(alpha=1.0)
    mean, std = (np.asarray(values, np.float32) for values in (MEAN, STD))

    @tf.function
    def mix(pixels, classes):
        normalised = (tf.cast(pixels, tf.float32) - mean) / std
        made = layer({"images": normalised, "labels": tf.one_hot(classes, CLASSES)}, training=True)
        return tf.transpose(made["images"], [0, 3, 1, 2]), made["labels"]

    pixels, classes = tf.constant(images), tf.constant(labels)
    return lambda: [one.numpy() for one in mix(pixels, classes)]
