"""A mask's bits are the same for every instruction set, number of threads and order of phases.

The phases are those of a block of threads on a GPU: whatever depends on their number, or on the
order in which they take their turns within a phase, would be a race there.
"""

import itertools

import numpy as np
import pytest

from dali_msda.backends import cpu
from tests.support.fmix_plans import LAWS, fields_of, masks, ramped, records

SHAPES = [
    *((1, 1, n) for n in (1, 2, 3, 64, 97)),
    *((1, n, 1) for n in (2, 5, 97)),
    *((1, *size) for size in ((2, 2), (7, 11), (31, 53), (45, 64), (60, 49), (121, 13))),
    *((2, 1, 1), (2, 3, 4), (5, 7, 6), (16, 9, 25), (200, 31, 1)),
]
ISAS = range(len(cpu.isas()))
THREADS, ORDERS = (1, 32, 97, 256), (1, 2, 3)


def every_count(shape, law):
    """Records with none, one, some, all but one and all of the pixels."""
    pixels = int(np.prod(shape))
    plan = records(6, shape, **LAWS[law])
    plan["count"] = [0, min(1, pixels), pixels // 3, -(-pixels // 2), pixels - 1, pixels]
    return plan


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_bits_depend_on_nobody(shape, law):
    plan = every_count(shape, law)
    want = masks(plan)
    np.testing.assert_array_equal(want.sum((1, 2, 3)), plan["count"])
    for isa, threads in itertools.product(ISAS, (1, 2, 7)):
        np.testing.assert_array_equal(masks(plan, isa=isa, threads=threads), want)
    for threads, order in itertools.product(THREADS, ORDERS):
        np.testing.assert_array_equal(masks(plan, phases=(threads, order)), want)


@pytest.mark.parametrize("law", ["paper", "some modes", "legacy"])
@pytest.mark.parametrize("shape", [(1, 224, 224), (1, 225, 223), (24, 40, 33)], ids=str)
def test_nor_do_those_of_large_masks(shape, law):
    plan = every_count(shape, law)[2:4]
    want = masks(plan)
    for isa in ISAS:
        np.testing.assert_array_equal(masks(plan, isa=isa), want)
    for threads, order in ((256, 2), (97, 3)):
        np.testing.assert_array_equal(masks(plan, phases=(threads, order)), want)


def test_a_threshold_that_a_sample_does_not_find():
    """Every 513th of 1024 x 513 pixels lies in one column, along which little changes."""
    plan = records(3, (1, 1024, 513), lam=[0.2, 0.5, 0.9])
    want = masks(plan)
    np.testing.assert_array_equal(want.sum((1, 2, 3)), plan["count"])
    for isa in ISAS:
        np.testing.assert_array_equal(masks(plan, isa=isa), want)
    np.testing.assert_array_equal(masks(plan, phases=(256, 3)), want)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(
    "shape", [(1, 1, 2), (1, 1, 97), (1, 5, 1), (1, 31, 53), (1, 100, 80), (5, 7, 6)], ids=str
)
def test_ramps_depend_on_nobody_either(shape, law):
    pixels = int(np.prod(shape))
    plan = records(4, shape, **LAWS[law])
    plan["count"] = [1, max(1, pixels // 3), pixels // 2, pixels - 1]
    plan["soft"] = [1, max(1, pixels // 4), pixels // 2, 1]
    want = ramped(plan)
    np.testing.assert_allclose(want.sum((1, 2, 3)), plan["count"], rtol=1e-5)
    for isa, threads in itertools.product(ISAS, (1, 2, 7)):
        np.testing.assert_array_equal(ramped(plan, isa=isa, threads=threads), want)
    for threads, order in itertools.product(THREADS, ORDERS):
        np.testing.assert_array_equal(ramped(plan, phases=(threads, order)), want)


def test_ramps_of_any_band():
    """Narrow and wide ones: their orders agree in few or in many bits."""
    shape, n = (1, 20, 30), 400
    generator, plan = np.random.default_rng(1), records(n, shape)
    plan["count"] = generator.integers(1, 600, n)
    most = np.minimum(plan["count"], 600 - plan["count"])
    plan["soft"] = np.maximum(1, most * generator.random(n) ** 3)
    np.testing.assert_array_equal(ramped(plan, phases=(64, 2)), ramped(plan))


def test_each_mask_is_its_own():
    """Neither its neighbours in the batch nor what memory held before change it."""
    shape = (1, 37, 41)
    plan = records(9, shape, lam=np.linspace(0.1, 0.9, 9))
    want = masks(plan)
    for i in range(9):
        np.testing.assert_array_equal(masks(plan[i : i + 1]), want[i : i + 1])
    np.testing.assert_array_equal(masks(plan[::-1].copy()), want[::-1])
    mixed = plan.copy()
    mixed["decay"], mixed["modes"] = np.arange(9) % 3 + 1, np.arange(9) % 2 * 5
    alone = [masks(mixed[i : i + 1])[0] for i in range(9)]
    np.testing.assert_array_equal(masks(mixed, threads=3), alone)


def test_other_methods_are_passed_over():
    plan = records(5, (1, 8, 9))
    plan["method"][[0, 3]] = [2, 0]
    for how in ({}, {"phases": (32, 1)}):
        rows = fields_of(plan, **how)
        assert (rows[[0, 3]] == 0xCDCDCDCD).all() and (rows[[1, 2, 4]] != 0xCDCDCDCD).any(1).all()


def test_more_kinds_of_fields_than_are_kept():
    """Tables of 16 sizes and laws are kept; the seventeenth pushes one out."""
    shapes = [(1, 4 + k, 11) for k in range(25)]
    first = [masks(records(2, shape)) for shape in shapes]
    for k in (0, 24, 3, 12, 0, 7):
        np.testing.assert_array_equal(masks(records(2, shapes[k])), first[k])


@pytest.mark.parametrize(
    ("shape", "values"),
    [
        ((1, 224, 224), 2 * 224 * 113),
        ((1, 225, 223), 2 * 226 * 112),  # an odd last row is paired with zeros
        ((1, 1, 97), 2 * 2 * 49),
        ((16, 9, 25), 2 * 144 * 13),
    ],
    ids=str,
)
def test_the_memory_of_a_block(shape, values):
    """The field, tables of the axes, a histogram of 2048 digits, less than 2.5 KB for the rest."""
    used = cpu.field_block_bytes(records(1, shape))
    tables = 16 * sum(shape) + 4 * (-shape[2] // 4 * -4)
    assert 0 < used - 4 * values - tables - 4 * 2048 < 2560


def test_which_fields_fit_into_shared_memory():
    def fits(size, kilobytes):
        return cpu.field_block_bytes(records(1, (1, size, size))) <= kilobytes * 1024

    for kilobytes, size in ((227, 230), (163, 192), (99, 145)):
        assert fits(size, kilobytes) and not fits(size + 1, kilobytes)
