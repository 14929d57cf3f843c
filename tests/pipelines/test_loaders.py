"""The ImageNet loaders, over pictures whose colour tells which they are."""

import io
import itertools

import numpy as np
import pytest
import torch
from nvidia.dali import fn, pipeline_def
from PIL import Image

import dali_msda as msda
from dali_msda.pipelines.data import datasets
from dali_msda.pipelines.loaders import dali_readers
from dali_msda.pipelines.loaders.dali import EvaluationLoader, TrainingLoader
from dali_msda.pipelines.loaders.dali_failures import DatasetError
from tests.pipelines.loader_cases import (
    COUNTS,
    EVERYTHING,
    POLICY,
    SMALL,
    assert_same_batches,
    epoch,
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


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("images"), COUNTS)


@pytest.fixture(scope="module")
def folder(root):
    return datasets.find(str(root))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """The same pictures in the same order, in archives of 10, 4 and 20."""
    path = tmp_path_factory.mktemp("shards")
    samples = [(encoded(*name), b"%d\n" % name[0]) for name in EVERYTHING]
    for number, (start, end) in enumerate([(0, 10), (10, 14), (14, 34)]):
        write_shard(path / f"{number}.tar", samples[start:end])
    return datasets.find(str(path / "*.tar"))


@pytest.fixture(params=["folder", "shards"])
def source(request):
    return request.getfixturevalue(request.param)


def options(source, **more):
    return SMALL | ({"num_classes": 3} if isinstance(source, datasets.Shards) else {}) | more


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_training_never_repeats_a_sample_within_an_epoch(source, ranks):
    loaders = [
        TrainingLoader(source, **options(source, shard_id=rank, num_shards=ranks))
        for rank in range(ranks)
    ]
    orders = []
    for number in range(3):
        seen = []
        for loader in loaders:
            assert loader.epoch == number
            assert len(loader) == 34 // ranks // 4
            for images, labels in loader:
                names = identities(images)
                assert [label for label, _ in names] == labels.tolist()
                seen += names
        assert len(seen) == len(set(seen)) == ranks * len(loaders[0]) * 4
        assert set(seen) <= set(EVERYTHING)
        orders.append(seen)
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_order_is_a_function_of_the_seed(folder):
    def order(seed):
        with TrainingLoader(folder, **SMALL, seed=seed) as loader:
            return [name for images, _ in loader for name in identities(images)]

    assert order(1) == order(1) != order(2)


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_size", [4, 50])
def test_evaluation_counts_each_sample_once(source, ranks, batch_size):
    loaders = [
        EvaluationLoader(
            source,
            **options(source, batch_size=batch_size, resize=28, shard_id=rank, num_shards=ranks),
        )
        for rank in range(ranks)
    ]
    for _ in range(2):
        seen = []
        for loader in loaders:
            batches = list(loader)
            assert len(batches) == len(loader)
            for images, labels in batches:
                assert images.shape[1:] == (3, 24, 24)
                named = zip(identities(images), labels.tolist(), strict=True)
                seen += [(*name, label) for name, label in named]
        assert sorted(seen) == [(label, number, label) for label, number in EVERYTHING]


def test_shards_equal_the_folder(folder, shards):
    ours = EvaluationLoader(folder, resize=28, **SMALL)
    theirs = EvaluationLoader(shards, resize=28, **options(shards))
    assert_same_batches(epoch(ours), epoch(theirs))


@pytest.mark.parametrize("prefetch", [1, 2, 5])
@pytest.mark.parametrize("policy", [None, POLICY], ids=["plain", "mixed"])
def test_a_restored_loader_goes_on_in_mid_epoch(source, prefetch, policy):
    def make():
        arguments = dict(policy=policy, prefetch=prefetch, shard_id=1, num_shards=2, seed=5)
        return TrainingLoader(source, **options(source, **arguments))

    with make() as loader:
        states, batches = [loader.state_dict()], []
        for batch in itertools.islice(forever(loader), 14):  # four batches are an epoch
            batches.append(tuple(part.clone() for part in batch))
            states.append(loader.state_dict())
    for consumed in (0, 1, 3, 4, 6):
        with make() as loader:
            loader.load_state_dict(states[consumed])
            assert (loader.epoch, loader.position) == (states[consumed]["epoch"], consumed % 4) or (
                consumed == 4 and loader.position == 4  # the end of an epoch is a place of its own
            )
            following = itertools.islice(forever(loader), 14 - consumed)
            assert_same_batches(epoch(following), batches[consumed:])


def test_a_loop_that_was_left_goes_on(folder):
    with TrainingLoader(folder, **SMALL) as loader:
        whole = [labels for _, labels in epoch(loader)]
    with TrainingLoader(folder, **SMALL) as loader:
        parts = [labels for _, labels in itertools.islice(loader, 3)]
        parts += [labels for _, labels in loader]
    assert [part.tolist() for part in parts] == [labels.tolist() for labels in whole]


def test_a_state_of_another_loader_is_refused(folder):
    with TrainingLoader(folder, **SMALL) as loader:
        state = loader.state_dict()
    for change in ({"batch_size": 5}, {"seed": 1}, {"num_shards": 2}, {"policy": msda.Mixup()}):
        loader = TrainingLoader(folder, **SMALL | change)
        with pytest.raises(ValueError, match=f"loader state: expected {next(iter(change))}"):
            loader.load_state_dict(state)


def test_a_state_of_other_operators_is_refused(folder):
    """As one that another version wrote, of DALI or of this package."""
    with (
        TrainingLoader(folder, **SMALL) as loader,
        TrainingLoader(folder, copies=2, **SMALL) as other,
    ):
        state, theirs = loader.state_dict(), other.state_dict()["pipeline"]
        for pipeline in (theirs, theirs[:40], b""):
            with pytest.raises(ValueError, match="loader state: expected .* Give --restart-epoch"):
                loader.load_state_dict(state | {"pipeline": pipeline})
        loader.start_epoch(1)
        assert len(list(loader)) == len(loader)


def test_a_state_goes_with_the_files_not_with_their_place(folder, tmp_path):
    with TrainingLoader(folder, **SMALL) as loader:
        state = loader.state_dict()
    write_folder(tmp_path / "copy", COUNTS)
    TrainingLoader(datasets.find(str(tmp_path / "copy")), **SMALL).load_state_dict(state)
    (tmp_path / "copy" / "class0" / "03.jpg").rename(tmp_path / "copy" / "class1" / "99.jpg")
    loader = TrainingLoader(datasets.find(str(tmp_path / "copy")), **SMALL)
    with pytest.raises(ValueError, match="loader state: expected fingerprint"):
        loader.load_state_dict(state)


def test_batches_do_not_depend_on_threads_or_prefetch(folder):
    def batches(**more):
        with TrainingLoader(folder, policy=POLICY, **SMALL, **more) as loader:
            return epoch(loader)

    for more in ({"threads": 1}, {"threads": 5}, {"prefetch": 1}, {"prefetch": 4}):
        assert_same_batches(batches(**more), batches())


def test_tensors_stay_as_they_are(folder):
    with TrainingLoader(folder, policy=POLICY, **SMALL) as loader:
        kept, copies = [], []
        for batch in itertools.islice(forever(loader), 30):
            kept.append(batch)
            copies.append(tuple(part.clone() for part in batch))
    assert_same_batches(kept, copies)


@pytest.mark.parametrize("policy", [None, POLICY], ids=["plain", "mixed"])
@pytest.mark.parametrize("evaluation", [False, True], ids=["training", "evaluation"])
def test_memory_orders_and_types_hold_the_same_pictures(folder, policy, evaluation):
    def first(**more):
        if evaluation:
            loader = EvaluationLoader(folder, resize=28, **SMALL | more)
        else:
            loader = TrainingLoader(folder, policy=policy, **SMALL | more)
        with loader:
            return next(iter(loader))[0]

    plain, last = first(), first(channels_last=True)
    assert plain.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain, last)
    half = first(dtype="float16")
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), plain, rtol=2**-10, atol=0)
    scaled = first(mean=(50, 60, 70), std=(2, 3, 4))
    mean, std = torch.tensor([[50.0, 60, 70], [2, 3, 4]])[:, None, :, None, None]
    torch.testing.assert_close(scaled, (plain - mean) / std, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rank", [0, 1])
def test_batches_are_mixed_as_the_plan_says(folder, rank):
    """Pictures have one colour, so a mixed one has the weighted mean of its sources' colours."""
    arguments = SMALL | dict(seed=3, shard_id=rank, num_shards=2)
    with TrainingLoader(folder, **arguments) as loader:
        plain = epoch(loader)
    with TrainingLoader(folder, policy=POLICY, **arguments) as loader:
        mixed = epoch(loader)
    with TrainingLoader(folder, policy=POLICY, compact=False, **arguments) as loader:
        rows = epoch(loader)
    for step, ((own, hard), (images, labels, weights), (same, row)) in enumerate(
        zip(plain, mixed, rows, strict=True)
    ):
        plan = msda.draw(POLICY, 4, 24, 24, seed=3, step=step, rank=rank)
        want_labels, want_weights = msda.targets(hard.numpy(), plan, compact=True)
        sources = want_labels.shape[1]
        assert np.array_equal(labels[:, :sources], want_labels)
        assert np.array_equal(weights[:, :sources], want_weights)
        assert np.array_equal(row, msda.targets(hard.numpy(), plan, num_classes=3))
        assert torch.equal(images, same)
        colours = own.mean((2, 3)).numpy()
        shares = np.stack([plan["weight"], plan["partner_weight"], *plan["extra_weight"].T], 1)
        members = np.stack([plan["own"], plan["partner"], *plan["extra"].T], 1).clip(0)
        expected = (colours[members] * shares[:, :, None]).sum(1)
        np.testing.assert_allclose(images.mean((2, 3)), expected, atol=1.5)


def test_ranks_draw_different_plans(folder):
    def weights(rank):
        arguments = SMALL | dict(seed=3, shard_id=rank, num_shards=2)
        with TrainingLoader(folder, policy=msda.Mixup(), **arguments) as loader:
            return torch.cat([batch[2] for batch in loader])

    assert not np.isin(weights(0), weights(1)).any()


def test_a_file_list_is_all_that_is_read(root, tmp_path):
    names = [(0, 3), (0, 5), (1, 2), (2, 0), (2, 10)]
    lines = [f"class{label}/{number:02d}.jpg {label}\n" for label, number in names]
    (tmp_path / "good.txt").write_text("".join(lines))
    source = datasets.find(str(root), file_list=str(tmp_path / "good.txt"))
    with EvaluationLoader(source, resize=28, **SMALL) as loader:
        assert [name for images, _ in loader for name in identities(images)] == names


def picture(mode="RGB", kind="JPEG", size=(WIDTH, HEIGHT)):
    stream = io.BytesIO()
    Image.new("RGB", size, (90, 90, 90)).convert(mode).save(stream, kind)
    return stream.getvalue()


ODD = {
    "cmyk.JPEG": picture("CMYK"),
    "grey.jpg": picture("L"),
    "png by another name.JPEG": picture(kind="PNG"),
    "alpha.png": picture("RGBA", "PNG"),
    "one.jpg": picture(size=(1, 1)),
    "wide.jpg": picture(size=(900, 1)),
}


def test_odd_images_are_read_and_other_files_passed_over(tmp_path):
    (tmp_path / "class").mkdir()
    for name, content in (ODD | {"notes.txt": b"no image", ".hidden": b""}).items():
        (tmp_path / "class" / name).write_bytes(content)
    (tmp_path / "read me").write_text("no class")
    source = datasets.find(str(tmp_path))
    assert len(source.files) == len(ODD)
    with EvaluationLoader(source, resize=28, **SMALL) as loader:
        for images, _ in loader:
            np.testing.assert_allclose(images, 90, atol=3)
    with TrainingLoader(source, policy=msda.CutMix(), **SMALL | {"batch_size": 6}) as loader:
        for images, *_ in loader:
            np.testing.assert_allclose(images, 90, atol=3)


BROKEN = {
    "truncated": encoded(0, 0)[:200],
    "text": b"this is no image" * 20,
    "empty": b"",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("prefetch, ranks", [(1, 1), (5, 2)])
@pytest.mark.parametrize("kind", [TrainingLoader, EvaluationLoader])
def test_a_broken_file_is_named(tmp_path, content, prefetch, ranks, kind):
    write_folder(tmp_path, COUNTS)
    broken = tmp_path / "class1" / "07.jpg"
    broken.write_bytes(content)
    source, messages = datasets.find(str(tmp_path)), []
    more = {"policy": POLICY} if kind is TrainingLoader else {"resize": 28}
    for rank in range(ranks):
        arguments = dict(prefetch=prefetch, shard_id=rank, num_shards=ranks)
        with kind(source, **SMALL | arguments | more) as loader:
            try:
                for _ in itertools.islice(forever(loader), 2 * len(loader)):
                    pass
            except DatasetError as error:
                messages.append(str(error))
    assert messages
    for message in messages:
        assert message.startswith(f"{broken}: expected an image, got a file that ")
        assert f"check {tmp_path} --output good.txt" in message


def test_a_broken_image_in_a_shard_is_named(tmp_path):
    samples = [(encoded(0, number), b"0") for number in range(8)]
    samples[5] = (BROKEN["text"], b"0")
    write_shard(tmp_path / "a.tar", samples)
    source = datasets.find(str(tmp_path))
    loader = EvaluationLoader(source, num_classes=1, resize=28, **SMALL)
    with pytest.raises(DatasetError, match=r"a\.tar:\d+:a-0005\.jpg: expected an image"):
        epoch(loader)


def test_a_broken_shard_is_named(tmp_path):
    for name in "abc":
        write_shard(tmp_path / f"{name}.tar", [(encoded(0, number), b"0") for number in range(4)])
    whole = (tmp_path / "b.tar").read_bytes()
    write_shard(tmp_path / "b.tar", [(encoded(0, number), b"0") for number in range(4)], "txt")
    renamed = (tmp_path / "b.tar").read_bytes()
    unread = r"b\.tar: expected a whole \.tar archive .* cannot be read"
    for content, message in (
        (b"", unread),
        (b"no archive" * 100, unread),
        (whole[:900], r"b\.tar: expected a whole (\.tar )?archive"),
        (renamed, r"b\.tar: expected an archive with .* DALI cannot"),
    ):
        (tmp_path / "b.tar").write_bytes(content)
        source = datasets.find(str(tmp_path))
        with pytest.raises(DatasetError, match=message):
            TrainingLoader(source, num_classes=1, **SMALL)


LABELS = [
    (b"0", 0),
    (b"7\n", 7),
    (b"999\r\n", 999),
    (b"1281166 \t", 1281166),
    (b"1" * 9, 111111111),
]
NO_LABELS = [b"", b"cat", b"-3", b" 12", b"1 2", b"1.5", b"\n", b"12x", b'{"a": 1}']


def test_labels_are_parsed_from_text():
    texts = LABELS + [(text, -1) for text in NO_LABELS]

    @pipeline_def(batch_size=len(texts), num_threads=1, device_id=None)
    def parse():
        arrays = [np.frombuffer(text, np.uint8) for text, _ in texts]
        return dali_readers.number(fn.external_source(lambda: arrays, batch=True))

    (parsed,) = parse().run()
    assert parsed.as_array().tolist() == [[label] for _, label in texts]


@pytest.mark.parametrize("text, got", [(b"cat", "-1"), (b"3", "3")])
@pytest.mark.parametrize("more", [{}, {"policy": POLICY}, {"policy": POLICY, "compact": False}])
def test_wrong_labels_in_shards(tmp_path, text, got, more):
    write_shard(tmp_path / "a.tar", [(encoded(0, n), text if n == 2 else b"1") for n in range(4)])
    source = datasets.find(str(tmp_path))
    loader = TrainingLoader(source, **options(source, **more))
    message = rf"a\.tar:\d+:a-0002\.jpg: expected a label in \[0, 3\), got {got}\b"
    with pytest.raises(DatasetError, match=message):
        epoch(loader)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(folder):
    with pytest.raises(ValueError, match="device_id: expected None, since there is no GPU, got 0"):
        TrainingLoader(folder, policy=POLICY, device_id=0, **SMALL)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"batch_size": 35}, "batch_size: expected at most 34 per process, .* got 35"),
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({"num_shards": 35}, "num_shards: expected at most the number of images, got 35"),
        ({"num_shards": 2, "shard_id": 2}, r"shard_id: expected a number in \[0, 2\), got 2"),
        ({"num_classes": 5}, "num_classes: expected 3, the classes of .*, got 5"),
        ({"dtype": "int8"}, "dtype: expected one of float32, float16, got 'int8'"),
        ({"min_area": 0.0}, r"min_area: expected a share in \(0, 1\], got 0"),
    ],
)
def test_argument_errors(folder, change, message):
    with pytest.raises(ValueError, match=message):
        TrainingLoader(folder, **SMALL | change)


def test_shards_need_a_number_of_classes_and_all_or_no_indexes(shards, tmp_path):
    with pytest.raises(ValueError, match=r"num_classes: expected a number with \.tar shards"):
        EvaluationLoader(shards, resize=28, **SMALL)
    for name in ("a", "b"):
        write_shard(tmp_path / f"{name}.tar", [(encoded(0, 0), b"0")])
    (tmp_path / "a.idx").touch()
    with pytest.raises(ValueError, match=r"index for each of the 2 shards .* none for .*b\.idx"):
        datasets.find(str(tmp_path))


def test_a_closed_loader_says_so(folder):
    loader = TrainingLoader(folder, **SMALL)
    loader.close()
    with pytest.raises(RuntimeError, match="loader: expected an open one"):
        next(iter(loader))
