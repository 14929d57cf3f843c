"""Mixing real JPEGs in a pipeline: every door gives the same bits, whatever runs the pipeline."""

import tarfile

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from nvidia.dali import Pipeline, fn

import dali_msda as msda
from dali_msda import dali
from tests.with_dali.dali_pipelines import (
    CLASSES,
    FILES,
    HEIGHT,
    WIDTH,
    assert_same,
    build,
    read,
    records,
    run,
    source,
    write_photographs,
)

MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
POLICIES = {
    "mixup": msda.Mixup(alpha=0.2),
    "four sources": msda.Mixup(n=4, partner="derangement"),
    "cutmix": msda.CutMix(),
    "pairs": msda.CutMix(box="wrap", scope="pair", partner="flip", prob=0.7),
    "batch": msda.CutMix(minmax=(0.2, 0.7), scope="batch", partner="roll"),
    "choice": msda.Choice([msda.CutMix(box="inside"), msda.Mixup(alpha=0.1)], weights=(1, 2)),
    "alternate": msda.Alternate([msda.CutMix(), msda.Mixup(n=3)], counts=(1, 2)),
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("photographs"))


def mixed_and_raw(root, policy, *, reader=None, **options):
    """A pipeline's definition: what mix() gives, and what it was given."""
    options = {"num_classes": CLASSES, "mean": MEAN, "std": STD, **options}

    def define():
        images, labels = read(root, random_shuffle=True, seed=3, **(reader or {}))
        mirror = fn.random.coin_flip(seed=4)
        outputs = dali.mix(images, labels, policy, mirror=mirror, seed=5, **options)
        return *outputs, images, labels, mirror

    return define


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_the_pipeline_equals_the_array_functions(photographs, policy):
    define = mixed_and_raw(photographs, policy, shard_id=1)
    for step, batch in enumerate(run(define, 8, iterations=4)):
        mixed, targets, images, labels, mirror = batch
        want = msda.mix(
            images, labels[:, 0], policy, num_classes=CLASSES, seed=5, step=step, rank=1,
            mean=MEAN, std=STD, mirror=mirror, layout="CHW",
        )  # fmt: skip
        assert_same([want], [(mixed, targets)])


@pytest.mark.parametrize("layout", ["CHW", "HWC"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_types_and_layouts(photographs, dtype, layout):
    normal = {"mean": None, "std": None} if dtype == "uint8" else {"mean": MEAN, "std": STD}
    options = dict(dtype=dtype, layout=layout, **normal)
    policy = POLICIES["choice"]
    mixed, targets, images, labels, mirror = run(mixed_and_raw(photographs, policy, **options), 8)
    plan = msda.draw(policy, 8, HEIGHT, WIDTH, seed=5, step=0)
    assert_same([(msda.blend(images, plan, mirror=mirror, **options),)], [(mixed,)])
    assert_same([(msda.targets(labels[:, 0], plan, num_classes=CLASSES),)], [(targets,)])


def test_compact_targets_are_as_wide_as_the_policy(photographs):
    for policy, columns in ((POLICIES["choice"], 2), (POLICIES["alternate"], 3)):
        define = mixed_and_raw(photographs, policy, compact=True, num_classes=None)
        for step, (_, classes, weights, _, labels, _) in enumerate(run(define, 8, iterations=2)):
            assert classes.shape == weights.shape == (8, columns)
            plan = msda.draw(policy, 8, HEIGHT, WIDTH, seed=5, step=step)
            want = msda.targets(labels[:, 0], plan, compact=True)
            used = want[0].shape[1]
            np.testing.assert_array_equal(classes[:, :used], want[0])
            np.testing.assert_array_equal(weights[:, :used], want[1])
            np.testing.assert_array_equal(weights[:, used:], 0)


def test_soft_labels_and_smoothing(photographs):
    def define():
        images, labels = read(photographs)
        soft = fn.one_hot(labels, num_classes=CLASSES)
        options = dict(seed=5, smoothing=0.1)
        _, from_rows = dali.mix(images, soft, msda.CutMix(), **options)
        _, from_indices = dali.mix(images, labels, msda.CutMix(), num_classes=CLASSES, **options)
        return from_rows, from_indices

    from_rows, from_indices = run(define, 8)
    np.testing.assert_allclose(from_rows, from_indices, atol=1e-7)
    assert np.allclose(from_rows.sum(1), 1)


@pytest.mark.parametrize("exec_dynamic", [True, False])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_bits_do_not_depend_on_what_runs_the_pipeline(photographs, threads, exec_dynamic):
    define = mixed_and_raw(photographs, POLICIES["choice"])
    want = run(define, 8, iterations=4)
    pipeline = dict(threads=threads, exec_dynamic=exec_dynamic, prefetch_queue_depth=3)
    assert_same(run(define, 8, iterations=4, **pipeline), want)


def test_large_images_are_cut_into_chunks(photographs):
    """Rows of one image go to several threads, and small batches to one."""
    plan = msda.draw(msda.Mixup(), 3, 203, 317, seed=5, step=0)

    def define():
        images, labels = read(photographs, size=(203, 317))
        return *dali.mix(images, labels, msda.Mixup(), num_classes=CLASSES, seed=5), images

    for threads in (1, 3, 7):
        mixed, _, images = run(define, 3, threads=threads)
        want = msda.blend(images, plan, dtype="float32", layout="CHW")
        np.testing.assert_array_equal(mixed, want)


def test_the_pipeline_comes_back_from_its_serialised_form(photographs):
    define = mixed_and_raw(photographs, POLICIES["alternate"], shard_id=2)
    saved = build(define, 8).serialize()
    restored = Pipeline.deserialize(saved)
    again = [tuple(np.array(output.as_array()) for output in restored.run()) for _ in range(4)]
    assert_same(again, run(define, 8, iterations=4))


@pytest.mark.parametrize("exec_dynamic", [True, False])
def test_source_info_survives(photographs, exec_dynamic):
    def define():
        images, labels = read(photographs)
        plans = dali.plan(images, msda.CutMix())
        kinds = plans, dali.blend(images, plans), fn.msda.targets(labels, plans, num_classes=3)
        return tuple(fn.get_property(node, key="source_info") for node in (images, *kinds))

    want, *others = [
        [bytes(row).decode() for row in output]
        for output in build(define, 8, exec_dynamic=exec_dynamic).run()
    ]
    assert want[0].endswith("0.jpg") and len(set(want)) == 8
    assert others == [want] * 3


# --------------------------------------------------------------------------------------- padding


def padded(root, batch, **options):
    """Plans of an epoch whose last batch is filled up with copies of its last sample."""

    def define():
        images, labels = read(root, pad_last_batch=True)
        return dali.plan(images, msda.Mixup(partner="roll"), seed=5, **options), images, labels

    return run(define, batch, iterations=-(-FILES // batch) + 1)


def test_copies_that_fill_up_a_batch_are_left_alone(photographs, capfd):
    """21 files in batches of 6: the last batch holds 3 of them and 3 copies of the last."""
    *whole, last, next_epoch = [records(plans) for plans, *_ in padded(photographs, 6)]
    assert all((plan["sources"] == 2).all() for plan in (*whole, next_epoch))
    np.testing.assert_array_equal(last["sources"], [2, 2, 2, 1, 1, 1])
    np.testing.assert_array_equal(last["partner"][:3], [2, 0, 1])
    np.testing.assert_array_equal(last["own"], range(6))
    assert (last["weight"][3:] == 1).all()
    want = msda.draw(msda.Mixup(partner="roll"), 6, HEIGHT, WIDTH, seed=5, step=3, distinct=3)
    np.testing.assert_array_equal(last, want)
    said = capfd.readouterr().err
    assert said.count('padding="ignore"') == 1
    assert "the last 4 of 6 samples have one source" in said and "6.jpg" in said


def test_that_is_said_once(photographs, capfd):
    def define():
        return dali.plan(read(photographs, pad_last_batch=True)[0], msda.CutMix())

    run(define, 6, iterations=12)
    assert capfd.readouterr().err.count("The copies are left unmixed") == 1


def test_padding_may_be_ignored(photographs, capfd):
    *_, last, _ = [records(plans) for plans, *_ in padded(photographs, 6, padding="ignore")]
    np.testing.assert_array_equal(last["partner"], [5, 0, 1, 2, 3, 4])
    assert "copies" not in capfd.readouterr().err


def test_a_last_batch_of_one_sample_is_not_mixed(photographs):
    """21 = 4 * 5 + 1: one sample and four copies of it, each its own partner."""
    *_, last, _ = padded(photographs, 5)
    plan = records(last[0])
    np.testing.assert_array_equal(plan["own"], range(5))
    np.testing.assert_array_equal(plan["partner"], range(5))


def test_shards_name_each_sample_apart(photographs, tmp_path):
    """Samples of one tar file are no copies of each other; those that fill up a batch are."""
    shard = tmp_path / "shard.tar"
    with tarfile.open(shard, "w") as tar:
        for number, path in enumerate(sorted(photographs.rglob("*.jpg"))[:5]):
            tar.add(path, f"{number}.jpg")

    def define():
        jpegs = fn.readers.webdataset(paths=[str(shard)], ext=["jpg"], pad_last_batch=True)
        images = fn.resize(fn.decoders.image(jpegs), size=(HEIGHT, WIDTH))
        return dali.plan(images, msda.Mixup(partner="derangement"))

    whole, last = (records(plans) for (plans,) in run(define, 3, iterations=2))
    np.testing.assert_array_equal(whole["sources"], [2, 2, 2])
    np.testing.assert_array_equal(last["sources"], [2, 2, 1])


def test_samples_without_source_info_are_no_padding():
    images = np.zeros((4, 3, 3, 3), np.uint8)
    (plans,) = run(lambda: dali.plan(source(images, layout="HWC"), msda.Mixup(partner="roll")))
    np.testing.assert_array_equal(records(plans)["sources"], 2)


# ------------------------------------------------------------------------------------ properties


@st.composite
def settings(draw):
    """Batch, size, channels and types of a mix, with a policy."""
    policy = draw(st.sampled_from(list(POLICIES.values())))
    batch, height, width = (
        draw(st.integers(1, 9)),
        draw(st.integers(1, 40)),
        draw(st.integers(1, 40)),
    )
    channels = draw(st.sampled_from([1, 2, 3, 4]))
    dtype = draw(st.sampled_from(["uint8", "float32", "float16"]))
    layout = draw(st.sampled_from(["HWC", "CHW"]))
    return policy, (batch, height, width, channels), dtype, layout, draw(st.integers(0, 2**31 - 1))


@hypothesis.settings(max_examples=40)
@hypothesis.given(settings())
def test_any_batch_equals_the_array_functions(case):
    policy, shape, dtype, layout, seed = case
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    labels, mirror = rng.integers(0, 5, shape[0]), rng.integers(0, 2, shape[0])
    options = dict(dtype=dtype, layout=layout)
    if dtype != "uint8":
        options |= dict(mean=rng.random() * 255, std=rng.random(shape[3]) + 0.1)

    def define():
        pixels, flags = source(images, layout="HWC"), source(mirror)
        key = dict(num_classes=5, seed=seed)
        return dali.mix(pixels, source(labels), policy, mirror=flags, **key, **options)

    want = msda.mix(
        images, labels, policy, num_classes=5, seed=seed, step=0, mirror=mirror, **options
    )
    assert_same([run(define, shape[0])], [want])
