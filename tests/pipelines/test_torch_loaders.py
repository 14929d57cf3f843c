"""The ImageNet loaders of plain PyTorch, over pictures whose colour tells which they are."""

import io
import itertools
import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import dali_msda as msda
from dali_msda import loader_draws
from dali_msda.pipelines.data import datasets, decoding
from dali_msda.pipelines.loaders import dali
from dali_msda.pipelines.loaders.dali_failures import DatasetError
from dali_msda.pipelines.loaders.torch import EvaluationLoader, TrainingLoader
from tests.pipelines.loader_cases import (
    COUNTS,
    EVERYTHING,
    POLICY,
    SMALL,
    assert_same_batches,
    forever,
)
from tests.support.coloured_folders import (
    HEIGHT,
    WIDTH,
    encoded,
    identities,
    write_folder,
    write_shard,
)
from tests.support.ffcv_processes import LIMIT
from tests.support.photographs import pieces

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return datasets.find(str(write_folder(tmp_path_factory.mktemp("images"), COUNTS)))


@pytest.mark.parametrize("ranks", [1, 3])
def test_training_never_repeats_a_sample_within_an_epoch(folder, ranks):
    loaders = [
        TrainingLoader(folder, **SMALL, shard_id=rank, num_shards=ranks) for rank in range(ranks)
    ]
    orders = []
    for number in range(3):
        seen = []
        for loader in loaders:
            assert loader.epoch == number and len(loader) == 34 // ranks // 4
            for images, labels in loader:
                names = identities(images)
                assert [label for label, _ in names] == labels.tolist()
                seen += names
        assert len(seen) == len(set(seen)) == ranks * len(loaders[0]) * 4
        orders.append(seen)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    for loader in loaders:
        loader.close()


@pytest.mark.parametrize("ranks", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [4, 50])
def test_evaluation_counts_each_sample_once(folder, ranks, batch_size):
    options = SMALL | dict(batch_size=batch_size, resize=28, num_shards=ranks, threads=1)
    for rank in range(ranks):
        with EvaluationLoader(folder, **options, shard_id=rank) as loader:
            for _ in range(2):
                found = [(identities(images), labels) for images, labels in loader]
                assert len(found) == len(loader)
                seen = [name for names, _ in found for name in names]
                first, last = 34 * rank // ranks, 34 * (rank + 1) // ranks
                assert seen == EVERYTHING[first:last]
                assert [label for label, _ in seen] == torch.cat([p[1] for p in found]).tolist()


def test_batches_are_functions_of_seed_epoch_and_index(folder):
    """The plan, the flips and the order, from the array functions."""
    options = SMALL | dict(seed=3, num_shards=2, shard_id=1)
    with TrainingLoader(folder, **options) as loader:
        plain = [list(loader) for _ in range(2)]
    with TrainingLoader(folder, policy=POLICY, compact=False, **options) as loader:
        mixed = [list(loader) for _ in range(2)]
    for epoch in range(2):
        order = loader_draws.order(34, seed=3, step=epoch)
        assert sorted(order) == list(range(34))
        for number, ((own, hard), (images, rows)) in enumerate(
            zip(plain[epoch], mixed[epoch], strict=True)
        ):
            ids = order[1::2][4 * number : 4 * number + 4]
            assert identities(own) == [EVERYTHING[index] for index in ids]
            step = epoch * 4 + number
            plan = msda.draw(POLICY, 4, 24, 24, seed=3, step=step, ids=ids)
            np.testing.assert_array_equal(rows, msda.targets(hard.numpy(), plan, num_classes=3))
            want = msda.blend(own.permute(0, 2, 3, 1).contiguous(), plan, layout="CHW")
            torch.testing.assert_close(images, want, rtol=1e-6, atol=1e-4)


def test_batches_depend_neither_on_workers_nor_on_generators(folder):
    def batches(threads, prefetch, seed):
        torch.manual_seed(seed)
        np.random.seed(seed)
        options = SMALL | dict(threads=threads, prefetch=prefetch, copies=2)
        with TrainingLoader(folder, policy=POLICY, **options) as loader:
            return list(itertools.islice(forever(loader), 12))

    want = batches(1, 1, 0)
    for case in ((2, 3, 1), (3, 1, 2)):
        assert_same_batches(batches(*case), want)


@pytest.mark.parametrize("policy", [None, POLICY], ids=["plain", "mixed"])
def test_a_restored_loader_goes_on_in_mid_epoch(folder, policy):
    def make():
        return TrainingLoader(folder, **SMALL, policy=policy, num_shards=2, seed=5, threads=1,
                              sizes={1: 16})  # fmt: skip

    with make() as loader:
        states, turns, batches = [loader.state_dict()], [loader.turn], []
        for batch in itertools.islice(forever(loader), 11):  # four batches are an epoch
            batches.append(batch)
            states.append(loader.state_dict())
            turns.append(loader.turn)
    assert [images.shape[-1] for images, *_ in batches] == [24] * 4 + [16] * 7
    if policy is not None:
        assert turns == [None, *itertools.islice(itertools.cycle((0, 1)), 11)]
    for consumed in (0, 1, 4, 6):
        with make() as loader:
            next(iter(loader))  # what was prepared for another place does not count
            loader.load_state_dict(states[consumed])
            assert loader.turn == turns[consumed]
            assert_same_batches(
                itertools.islice(forever(loader), 11 - consumed), batches[consumed:]
            )


def test_a_loop_that_was_left_goes_on(folder):
    with TrainingLoader(folder, **SMALL) as loader:
        whole = list(loader)
    with TrainingLoader(folder, **SMALL) as loader:
        parts = list(itertools.islice(loader, 3))
        parts += list(loader)
        assert (loader.epoch, loader.position) == (1, 0)
    assert_same_batches(parts, whole)


@pytest.mark.parametrize("change", [{"batch_size": 5}, {"seed": 1}, {"policy": msda.Mixup()}])
def test_a_state_of_another_loader_is_refused(folder, change):
    state = TrainingLoader(folder, **SMALL).state_dict()
    with pytest.raises(ValueError, match=f"loader state: expected {next(iter(change))}"):
        TrainingLoader(folder, **SMALL | change).load_state_dict(state)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("policy", [POLICY, msda.MultiMix(msda.CutMix(), k=2)])
def test_copies_follow_one_another(folder, policy, channels_last):
    """Each copy is cropped, flipped and mixed on its own, as another sample would be."""
    each = policy.interpolations or 1
    options = SMALL | dict(channels_last=channels_last, min_area=0.2)
    with TrainingLoader(folder, policy=policy, copies=3, **options) as loader:
        images, labels, weights = next(iter(loader))
    order = torch.channels_last if channels_last else torch.contiguous_format
    assert images.is_contiguous(memory_format=order)
    assert len(images) == len(labels) == len(weights) == 4 * 3 * each
    ids = loader_draws.order(34, seed=0, step=0)[:4]
    hard = np.array([EVERYTHING[index][0] for index in ids])
    for copy in range(3):
        plan = msda.draw(policy, 4, 24, 24, seed=0, step=0, ids=ids + 34 * copy)
        want = msda.targets(hard, plan, compact=True)[1]
        found = weights.reshape(4, 3, each, -1)[:, copy, :, : want.shape[-1]]
        np.testing.assert_array_equal(found.reshape(want.shape), want)


def test_copies_are_other_parts_of_one_picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    source = written(tmp_path, {"a.png": jpeg(pixels, kind="PNG")})
    with TrainingLoader(source, copies=2, **SMALL | dict(batch_size=1, threads=1)) as loader:
        ((images, _),) = loader
    for copy in range(2):
        part = decoding.random_crop_box(64, 64, 0.08, index=copy, seed=0, epoch=0)
        want = decoding.resized_crop(Image.fromarray(pixels), part, 24).transpose(2, 0, 1)
        found = images[copy].numpy()
        assert (found == want).all() or (found == want[:, :, ::-1]).all()
    assert (images[0] != images[1]).any()


@pytest.mark.parametrize("evaluation", [False, True])
def test_memory_orders_and_types_hold_the_same_pictures(folder, evaluation):
    def first(**more):
        if evaluation:
            loader = EvaluationLoader(folder, resize=28, threads=1, **SMALL | more)
        else:
            loader = TrainingLoader(folder, policy=POLICY, threads=1, **SMALL | more)
        with loader:
            return next(iter(loader))[0]

    plain, last = first(), first(channels_last=True)
    assert plain.is_contiguous() and plain.dtype == torch.float32
    assert last.is_contiguous(memory_format=torch.channels_last) and torch.equal(plain, last)
    half = first(dtype="float16")
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), plain, rtol=2**-10, atol=0)


def jpeg(pixels, orientation=None, mode="RGB", kind="JPEG", **how):
    stream, exif = io.BytesIO(), Image.Exif()
    if orientation:
        exif[decoding.ORIENTATION] = orientation
        how["exif"] = exif
    Image.fromarray(pixels).convert(mode).save(stream, kind, **how)
    return stream.getvalue()


def written(root, contents):
    (root / "class").mkdir()
    for name, content in contents.items():
        (root / "class" / name).write_bytes(content)
    return datasets.find(str(root))


def test_evaluation_shows_what_the_dali_loader_shows(tmp_path):
    """Photographs in every orientation and odd formats: the same parts, to a few grey levels."""
    some = itertools.islice(pieces(2, [(97, 61), (50, 83)], 1), 2)
    photographs = [pixels.repeat(3, 2)[..., :3] for pixels in some]
    contents = {
        f"{k}{turn}.jpg": jpeg(pixels, turn, quality=95)
        for k, pixels in enumerate(photographs)
        for turn in range(9)
    }
    contents |= {
        "a.png": jpeg(photographs[0], 6, kind="PNG"),
        "b.png": jpeg(photographs[0], mode="RGBA", kind="PNG"),
        "c.png": jpeg(photographs[0], mode="L", kind="PNG"),
        "d.jpg": jpeg(photographs[1], mode="L"),
        "e.jpg": jpeg(photographs[1], mode="CMYK"),
        "f.bmp": jpeg(photographs[1], kind="BMP"),
        "g.png": jpeg(photographs[1], mode="P", kind="PNG"),
    }
    source = written(tmp_path, contents)
    options = dict(batch_size=len(source.files), resize=44, size=39, mean=(0, 0, 0), std=(1, 1, 1))
    (ours, _), *_ = EvaluationLoader(source, threads=1, **options)
    (theirs, _), *_ = dali.EvaluationLoader(source, **options)
    apart = (ours - theirs).abs()
    for file, difference in zip(source.files, apart, strict=True):
        assert difference.max() < 4 and difference.mean() < 0.5, os.path.basename(file)


def test_sixteen_bits_are_cut_to_eight(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(np.full((30, 30), 0x5AFF, np.uint16)).save(stream, "PNG")
    source = written(tmp_path, {"a.png": stream.getvalue()})
    with EvaluationLoader(source, resize=28, threads=1, **SMALL) as loader:
        ((images, _),) = loader
    assert (images == 0x5A).all()


def test_crops_have_the_areas_and_ratios_that_were_asked_for():
    width, height, min_area = 320, 200, 0.2
    parts = np.array([
        decoding.random_crop_box(width, height, min_area, index=index, seed=1, epoch=2)
        for index in range(4000)
    ])  # fmt: skip
    x0, y0, x1, y1 = parts.T
    assert (x0 >= 0).all() and (y0 >= 0).all() and x1.max() == width and y1.max() == height
    assert x0.min() == 0 and y0.min() == 0
    area, ratio = (x1 - x0) * (y1 - y0) / (width * height), (x1 - x0) / (y1 - y0)
    assert area.min() > 0.19 and 0.2 < area.mean() < 0.6 and area.max() > 0.8
    assert ratio.min() > 0.73 and ratio.max() < 1.36
    small = area < 0.5  # which always fit, so that nothing is drawn again
    centre = (np.log(ratio[small])).mean()
    assert abs(centre) < 5 * np.log(16 / 9) / np.sqrt(12 * small.sum())
    again = decoding.random_crop_box(width, height, min_area, index=7, seed=1, epoch=2)
    assert tuple(parts[7]) == again
    assert again != decoding.random_crop_box(width, height, min_area, index=7, seed=1, epoch=3)


@pytest.mark.parametrize("width, height", [(1, 1), (900, 1), (1, 900), (300, 7), (2, 3)])
def test_crops_of_odd_images_lie_inside(width, height):
    for index in range(20):
        x0, y0, x1, y1 = decoding.random_crop_box(width, height, 1.0, index=index, seed=0, epoch=0)
        assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    pixels = np.full((height, width, 3), 90, np.uint8)
    image = Image.fromarray(pixels)
    assert (decoding.resized_crop(image, (x0, y0, x1, y1), 8) == 90).all()
    assert (decoding.central_crop(image, 9, 8) == 90).all()


def test_a_crop_shows_its_part():
    ramp = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(WIDTH) * 5, np.arange(HEIGHT)[:, None] * 6
    found = decoding.resized_crop(Image.fromarray(ramp), (8, 5, 40, 21), 16).astype(float)
    np.testing.assert_allclose(found[:, :, 0].mean(0), (8 + 2 * np.arange(16) + 0.5) * 5, atol=1.6)
    np.testing.assert_allclose(found[:, :, 1].mean(1), (5 + np.arange(16)) * 6, atol=1)


BROKEN = {"truncated": encoded(0, 0)[:200], "half": None, "text": b"no image" * 20, "empty": b""}


@pytest.mark.parametrize("content", BROKEN)
@pytest.mark.parametrize("kind", [TrainingLoader, EvaluationLoader])
def test_broken_files_are_named(tmp_path, content, kind):
    write_folder(tmp_path, COUNTS)
    broken = tmp_path / "class1" / "07.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2] if content == "half" else BROKEN[content])
    source = datasets.find(str(tmp_path))
    more = {"policy": POLICY} if kind is TrainingLoader else {"resize": 28}
    with kind(source, **SMALL | more) as loader:
        for _ in range(2):  # it fails again, and does not hang
            with pytest.raises(DatasetError) as caught:
                list(itertools.islice(forever(loader), 2 * len(loader)))
            what = "is empty or cannot be read" if content == "empty" else "cannot be decoded"
            start = f"{broken}: expected an image, got a file that {what}. "
            assert str(caught.value).startswith(start)
            assert f"check {tmp_path} --output good.txt" in str(caught.value)


def test_a_file_that_vanished_is_named(tmp_path):
    write_folder(tmp_path, COUNTS)
    source = datasets.find(str(tmp_path))
    (tmp_path / "class2" / "01.jpg").unlink()
    with (
        pytest.raises(DatasetError, match=r"class2/01\.jpg: .* is empty or cannot be read"),
        EvaluationLoader(source, resize=28, **SMALL) as loader,
    ):
        list(loader)


def test_a_worker_that_dies_is_an_error_not_a_hang(folder, monkeypatch):
    monkeypatch.setattr(decoding, "decode", lambda path: os._exit(3))
    with pytest.raises(RuntimeError, match="worker"), TrainingLoader(folder, **SMALL) as loader:
        list(loader)


def test_a_closed_loader_says_so_and_leaves_no_process(folder):
    before = set(multiprocessing.active_children())
    loader = TrainingLoader(folder, **SMALL)
    images, _ = next(iter(loader))
    kept = images.clone()
    assert len(set(multiprocessing.active_children()) - before) == 2
    loader.close()
    assert torch.equal(images, kept)
    with pytest.raises(RuntimeError, match="loader: expected an open one"):
        next(iter(loader))
    assert not set(multiprocessing.active_children()) - before


def test_a_program_ends_that_never_closed_its_loader(folder):
    """Its workers ignore the signal by which Python ends them."""
    program = f"""
from dali_msda.pipelines.data import datasets
from dali_msda.pipelines.loaders.torch import TrainingLoader
loader = TrainingLoader(datasets.find({folder.root!r}), batch_size=4, size=28, threads=2)
next(iter(loader))
raise SystemExit(3)
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=LIMIT).returncode == 3


@pytest.mark.parametrize(
    "change, message",
    [
        ({"batch_size": 35}, "batch_size: expected at most 34 per process, .* got 35"),
        ({"threads": 0}, "threads: expected at least 1, got 0"),
        ({"num_shards": 35}, "num_shards: expected at most the number of images, got 35"),
        ({"num_shards": 2, "shard_id": 2}, r"shard_id: expected a number in \[0, 2\), got 2"),
        ({"num_classes": 5}, "num_classes: expected 3, the classes of .*, got 5"),
        ({"dtype": "int8"}, "dtype: expected one of float32, float16, got 'int8'"),
        ({"min_area": 0.0}, r"min_area: expected a share in \(0, 1\], got 0"),
        ({"copies": 0}, "copies: expected at least 1"),
        ({"device_id": 0}, "device_id: expected None, since this loader works on the CPU, got 0"),
    ],
)
def test_argument_errors(folder, change, message):
    with pytest.raises(ValueError, match=message):
        TrainingLoader(folder, **SMALL | change)


def test_sources_that_it_cannot_serve(folder, tmp_path):
    write_shard(tmp_path / "a.tar", [(encoded(0, 0), b"0")])
    with pytest.raises(ValueError, match=r"source: expected a folder .* got shards, .*a\.tar"):
        TrainingLoader(datasets.find(str(tmp_path)), num_classes=1, **SMALL)
    odd = datasets.ImageFolder(folder.root, folder.classes, folder.files, (3, *folder.labels[1:]))
    with pytest.raises(DatasetError, match=r"00\.jpg: expected a label in \[0, 3\), got 3"):
        TrainingLoader(odd, **SMALL)
    with pytest.raises(ValueError, match="resize: expected at least size, 24, got 20"):
        EvaluationLoader(folder, resize=20, **SMALL)
