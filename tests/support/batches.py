"""Batches with everything that can be in them, and every type and normalisation of an output."""

import itertools

import numpy as np

import dali_msda as msda
from dali_msda.policy import METHODS
from tests.reference import plain_kernels
from tests.support.doors import STORED, output_shape, widened
from tests.support.fmix_plans import fields_of
from tests.support.variants import CASES, draw_any, make

NORMALISATIONS = ("none", "std", "mean and std")


OUTPUTS = [
    ("uint8", "uint8", "none"),
    *itertools.product(("uint8", "float32"), ("float32", "float16", "bfloat16"), NORMALISATIONS),
]


SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-40, 3.4e38, -3.4e38, 65520.0, 6e-8]


def random_images(shape, dtype, seed=0):
    """Bytes of any value; floats of any size, some of them as special as floats can be."""
    rng = np.random.default_rng(seed)
    if dtype == "uint8":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    images = (rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 6, shape)).astype(np.float32)
    images[rng.random(shape) < 0.02] = np.nan
    images.flat[: len(SPECIAL)] = SPECIAL[: images.size]
    return images


def every_kind_of_record(batch, height, width, seed=0):
    """A plan with all methods, boxes and numbers of sources, and weights between 0 and 1.

    The first record of two or more has a field, whose mask is made by a launch of its own.
    """
    policies = [make(case, prob=0.9) for case in CASES]
    plan = draw_any(msda.Choice(policies), batch, height, width, seed=seed, step=0)
    if batch > 1:
        plan[0] = draw_any(msda.FMix(partner="roll"), batch, height, width, seed=seed, step=0)[0]
    rng = np.random.default_rng(seed)
    in_boxes = np.isin(plan["method"], [METHODS[name].code for name in ("cutmix", "resizemix")])
    boxes = np.flatnonzero(in_boxes & (rng.random(batch) < 0.5))
    plan["inside"][boxes] = rng.random(len(boxes))
    plan["outside"][boxes] = rng.random(len(boxes))
    return plan


def normalisation(channels, wanted):
    """Arguments; with ``std`` alone the sign of a zero is at stake."""
    mean, std = np.linspace(100, 140, channels), np.linspace(70, 50, channels)
    options = {"none": {}, "std": {"std": std}, "mean and std": {"mean": mean, "std": std}}
    return options[wanted]


KINDS = [
    ("uint8", "uint8"),
    *itertools.product(("uint8", "float32"), ("float32", "float16", "bfloat16")),
]


def on_the_cpu(images, plan, dtype, layout, *, mirror=None, scale=None, shift=None):
    shape = output_shape(images, layout)[1:]
    out = np.zeros((*plan.shape, *shape), STORED[dtype])
    plain_kernels.blend(
        out, images, plan, out_dtype=dtype, layout=layout, scale=scale, shift=shift,
        mirror=mirror, fields=fields_of(plan),
    )  # fmt: skip
    return widened(out, dtype)


def options_of(images, dtype, seed):
    """Mirror flags and a normalisation, or none, by the seed."""
    rng = np.random.default_rng(seed)
    options = {}
    if seed % 3:
        options["mirror"] = (rng.random(len(images)) < 0.5).astype(np.uint8)
    if dtype != "uint8" and seed % 2:
        chosen = normalisation(images.shape[3], "mean and std")
        options["scale"] = np.float32(1 / chosen["std"])
        options["shift"] = np.float32(-chosen["mean"] / chosen["std"])
    return options
