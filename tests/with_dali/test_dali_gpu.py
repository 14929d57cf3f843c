"""DALI's operators on a GPU, in pipelines: the CPU's bits.

The tests marked ``gpu`` need a CUDA device and DALI, with what its plugin is compiled from; beside
each stands a rehearsal on the CPU, which shows that the test itself works.
"""

import numpy as np
import pytest

pytest.importorskip("nvidia.dali", reason="DALI is not installed")

from nvidia.dali import Pipeline, fn, types

import dali_msda as msda
from tests.support.batches import every_kind_of_record, random_images
from tests.support.variants import CASES, make, name_of

try:
    from dali_msda import dali
except RuntimeError as reason:  # no headers of CUDA, no compiler
    pytest.skip(f"DALI's operators: {reason}", allow_module_level=True)

BOTH = [pytest.param("gpu", marks=pytest.mark.gpu), "cpu"]
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
BATCH, HEIGHT, WIDTH = 13, 26, 31
POLICY = msda.Alternate(
    [msda.Choice([msda.CutMix(), msda.FMix(), msda.GMix()]), msda.Mixup(n=3)], (2, 1)
)


def build(define, device, *, batch=BATCH, seed=11, **options):
    pipeline = Pipeline(
        batch_size=batch, num_threads=2, device_id=0 if device == "gpu" else None, seed=seed,
        **options,
    )  # fmt: skip
    with pipeline:
        pipeline.set_outputs(*define())
    pipeline.build()
    return pipeline


def batches(pipeline, count=1):
    """Outputs of some iterations, read only when all are done, as a busy GPU's would be."""
    outputs = [pipeline.run() for _ in range(count)]
    return [[np.array(list_.as_cpu().as_array()) for list_ in lists] for lists in outputs]


def assert_same(ours, theirs):
    for mine, yours in zip(ours, theirs, strict=True):
        for a, b in zip(mine, yours, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def source(array, device="cpu", **options):
    """A batch that stays the same, where it is wanted."""
    node = fn.external_source(lambda: list(array), batch=True, **options)
    return node.gpu() if device == "gpu" else node


def mixed(device, policy, *, images=None, scattered=False, **options):
    """Images, targets and plans, of images that are on the device and labels that are not."""
    images = random_images((BATCH, HEIGHT, WIDTH, 3), "uint8") if images is None else images
    nodes = source(images, device, layout="HWC")
    if scattered:  # samples of two batches in turn: nowhere contiguous
        nodes = fn.permute_batch(nodes, indices=list(range(BATCH))[::-1])
    labels = source(np.arange(BATCH) % 7)
    options = {"num_classes": 7, "mirror": fn.random.coin_flip()} | options
    return (*dali.mix(nodes, labels, policy, seed=3, **options),)


@pytest.mark.parametrize("device", BOTH)
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_every_method(case, device):
    for options in (
        {"mean": MEAN, "std": STD, "dtype": "float16", "layout": "CHW"},
        {"dtype": "uint8", "layout": "HWC", "compact": True},
        {"std": 50.0, "dtype": "float32", "layout": "HWC", "smoothing": 0.1},
    ):
        want = batches(build(lambda o=options: mixed("cpu", make(case), **o), "cpu"), 3)
        got = batches(build(lambda o=options: mixed(device, make(case), **o), device), 3)
        assert_same(got, want)


@pytest.mark.parametrize("device", BOTH)
def test_policies_of_several_methods_and_interpolations(device):
    for policy in (POLICY, msda.MultiMix(msda.FMix(), 5), msda.LaMix()):
        for scattered in (False, True):
            options = {"scattered": scattered, "mean": MEAN, "std": STD}
            want = batches(build(lambda p=policy, o=options: mixed("cpu", p, **o), "cpu"), 6)
            got = batches(build(lambda p=policy, o=options: mixed(device, p, **o), device), 6)
            assert_same(got, want)


@pytest.mark.parametrize("device", BOTH)
@pytest.mark.parametrize("size", [(224, 224), (225, 223), (97, 101), (1, 1), (3, 512)])
def test_records_of_all_kinds(size, device):
    images, plan = random_images((40, *size, 3), "uint8"), every_kind_of_record(40, *size)
    records = plan.view(np.uint8).reshape(40, -1)
    want = msda.blend(images, plan, dtype="float16", layout="CHW")
    pipeline = build(
        lambda: (
            dali.blend(source(images, device, layout="HWC"), source(records), dtype="float16"),
        ),
        device,
        batch=40,
    )
    assert_same(batches(pipeline, 2), [[want]] * 2)


@pytest.mark.parametrize("device", BOTH)
def test_volumes(device):
    volumes = random_images((6, 5, 7, 12, 2), "uint8")
    plan = msda.draw(msda.FMix(), 6, shape=(5, 7, 12), seed=0, step=0)
    want = msda.blend(volumes, plan, dtype="float32", layout="CHW")
    records = plan.view(np.uint8).reshape(6, -1)
    pipeline = build(
        lambda: (dali.blend(source(volumes, device, layout="DHWC"), source(records)),),
        device,
        batch=6,
    )
    assert_same(batches(pipeline), [[want]])


@pytest.mark.parametrize("device", BOTH)
def test_the_images_and_the_labels_of_a_batch_may_differ_from_run_to_run(device):
    """More batches under way than are kept: nothing of one is overwritten by the next."""

    def define(where):
        made = [random_images((BATCH, 64, 64, 3), "uint8", seed) for seed in range(5)]
        turn = iter(range(10**6))
        images = fn.external_source(lambda: list(made[next(turn) % 5]), batch=True, layout="HWC")
        nodes = images.gpu() if where == "gpu" else images
        return dali.mix(nodes, source(np.arange(BATCH)), msda.FMix(), num_classes=BATCH, seed=1)

    want = batches(build(lambda: define("cpu"), "cpu", prefetch_queue_depth=3), 20)
    got = batches(build(lambda: define(device), device, prefetch_queue_depth=3), 20)
    assert_same(got, want)


@pytest.mark.parametrize("device", BOTH)
@pytest.mark.parametrize("maps", [False, True])
def test_saliency(maps, device):
    """Samples of several sizes; mirrored ones have mirrored peaks."""
    sizes = [(40, 33, 3), (40, 33, 3), (224, 224, 3), (9, 7, 3)]
    images = [random_images((1, *size), "uint8", i)[0] for i, size in enumerate(sizes)]
    flags = np.array([1, 0, 1, 1], np.int32)

    def define(where):
        found = fn.msda.saliency(
            source(images, where, layout="HWC"), mirror=source(flags), maps=maps
        )
        return tuple(found) if maps else (found,)

    def run(where):
        outputs = build(lambda: define(where), where, batch=4).run()
        return [[np.array(sample) for sample in list_.as_cpu()] for list_ in outputs]

    assert_same(run(device), run("cpu"))


@pytest.mark.parametrize("device", BOTH)
def test_a_restored_pipeline_goes_on(device):
    options = {"enable_checkpointing": True, "prefetch_queue_depth": 2}

    def define(where):
        encoded = fn.random.uniform(range=[0, 255], shape=[9, 10, 3])
        images = fn.reinterpret(encoded, layout="HWC")
        labels = fn.cast(fn.random.uniform(range=[0, 6]), dtype=types.INT64)
        nodes = images.gpu() if where == "gpu" else images
        return dali.mix(nodes, labels, POLICY, num_classes=7)

    running = build(lambda: define(device), device, **options)
    batches(running, 4)
    checkpoint = running.checkpoint()
    want = batches(running, 5)
    restored = build(lambda: define(device), device, checkpoint=checkpoint, **options)
    assert_same(batches(restored, 5), want)
    fresh = build(lambda: define("cpu"), "cpu", **options)
    assert_same(batches(fresh, 9)[4:], want)


@pytest.mark.parametrize("device", BOTH)
def test_a_written_pipeline_is_read_back(device):
    def define(where):
        images, records = random_images((4, 9, 10, 3), "uint8"), every_kind_of_record(4, 9, 10)
        plans = fn.external_source(name="plans")
        nodes = fn.external_source(name="images", layout="HWC")
        nodes = nodes.gpu() if where == "gpu" else nodes
        return (dali.blend(nodes, plans),), images, records

    pipeline = Pipeline(batch_size=4, num_threads=1, device_id=0 if device == "gpu" else None)
    with pipeline:
        outputs, images, plan = define(device)
        pipeline.set_outputs(*outputs)
    again = Pipeline.deserialize(pipeline.serialize())
    again.feed_input("images", list(images))
    again.feed_input("plans", list(plan.view(np.uint8).reshape(4, -1)))
    assert_same(batches(again), [[msda.blend(images, plan, dtype="float32", layout="CHW")]])


@pytest.mark.parametrize("device", BOTH)
@pytest.mark.parametrize("dtype, channels_last", [("float16", True), ("float32", False)])
def test_an_epoch_of_the_image_loader(tmp_path, dtype, channels_last, device):
    """JPEGs of one colour each, decoded by nvJPEG: labels and pixels tell of the same samples."""
    pytest.importorskip("PIL", reason="Pillow is not installed")
    pytest.importorskip("torch", reason="torch is not installed")
    from dali_msda.pipelines.data import datasets
    from dali_msda.pipelines.loaders.dali import EvaluationLoader, TrainingLoader
    from tests.support.coloured_folders import write_folder

    write_folder(tmp_path, [8, 8, 8])
    options = {"batch_size": 6, "device_id": 0 if device == "gpu" else None, "dtype": dtype}
    options |= {"size": 32, "channels_last": channels_last, "mean": (0, 0, 0), "std": (1, 1, 1)}
    found = datasets.find(str(tmp_path))
    seen = 0
    with TrainingLoader(found, policy=msda.CutMix(), **options) as loader:
        for _ in range(2):
            for images, labels, weights in loader:
                assert images.shape == (6, 3, 32, 32) and images.device.type == labels.device.type
                assert (images.device.type == "cuda") == (device == "gpu")
                red = images.float()[:, 0].cpu().numpy()
                expected = 20 + 40 * (labels * weights).sum(1).cpu().numpy()
                np.testing.assert_allclose(red.mean((1, 2)), expected, atol=4)
                seen += len(labels)
    assert seen == 2 * 24
    with EvaluationLoader(found, resize=32, **options) as loader:
        labels = np.concatenate([labels.cpu().numpy() for _, labels in loader])
    np.testing.assert_array_equal(np.sort(labels), np.repeat([0, 1, 2], 8))


@pytest.mark.gpu
def test_dynamic_mode():
    import nvidia.dali.experimental.dynamic as ndd

    images, labels = random_images((5, 9, 10, 3), "uint8"), np.arange(5)

    def run(device):
        batch = ndd.as_batch(list(images), layout="HWC")
        batch = batch.gpu() if device == "gpu" else batch
        targets = ndd.as_batch(list(labels))
        rng = ndd.random.RNG(3)
        outputs = dali.mix(batch, targets, msda.FMix(), num_classes=5, rng=rng)
        return [np.array(ndd.as_tensor(output).cpu()) for output in outputs]

    assert_same([run("gpu")], [run("cpu")])
