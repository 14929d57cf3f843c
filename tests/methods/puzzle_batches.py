"""Batches for Puzzle Mix, what the kernels find for them, and their costs made anew."""

import numpy as np

import dali_msda as msda
from dali_msda.backends.puzzle import cpu_puzzle
from tests.reference import puzzle

USUAL = dict(beta=1.2, gamma=0.5, eta=0.2, move_cost=0.8, levels=3)


def plan_of(batch, height, width, lam=None, k=None, **policy):
    mixup = msda.Mixup(**policy)
    drawn = mixup if k is None else msda.MultiMix(mixup, k)
    return msda.draw(drawn, batch, height, width, seed=3, step=batch, lam=lam)


def solve(plans, images, maps, **how):
    """Cells, mean own weights and flags of uniform saliency."""
    how = USUAL | dict(blocks=2, cell=4, transport=True) | how
    how.setdefault("places", how["blocks"])
    assert maps.dtype == np.float32 and maps.flags.c_contiguous
    given = cpu_puzzle.arguments(plans, images, maps, **how)
    assert cpu_puzzle.check(given) is None
    return cpu_puzzle.solve(given)


def grid(plan, images, maps, blocks, places=None, cell=4, scale=None, shift=None, **settings):
    """The costs of one output, made anew."""
    settings = USUAL | settings
    settings.pop("move_cost")
    pair = [int(plan["own"]), int(plan["partner"])]
    own, partner = (puzzle.fixed_pixels(images[i], scale, shift) for i in pair)
    own_shares, partner_shares = (puzzle.shares(maps[i], places or blocks)[0] for i in pair)
    return puzzle.grid_of(
        own, partner, own_shares, partner_shares, plan["lam"], blocks=blocks, cell=cell, **settings
    )


def labels_of(cells, levels, blocks):
    """Labels of the blocks; the places of a block must agree."""
    ratio = len(cells) // blocks
    labels = levels - 1 - cells[::ratio, ::ratio, 0].astype(int)
    np.testing.assert_array_equal(
        np.kron(labels, np.ones((ratio, ratio))), levels - 1 - cells[..., 0]
    )
    return labels.ravel()


def noise(rng, batch, height, width, channels=3, peaked=1.0):
    """Images, and saliency maps of blobs."""
    images = rng.random((batch, height, width, channels), np.float32)
    maps = np.exp(peaked * rng.standard_normal((batch, height, width))).astype(np.float32)
    return images, maps


def blended(images, plans, cells, levels, planar, dtype, **how):
    """Mixed images ``(*plans.shape, H, W, C)``; float16 and bfloat16 as their bits."""
    height, width, channels = images.shape[1:]
    shape = (channels, height, width) if planar else (height, width, channels)
    stored = "uint16" if "16" in dtype else dtype
    outs = np.full((*plans.shape, *shape), 77).astype(stored)
    how |= dict(planar=planar, out_dtype=dtype, layout="CHW" if planar else "HWC")
    cpu_puzzle.blend(outs, images, plans, cells, levels, **how)
    return np.moveaxis(outs, plans.ndim, -1) if planar else outs
