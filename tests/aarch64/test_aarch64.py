"""The CPU library for aarch64: the bits of this machine's, and far fewer instructions than plain.

It is compiled by a cross compiler and run by an emulator (emulated.py), which checks results and
counts instructions. How long anything takes on a machine of aarch64, nothing here can say.
"""

from unittest import mock

import numpy as np
import pytest

import dali_msda as msda
from dali_msda import loader_draws
from dali_msda.backends import cpu
from tests.aarch64 import emulated
from tests.arrays.test_blend import SHAPES
from tests.methods import puzzle_batches
from tests.plan import test_vectors
from tests.reference import plain_kernels
from tests.support import doors
from tests.support.batches import (
    OUTPUTS,
    every_kind_of_record,
    normalisation,
    random_images,
)
from tests.support.doors import assert_same, native
from tests.support.fmix_plans import LAWS, fields_of, records
from tests.support.variants import CASES, VARIANTS, draw_any, make, name_of

LAYOUTS = ("HWC", "CHW")


def skip_without(*programs):
    reason = emulated.missing(*programs)
    return [pytest.mark.skipif(bool(reason), reason=reason), pytest.mark.aarch64]


pytestmark = skip_without(emulated.COMPILER, emulated.EMULATOR)


@pytest.fixture(scope="module")
def machine():
    made = emulated.Machine()
    yield made
    made.close()


@pytest.fixture
def assert_same_there(machine):
    """Compares what some work returns here and on the emulated machine, array by array."""

    def check(work):
        want = list(work())
        with emulated.in_place_of_this_machine(machine):
            assert cpu.isas() == ["aarch64-neon"]
            got = list(work())
        for one, other in zip(got, want, strict=True):
            assert_same(one, other)

    return check


def blends(shapes, source, dtype, norm, plan_of):
    """What comes of every shape in both layouts, with and without mirrored images."""
    for seed, shape in enumerate(shapes):
        images, plan = random_images(shape, source, seed), plan_of(seed, shape)
        for layout, mirror in zip(LAYOUTS, (None, np.arange(shape[0]) % 3 == 1), strict=True):
            options = {"dtype": dtype, "mirror": mirror} | normalisation(shape[3], norm)
            yield native(threads=1 + seed % 2)(images, plan, layout=layout, **options)
            yield native()(images, plan, layout=LAYOUTS[layout == "HWC"], **options)


@pytest.mark.parametrize("name", test_vectors.RECORDED)
def test_known_answers(name, machine):
    with emulated.in_place_of_this_machine(machine):
        test_vectors.test_nothing_has_changed(name)


@pytest.mark.parametrize("source, dtype, norm", OUTPUTS)
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_every_method(case, source, dtype, norm, assert_same_there):
    def plan_of(seed, shape):
        return draw_any(make(case), *shape[:3], seed=seed, step=0)

    shapes = (5, 13, 19, 3), (3, 9, 70, 3), (3, 21, 8, 2), (3, 12, 31, 1)
    assert_same_there(lambda: blends(shapes, source, dtype, norm, plan_of))


@pytest.mark.parametrize("source, dtype, norm", OUTPUTS)
def test_random_batches(source, dtype, norm, assert_same_there):
    def plan_of(seed, shape):
        return every_kind_of_record(*shape[:3], seed=seed)

    shapes = [*SHAPES, (7, 131, 163, 3)]
    assert_same_there(lambda: blends(shapes, source, dtype, norm, plan_of))


@pytest.mark.parametrize("source", ["uint8", "float32"])
def test_in_place(source, assert_same_there):
    def work():
        for policy in (msda.Mixup(partner="flip"), msda.CutMix(scope="pair")):
            for shape in ((4, 31, 37, 3), (6, 5, 70, 1)):
                images = random_images(shape, source)
                plan = msda.draw(policy, *shape[:3], seed=1, step=2)
                yield msda.blend(images, plan, out=images)

    assert_same_there(work)


@pytest.mark.parametrize("law", LAWS)
def test_fields(law, assert_same_there):
    def work():
        for seed, shape in enumerate([(1, 64, 64), (1, 33, 47), (4, 18, 20), (1, 1, 77)]):
            lam = np.linspace(0, 1, 5)
            yield fields_of(records(5, shape, lam=lam, seed=seed, **LAWS[law]))
            yield fields_of(records(3, shape, soft=5, seed=seed, **LAWS[law]))

    assert_same_there(work)


@pytest.mark.parametrize("source", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 3])
def test_saliency(channels, source, assert_same_there):
    def work():
        for size in [(1, 1), (2, 60), (53, 1), (31, 53), (64, 61), (225, 227)]:
            images = random_images((2, *size, channels), "uint8").astype(source)
            yield from msda.saliency(images, maps=True)

    assert_same_there(work)


@pytest.mark.parametrize("planar", [False, True])
def test_puzzle_mix(planar, assert_same_there):
    def work():
        rng = np.random.default_rng(1)
        for blocks, dtype in ((2, "float32"), (4, "float16"), (8, "bfloat16")):
            images, maps = puzzle_batches.noise(rng, 4, 32, 32, peaked=2)
            plans = puzzle_batches.plan_of(4, 32, 32, partner="roll")
            cells, weights, uniform = puzzle_batches.solve(plans, images, maps, blocks=blocks)
            yield from (cells, weights, uniform)
            yield puzzle_batches.blended(images, plans, cells, 3, planar, dtype)

    assert_same_there(work)


def test_labels_and_draws(assert_same_there):
    def work():
        policy = msda.MultiMix(msda.Choice([msda.Mixup(), msda.CutMix(), msda.FMix()]), 3)
        plan = msda.draw(policy, 7, 24, 24, seed=5, step=6)
        yield msda.mask(plan, 24, 24)
        yield msda.targets(np.arange(7), plan, num_classes=11, smoothing=0.1)
        yield from msda.targets(np.arange(7), plan, compact=True)
        yield loader_draws.uniforms(np.arange(9), 5, purpose="flip", seed=3, step=4)

    assert_same_there(work)


# -------------------------------------------------------------------------------- instructions

SIZE = (2, 64, 80, 3)
KINDS = [
    ("uint8", "uint8", "none"),
    ("uint8", "float32", "mean and std"),
    ("uint8", "float16", "mean and std"),
    ("uint8", "bfloat16", "mean and std"),
    ("float32", "float32", "none"),
]


@pytest.fixture(scope="module")
def counting_machine():
    reason = emulated.missing(emulated.COUNTING_EMULATOR)
    if reason:
        pytest.skip(reason)
    made = emulated.Machine(counting=True)
    yield made
    made.close()


def assert_half_as_many(machine, plain, shipped):
    """Prints both numbers, which ``pytest -rP`` shows."""
    many, few = (emulated.instructions_of(machine, work) for work in (plain, shipped))
    print(f"plain {many}, shipped {few}: {many / few:.2f} times")
    assert 0 < 2 * few <= many


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("source, dtype, norm", KINDS)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_blend_takes_half_of_the_plain_instructions(
    name, source, dtype, norm, layout, counting_machine
):
    images = random_images(SIZE, source)
    plan = draw_any(make((name, VARIANTS[name][0])), *SIZE[:3], seed=3, step=0)
    options = {"dtype": dtype, "layout": layout} | normalisation(3, norm)
    with emulated.in_place_of_this_machine(counting_machine):
        fields = fields_of(plan)
    with mock.patch.object(doors, "fields_of", lambda _: fields):
        assert_half_as_many(
            counting_machine,
            lambda: native(plain_kernels.blend)(images, plan, **options),
            lambda: native(threads=1)(images, plan, **options),
        )


@pytest.mark.parametrize("law", LAWS)
def test_a_field_takes_half_of_the_plain_instructions(law, counting_machine):
    plan = records(2, (1, *SIZE[1:3]), lam=0.4, **LAWS[law])
    assert_half_as_many(
        counting_machine,
        lambda: fields_of(plan, phases=(1, 1)),
        lambda: fields_of(plan, threads=1),
    )


@pytest.mark.parametrize("source", ["uint8", "float32"])
def test_saliency_takes_half_of_the_plain_instructions(source, counting_machine):
    images = random_images(SIZE, "uint8").astype(source)
    peaks, maps = np.zeros((2, 2), np.int32), np.zeros(SIZE[:3], np.uint8)
    assert_half_as_many(
        counting_machine,
        lambda: plain_kernels.saliency(peaks, images, maps=maps, threads=1, order=1),
        lambda: cpu.saliency(peaks, images, maps=maps, threads=1),
    )
