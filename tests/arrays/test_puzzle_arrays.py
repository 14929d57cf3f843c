"""The array functions of Puzzle Mix: what they return and what they refuse."""

import dataclasses

import numpy as np
import pytest

from dali_msda import puzzle
from tests.methods.puzzle_batches import blended, noise, plan_of


@pytest.mark.parametrize(
    "change, error, text",
    [
        (dict(images=np.zeros((2, 8, 8), np.uint8)), ValueError, "images: expected shape"),
        (dict(images=np.zeros((2, 8, 8, 3))), TypeError, "images: expected uint8 or float32"),
        (dict(images=np.zeros((2, 8, 16, 3), np.uint8)), ValueError, "plan"),
        (dict(images=np.zeros((2, 8, 16, 3), np.uint8)[:, :, ::2]), ValueError, "images: expected"),
        (dict(saliency=np.ones((2, 8, 8))), TypeError, "saliency: expected float32, got float64"),
        (dict(saliency=np.ones((1, 8, 8), np.float32)), ValueError, "saliency: expected shape"),
        (dict(blocks=3), ValueError, "images: expected sides that are multiples of 3"),
        (dict(blocks=1), ValueError, "blocks: expected 2 to 16"),
        (dict(blocks=2.0), TypeError, "blocks: expected 2 to 16"),
        (dict(plan=plan_of(2, 8, 8, n=3)), ValueError, "plan: expected records of two samples"),
        (dict(prior_lam=-0.1), ValueError, r"prior_lam: expected a number in \[0, 1\], got -0.1"),
        (dict(mean=0.5), ValueError, "mean, std: expected none with uint8 images"),
        (dict(threads=-1), ValueError, "threads: expected"),
        (dict(settings=puzzle.PuzzleSettings(cell=3)), ValueError, "cell: expected a size"),
    ],
)
def test_arrays_that_are_refused(change, error, text):
    given = dict(images=np.zeros((2, 8, 8, 3), np.uint8), saliency=np.ones((2, 8, 8), np.float32))
    given |= dict(plan=plan_of(2, 8, 8), blocks=2) | change
    with pytest.raises(error, match=text):
        puzzle.solve(**given)


def test_the_arrays_of_a_solution():
    """Masks, label weights, and outputs of each type, of which some are refused."""
    images, maps = noise(np.random.default_rng(3), 4, 16, 32, peaked=2)
    plans = plan_of(4, 16, 32, k=3)
    found = puzzle.solve(images, maps, plans, blocks=8, settings=puzzle.PuzzleSettings(cell=2))
    for name in {*plans.dtype.names} - {"weight", "partner_weight"}:
        np.testing.assert_array_equal(found.plan[name], plans[name])
    mask = found.mask(16, 32)
    assert mask.shape == (4, 3, 16, 32)
    np.testing.assert_allclose(mask.mean((2, 3)), found.plan["weight"], atol=1e-6)
    np.testing.assert_array_equal(found.plan["weight"] + found.plan["partner_weight"], 1)
    outs = puzzle.blend(images, found)
    np.testing.assert_array_equal(outs, blended(images, plans, found.cells, 3, False, "float32"))
    assert puzzle.blend(images, found, dtype="bfloat16").dtype == np.uint16
    for dtype in ("uint8", "int32"):
        with pytest.raises(ValueError, match="dtype: expected"):
            puzzle.blend(images, found, dtype=dtype)
    with pytest.raises(ValueError, match="plan"):
        puzzle.blend(images[:, :8], found)


@pytest.mark.parametrize(
    "damage, text",
    [
        (lambda cells: cells.astype(int), "cells: expected uint8 .* got int64"),
        (lambda cells: cells[:, :2], "cells: expected uint8"),
        (lambda cells: cells[:1], "cells: expected uint8"),
        (
            lambda cells: np.zeros((2, 3, 3, 3), np.uint8),
            "cells: expected 2 to 16 a side, .* got 3",
        ),
        (
            lambda cells: cells + np.uint8([3, 0, 0]),
            "cells: expected weights below 3 and parts below",
        ),
        (
            lambda cells: cells + np.uint8([0, 16, 0]),
            "cells: expected weights below 3 and parts below",
        ),
        (
            lambda cells: cells + np.uint8([0, 0, 16]),
            "cells: expected weights below 3 and parts below",
        ),
    ],
)
def test_cells_that_were_changed_are_refused(damage, text):
    """They say where the kernels read."""
    images, maps = noise(np.random.default_rng(3), 2, 8, 8)
    found = puzzle.solve(images, maps, plan_of(2, 8, 8), blocks=4)
    puzzle.blend(images, found)
    changed = dataclasses.replace(found, cells=damage(found.cells))
    with pytest.raises(ValueError, match=text):
        puzzle.blend(images, changed)
    with pytest.raises(ValueError, match="plan"):
        found.mask(16, 8)
