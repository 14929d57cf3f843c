"""What Collate takes for an image: PIL's modes, arrays and tensors of either layout, labels."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

import dali_msda as msda
from dali_msda import loader_draws
from dali_msda.torch import Collate, Indexed
from tests.with_torch.test_torch_collate import Given

HEIGHT, WIDTH = 14, 11
COLOURS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
GREYS = COLOURS[..., 0].copy()


def collated(image, label=0, **how):
    """The image as a batch of one, unmixed."""
    collate = Collate(None, **how)
    collate.set_epoch(0)
    images, labels = collate(Indexed(Given(lambda index: (image, label))).__getitems__([3]))
    return images[0].numpy(), labels


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_modes_that_stay_as_they_are(mode):
    image = Image.fromarray(COLOURS).convert(mode)
    values = np.asarray(image).reshape(HEIGHT, WIDTH, -1)
    np.testing.assert_array_equal(collated(image)[0], values.transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr", "HSV", "RGBX", "1"])
def test_modes_that_are_converted(mode):
    image = Image.fromarray(COLOURS).convert(mode)
    values = np.asarray(image.convert("L" if mode == "1" else "RGB")).reshape(HEIGHT, WIDTH, -1)
    np.testing.assert_array_equal(collated(image)[0], values.transpose(2, 0, 1))
    np.testing.assert_array_equal(collated(image, layout="CHW")[0], values.transpose(2, 0, 1))


def test_a_palette_is_looked_up():
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    assert collated(image)[0][:, 0, 1].tolist() == [40, 50, 60]


MODES = ["LA", "PA", "La", "RGBa", "LAB", "I", "I;16", "I;16B", "F"]


@pytest.mark.parametrize("mode", MODES)
def test_modes_that_are_refused(mode):
    try:
        image = Image.new(mode, (WIDTH, HEIGHT))
    except (ValueError, KeyError):
        pytest.skip(f"this PIL has no {mode}")
    message = rf"sample 3: expected a PIL image of mode L, RGB, .* got {mode}; convert it"
    with pytest.raises(TypeError, match=message):
        collated(image)


@pytest.mark.parametrize(
    "image, layout",
    [
        (COLOURS, None),
        (COLOURS, "HWC"),
        (COLOURS.transpose(2, 0, 1), "CHW"),
        (torch.from_numpy(COLOURS).permute(2, 0, 1), None),
        (torch.from_numpy(COLOURS).permute(2, 0, 1), "CHW"),
        (torch.from_numpy(COLOURS), "HWC"),
    ],
)
def test_layouts(image, layout):
    np.testing.assert_array_equal(collated(image, layout=layout)[0], COLOURS.transpose(2, 0, 1))


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("layout", [None, "HWC", "CHW"])
def test_grey_arrays_have_no_layout(kind, layout):
    np.testing.assert_array_equal(collated(kind(GREYS), layout=layout)[0], GREYS[None])


@pytest.mark.parametrize(
    "image, message",
    [
        (np.zeros((3, 64, 64), np.uint8), r"HWC of ndarray, got shape \(3, 64, 64\), .* like CHW"),
        (np.zeros((1, 28, 28), np.uint8), r".* looks like CHW; .* Collate\(..., layout='CHW'\)"),
        (torch.zeros(64, 64, 3, dtype=torch.uint8), "CHW of Tensor, .* looks like HWC"),
    ],
)
def test_what_looks_like_the_other_layout_is_refused(image, message):
    with pytest.raises(ValueError, match=f"sample 3: expected {message}"):
        collated(image)


def test_many_channels():
    many = np.random.default_rng(1).integers(0, 256, (5, 6, 13), dtype=np.uint8)
    np.testing.assert_array_equal(collated(many)[0], many.transpose(2, 0, 1))
    flat = many[:2]
    np.testing.assert_array_equal(collated(flat, layout="HWC")[0], flat.transpose(2, 0, 1))


@pytest.mark.parametrize("layout", ["NCHW", 3, ["HWC"], np.array(["HWC", "CHW"])])
def test_wrong_layouts(layout):
    with pytest.raises(ValueError, match="layout: expected 'HWC', 'CHW' or None, got"):
        Collate(None, layout=layout)


@pytest.mark.parametrize(
    "samples, error, message",
    [
        ([], ValueError, "samples: expected a list of at least one sample, got none"),
        (None, ValueError, "samples: expected a list of at least one sample, got NoneType"),
        ([COLOURS], TypeError, r"samples: expected those of Indexed\(dataset\), got ndarray"),
    ],
)
def test_no_samples(samples, error, message):
    collate = Collate(None)
    collate.set_epoch(0)
    with pytest.raises(error, match=message):
        collate(samples)


@pytest.mark.parametrize(
    "label, error, message",
    [
        (torch.rand(3, requires_grad=True), ValueError, "sample 3: label: expected data, got a te"),
        (2**63, TypeError, "sample 3: expected a label that is a class index"),
        (2**70, TypeError, "sample 3: expected a label that is a class index"),
        (True, TypeError, "sample 3: expected a label that is a class index"),
    ],
)
def test_wrong_labels(label, error, message):
    with pytest.raises(error, match=message):
        collated(COLOURS, label)


def test_half_precision_labels():
    row = torch.tensor([0.25, 0.75])
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        _, labels = collated(COLOURS, row.to(dtype))
        assert labels.dtype == torch.float32 and torch.equal(labels, row[None])


def test_an_index_from_the_end_is_that_sample():
    data = Indexed(Given(lambda index: (COLOURS, index), samples=9))
    assert data[-2].index == 7 and data[-2].value[1] == -2
    assert [sample.index for sample in data.__getitems__([1, -1])] == [1, 8]


class Stream(IterableDataset):
    def __iter__(self):
        yield COLOURS, 0

    def __getitem__(self, index):
        return COLOURS, 0

    def __len__(self):
        return 1


class Endless(Dataset):
    def __getitem__(self, index):
        return COLOURS, 0


@pytest.mark.parametrize("dataset, got", [(Stream(), "Stream, an IterableDataset"),
                                          (Endless(), "Endless"), (None, "NoneType")])  # fmt: skip
def test_datasets_without_indices(dataset, got):
    with pytest.raises(TypeError, match=f"dataset: expected one with __getitem__ .* got {got}; "):
        Indexed(dataset)


def test_copies_of_a_sample_are_mirrored_and_cropped_anew():
    """As repeated augmentation makes them: each copy in a batch has draws of its own."""
    ids = [5] * 16 + [7] + [5] * 16
    flips = loader_draws.flips(ids, 0.5, seed=0, step=0)
    assert 8 < flips.sum() < 25
    assert flips[0] == loader_draws.flips([5], 0.5, seed=0, step=0)
    assert flips[16] == loader_draws.flips([7], 0.5, seed=0, step=0)
    how = dict(area=(0.1, 1.0), seed=0, step=0)
    crops = loader_draws.crops(ids, [99] * 33, [99] * 33, **how)
    assert len(np.unique(crops, axis=0)) == 33
    np.testing.assert_array_equal(crops[16], loader_draws.crops([7], [99], [99], **how)[0])


def test_ranks_mix_copies_of_a_sample_in_several_ways():
    data = Indexed(Given(lambda index: (COLOURS, index % 5)))
    rows = []
    for rank in (0, 1, 2):
        collate = Collate(msda.Mixup(), 5, mirror=0.5, seed=3, rank=rank)
        collate.set_epoch(0)
        ids = [3, 1, 4, 15]
        images, found = collate(data.__getitems__(ids))
        shifted = np.array(ids) + rank * 2**32
        plan = msda.draw(msda.Mixup(), 4, HEIGHT, WIDTH, seed=3, step=0, ids=shifted)
        flips = loader_draws.flips(shifted, 0.5, seed=3, step=0)
        want = msda.blend(np.stack([COLOURS] * 4), plan, mirror=flips, layout="CHW")
        np.testing.assert_array_equal(images, want)
        rows.append(found)
    assert not any(torch.equal(rows[0], other) for other in rows[1:])


def test_copies_of_a_sample_draw_anew_within_a_batch_and_alike_in_another():
    """A batch is a function of its own indices: so is what a resumed run makes of it."""
    data = Indexed(Given(lambda index: (COLOURS, index % 5)))
    collate = Collate(msda.Mixup(), 5, seed=3, compact=True)
    collate.set_epoch(0)
    weights = [collate(data.__getitems__(ids))[2][:, 0] for ids in ([3, 3, 3, 1], [4, 3, 2, 3])]
    assert len(set(weights[0].tolist())) == 4
    assert weights[0][:2].tolist() == weights[1][1::2].tolist()
