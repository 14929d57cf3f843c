"""One plan, two blends of a DALI pipeline: images, and what is registered with them."""

import numpy as np
import pytest

pytest.importorskip("nvidia.dali")
from nvidia.dali import fn, types

import dali_msda as msda
from dali_msda.dali import blend, plan
from tests.support.variants import IN_LOADERS
from tests.with_dali.dali_pipelines import (
    CLASSES,
    build,
    read,
    records,
    run,
    source,
    write_photographs,
)

SHAPE = (7, 19, 26)
MIRROR = np.array([0, 1, 1, 0, 1, 0, 0], np.int32)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
MAPS = RNG.choice(np.array([0, 1, 2, 255], np.uint8), SHAPE)
HARD = [msda.CutMix(), msda.SaliencyMix(), msda.CutMix(box="wrap"), msda.FMix(), msda.ResizeMix()]
HARD.append(msda.Choice(HARD[1:], weights=[1, 1, 2, 3]))


@pytest.mark.parametrize("policy", HARD, ids=str)
def test_maps_are_cut_with_the_images(policy):
    def define():
        images, flags = source(IMAGES, layout="HWC"), source(MIRROR)
        plans = plan(images, policy, seed=5)
        options = {"mirror": flags, "dtype": types.UINT8, "output_layout": "HWC"}
        maps = source(MAPS[..., None], layout="HWC")
        return fn.msda.blend(images, plans, **options), fn.msda.blend(maps, plans, **options), plans

    for images, maps, plans in run(define, SHAPE[0], iterations=3):
        drawn = records(plans)
        want = msda.segmentation(MAPS, drawn, mirror=MIRROR)
        np.testing.assert_array_equal(maps[..., 0], want)
        assert np.isin(maps, [0, 1, 2, 255]).all() and maps.dtype == np.uint8
        np.testing.assert_array_equal(images, msda.blend(IMAGES, drawn, mirror=MIRROR))


@pytest.mark.parametrize("policy", [kind() for kind in IN_LOADERS.values()], ids=str)
def test_a_depth_map_beside_photographs(policy, tmp_path):
    """Read, decoded and resized; what is not DALI's follows from the plan that it returns."""
    root = write_photographs(tmp_path)

    def define():
        images, labels = read(root, random_shuffle=True, seed=3)
        depth = fn.cast(images[:, :, :1], dtype=types.FLOAT) / 255
        plans = plan(images, policy, seed=5)
        mixed = blend(images, plans, mean=100, std=50)
        return (
            images,
            labels,
            plans,
            mixed,
            blend(fn.reinterpret(depth, layout="HWC"), plans),
            fn.msda.targets(labels, plans, num_classes=CLASSES),
        )

    pipeline = build(define, 5)
    for _ in range(2):
        images, labels, plans, mixed, depth, rows = (
            np.array(output.as_cpu().as_array()) for output in pipeline.run()
        )
        drawn = records(plans)
        given = images[..., :1].astype(np.float32) / np.float32(255)
        np.testing.assert_allclose(depth, msda.blend(given, drawn, layout="CHW"), atol=1e-7, rtol=0)
        np.testing.assert_array_equal(
            mixed, msda.blend(images, drawn, mean=100, std=50, layout="CHW")
        )
        np.testing.assert_array_equal(
            rows, msda.targets(labels.ravel(), drawn, num_classes=CLASSES)
        )
        ages = msda.values(labels.ravel().astype(np.float64), drawn)
        np.testing.assert_allclose(ages, rows @ np.arange(CLASSES), atol=1e-6)
