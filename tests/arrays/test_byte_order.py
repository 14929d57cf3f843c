"""Arrays of the other byte order, whose dtype has the same name: refused, or converted."""

import numpy as np
import pytest

import dali_msda as msda
from tests.support.batches import every_kind_of_record, random_images
from tests.support.doors import assert_same

OTHER = {kind: np.dtype(kind).newbyteorder("S") for kind in ("f4", "f2", "u2", "i8", "f8", "i4")}


def test_outputs_of_the_other_byte_order_are_refused():
    """Their dtype has the same name."""
    images, plan = random_images((4, 6, 7, 3), "uint8"), every_kind_of_record(4, 6, 7)
    for dtype, kind in (("float32", "f4"), ("float16", "f2"), ("bfloat16", "u2")):
        out = np.zeros((4, 6, 7, 3), OTHER[kind])
        with pytest.raises(ValueError, match=f"out: expected {dtype} .* got {OTHER[kind].str}"):
            msda.blend(images, plan, dtype=dtype, out=out)
        assert not out.any()
    with pytest.raises(ValueError, match="out: expected float32 .* got"):
        msda.mask(plan, 6, 7, out=np.zeros((4, 6, 7), OTHER["f4"]))
    with pytest.raises(ValueError, match="out: expected float32 .* got"):
        msda.targets(np.arange(4), plan, num_classes=4, out=np.zeros((4, 4), OTHER["f4"]))
    maps = np.zeros((4, 6, 7), "i4")
    with pytest.raises(ValueError, match="out: expected int32 .* got"):
        msda.segmentation(maps, plan, out=maps.astype(OTHER["i4"]))


def test_inputs_of_the_other_byte_order_are_refused_or_converted():
    plan, rng = every_kind_of_record(4, 6, 7), np.random.default_rng(0)
    with pytest.raises(TypeError, match="images: expected uint8 or float32, got [<>]f4"):
        msda.blend(np.zeros((4, 6, 7, 3), OTHER["f4"]), plan)
    with pytest.raises(TypeError, match="images: expected uint8 or float32, got [<>]f4"):
        msda.saliency(np.zeros((4, 6, 7, 3), OTHER["f4"]))
    with pytest.raises(TypeError, match="values: expected float32 or float64 .* got [<>]f8"):
        msda.values(np.zeros(4, OTHER["f8"]), plan)
    images, labels, soft = random_images((4, 6, 7, 3), "uint8"), np.arange(4), rng.random((4, 5))
    flags, maps = np.array([0, 1, 1, 0]), rng.integers(0, 5, (4, 6, 7))
    boxes = [rng.random((3, 4)).cumsum(1) for _ in range(4)]
    assert_same(
        msda.blend(images, plan, mirror=flags.astype(OTHER["i8"])),
        msda.blend(images, plan, mirror=flags),
    )
    for given, kind, options in ((labels, "i8", {"num_classes": 5}), (soft, "f8", {})):
        other = given.astype(OTHER[kind])
        assert_same(msda.targets(other, plan, **options), msda.targets(given, plan, **options))
    assert_same(
        msda.segmentation(maps.astype(OTHER["i8"]), plan, mirror=flags.astype(OTHER["i4"])),
        msda.segmentation(maps, plan, mirror=flags),
    )
    tags = [np.arange(3)] * 4
    others = [one.astype(OTHER["f8"]) for one in boxes]
    for one, other in zip(
        msda.boxes(boxes, tags, plan), msda.boxes(others, tags, plan), strict=True
    ):
        for a, b in zip(one, other, strict=True):
            assert a.dtype == b.dtype and (a == b).all()
    peaks = np.array([[1, 2], [3, 4], [5, 6], [0, 0]])
    draws = [
        msda.draw(msda.SaliencyMix(), 4, 6, 7, seed=0, step=0, peaks=given)
        for given in (peaks, peaks.astype(OTHER["i8"]))
    ]
    np.testing.assert_array_equal(*draws)
