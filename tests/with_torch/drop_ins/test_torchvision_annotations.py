"""Masks and boxes that follow the plan of their images, in torchvision's samples."""

import numpy as np
import pytest
import torch

import dali_msda as msda
from dali_msda.torch.torchvision_cpu import declare_operators

declare_operators()
v2 = pytest.importorskip("torchvision.transforms.v2")
from torchvision import tv_tensors  # noqa: E402

from dali_msda.torchvision import CutMix, MixUp  # noqa: E402

BATCH, HEIGHT, WIDTH, CLASSES = 4, 12, 16, 5
RANDOM = np.random.default_rng(0)
IMAGES = torch.from_numpy(RANDOM.integers(0, 256, (BATCH, 3, HEIGHT, WIDTH), np.uint8))
MAPS = torch.from_numpy(RANDOM.integers(0, CLASSES, (BATCH, HEIGHT, WIDTH)))
LABELS = torch.tensor([0, 4, 2, 1])
COUNTS = [2, 0, 3, 1]
KINDS = pytest.mark.parametrize("kind", [MixUp, CutMix])


def corners(count):
    low = torch.from_numpy(RANDOM.integers(0, 6, (count, 2)))
    return torch.cat([low, low + torch.from_numpy(RANDOM.integers(3, 7, (count, 2)))], 1).float()


BOXES = [corners(count) for count in COUNTS]


def in_format(boxes, form="XYXY"):
    made = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(HEIGHT, WIDTH))
    return v2.functional.convert_bounding_box_format(made, new_format=form)


def plan_of(transform):
    return msda.draw(transform.policy, BATCH, HEIGHT, WIDTH, **transform._key.arguments())


@KINDS
@pytest.mark.parametrize("lead", [(), (1,)])
@pytest.mark.parametrize("seed", [3, 7])  # with lambda above and below 1/2
def test_maps_follow_the_images(kind, lead, seed):
    transform = kind(num_classes=CLASSES, seed=seed, annotations=True)
    plan = plan_of(transform)
    maps = tv_tensors.Mask(MAPS.view(BATCH, *lead, HEIGHT, WIDTH))
    sample = {"image": tv_tensors.Image(IMAGES), "labels": LABELS, "maps": maps, "name": "x"}
    for given, image, labels, found in (
        (sample, "image", "labels", "maps"),
        ((tv_tensors.Image(IMAGES), LABELS, maps), 0, 1, 2),
    ):
        transform._key.step = 0
        made = transform(*given) if isinstance(given, tuple) else transform(given)
        plain, rows = kind(num_classes=CLASSES, seed=seed)(IMAGES, LABELS)
        assert torch.equal(made[image], plain) and torch.equal(made[labels], rows)
        assert type(made[found]) is tv_tensors.Mask and made[found].shape == maps.shape
        want = msda.segmentation(MAPS, plan)
        assert torch.equal(made[found].view(want.shape), want)
        assert torch.equal(want, MAPS) == (kind is MixUp and plan["lam"][0] > 0.5)


@KINDS
@pytest.mark.parametrize("form", ["XYXY", "XYWH"])
def test_boxes_and_what_is_known_of_them_follow_the_images(kind, form):
    transform = kind(num_classes=CLASSES, seed=5, annotations=True, min_visible=0.2)
    plan = plan_of(transform)
    objects = torch.rand(6, HEIGHT, WIDTH) < 0.5
    tags, start = torch.arange(10, 16), np.cumsum([0, *COUNTS])
    several = [
        {
            "boxes": in_format(boxes, form),
            "labels": tags[first : first + len(boxes)],
            "masks": tv_tensors.Mask(objects[first : first + len(boxes)]),
            "id": f"image {first}",
        }
        for boxes, first in zip(BOXES, start[:-1], strict=True)
    ]
    _, _, made = transform(tv_tensors.Image(IMAGES), LABELS, several)
    numbers = [tags[start[k] : start[k + 1]] for k in range(BATCH)]
    places, kinds, visible = msda.boxes(BOXES, numbers, plan, min_visible=0.2)
    shown = torch.from_numpy(msda.mask(plan, HEIGHT, WIDTH))
    kept = 0
    for slot, one in enumerate(made):
        assert one["boxes"].format == several[slot]["boxes"].format
        got = v2.functional.convert_bounding_box_format(one["boxes"], new_format="XYXY")
        torch.testing.assert_close(got.as_subclass(torch.Tensor), places[slot])
        assert torch.equal(one["labels"], kinds[slot]) and one["id"] == several[slot]["id"]
        assert torch.equal(one["visible"], visible[slot])
        for tag, cut in zip(one["labels"].tolist(), one["masks"], strict=True):
            own = start[slot] <= tag - 10 < start[slot + 1]
            seen = shown[slot] > 0 if own else shown[slot] < 1
            assert torch.equal(cut, objects[tag - 10] & seen)
            kept += 1
    assert kept > 6 if kind is MixUp else kept > 0


def test_bare_boxes_and_no_labels():
    transform = CutMix(labels_getter=None, seed=6, annotations=True)
    plan = plan_of(transform)
    sample = {"x": tv_tensors.Image(IMAGES), "boxes": [in_format(boxes) for boxes in BOXES]}
    made = transform(sample)
    assert set(made) == {"x", "boxes"}
    want, _, _ = msda.boxes(BOXES, [torch.zeros(count) for count in COUNTS], plan)
    for got, one in zip(made["boxes"], want, strict=True):
        assert type(got) is tv_tensors.BoundingBoxes and torch.equal(got, one)
    plain, _ = CutMix(num_classes=CLASSES, seed=6)(IMAGES, LABELS)
    assert torch.equal(made["x"], plain)


@KINDS
def test_annotations_that_do_not_fit(kind):
    transform = kind(num_classes=CLASSES, annotations=True)
    image = tv_tensors.Image(IMAGES)
    with pytest.raises(ValueError, match=r"masks: expected a batch of maps of classes, .* \(4, 2"):
        transform(image, LABELS, tv_tensors.Mask(torch.zeros(4, 2, HEIGHT, WIDTH)))
    with pytest.raises(ValueError, match="boxes: expected as many as images, 4, got 3"):
        transform(image, LABELS, [in_format(boxes) for boxes in BOXES[:3]])
    small = tv_tensors.BoundingBoxes(BOXES[0], format="XYXY", canvas_size=(6, 6))
    with pytest.raises(ValueError, match="boxes: expected one canvas_size and format in a batch"):
        transform(image, LABELS, [*map(in_format, BOXES[:3]), small])
    coarse = tv_tensors.Mask(MAPS[:, ::2, ::2])
    if kind is CutMix:
        with pytest.raises(ValueError, match="annotations: expected the height and width of the"):
            transform(image, LABELS, coarse)
    else:
        assert transform(image, LABELS, coarse)[2].shape == coarse.shape
    with pytest.raises(ValueError, match="does not support PIL images, bounding boxes, keypoints"):
        points = tv_tensors.KeyPoints([[1, 2]], canvas_size=(6, 6))
        transform(image, LABELS, points)
    with pytest.raises(ValueError, match=r"min_visible: expected a share in \[0, 1\], got 2"):
        kind(annotations=True, min_visible=2)
