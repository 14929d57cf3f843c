"""Dynamic mode: the same operators as plain functions, with a generator instead of a seed."""

import numpy as np
import nvidia.dali.experimental.dynamic as ndd
import pytest
from nvidia.dali import fn, types

import dali_msda as msda
from dali_msda import dali
from tests.with_dali.dali_pipelines import (
    CLASSES,
    recorded,
    records,
    run,
    source,
    write_photographs,
)

B, H, W = 6, 9, 11
IMAGES = np.random.default_rng(0).integers(0, 256, (B, H, W, 3), dtype=np.uint8)
LABELS = np.arange(B)


def batch(array=IMAGES, layout=None):
    return ndd.as_batch(list(array), layout=layout or ("HWC" if array.ndim == 4 else None))


def array(result):
    return np.array(ndd.as_tensor(result).cpu())


def lams(rng, **options):
    return records(array(dali.plan(batch(), msda.Mixup(), rng=rng, **options)))["lam"]


def test_one_generator_never_repeats_and_one_seed_does():
    one, two = ndd.random.RNG(3), ndd.random.RNG(3)
    first, second = lams(one), lams(one)
    assert len(np.unique([first, second])) == 2 * B
    np.testing.assert_array_equal([lams(two), lams(two)], [first, second])
    assert not np.isin(lams(ndd.random.RNG(4)), first).any()


def test_the_default_generator():
    ndd.random.set_seed(5)
    first = lams(None), lams(None)
    ndd.random.set_seed(5)
    np.testing.assert_array_equal([lams(None), lams(None)], first)
    assert len(np.unique(first)) == 2 * B


def test_the_state_of_the_generator_is_all_there_is():
    """Dynamic mode's checkpoints hold readers and generators: the operator needs no more."""
    rng = ndd.random.RNG(3)
    lams(rng)
    state = rng.get_state()
    want = lams(rng)
    restored = ndd.random.RNG(4)
    restored.set_state(state)
    np.testing.assert_array_equal(lams(restored), want)


def test_shards_with_one_seed_differ():
    drawn = [lams(ndd.random.RNG(3), shard_id=shard) for shard in range(3)]
    assert len(np.unique(drawn)) == 3 * B


@pytest.mark.parametrize("word", range(7))
def test_every_word_of_the_state_matters(word):
    """Dynamic mode hands the generator over as seven words."""
    state = np.arange(7, dtype=np.uint32)
    other = state.copy()
    other[word] ^= 1 << 31

    def define():
        images = source(IMAGES, layout="HWC")
        states = (source(np.tile(s, (B, 1))) for s in (state, other))
        policy = recorded(msda.Mixup())
        return tuple(fn.msda.plan(images, policy=policy, _random_state=s) for s in states)

    one, two = run(define, B)
    assert not np.isin(records(one)["lam"], records(two)["lam"]).any()


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16"])
def test_pixels_and_labels_follow_the_plan(dtype):
    normal = {} if dtype == "uint8" else {"mean": [123.675, 116.28, 103.53], "std": 0.229 * 255}
    mirror = np.array([0, 1, 1, 0, 1, 0])
    policy = msda.Choice([msda.CutMix(), msda.Mixup(n=3)])
    key = dict(num_classes=B, mirror=ndd.as_batch(list(mirror)), dtype=dtype)
    mixed, targets = dali.mix(
        batch(), batch(LABELS), policy, rng=ndd.random.RNG(3), layout="HWC", **key, **normal
    )
    plan = records(array(dali.plan(batch(), policy, rng=ndd.random.RNG(3))))
    want = msda.blend(IMAGES, plan, mirror=mirror, dtype=dtype, **normal)
    np.testing.assert_array_equal(array(mixed), want)
    np.testing.assert_array_equal(array(targets), msda.targets(LABELS, plan, num_classes=B))


def test_lam_of_each_sample():
    lam = np.linspace(0, 1, B, dtype=np.float32)
    np.testing.assert_array_equal(lams(None, lam=ndd.as_batch(list(lam))), lam)
    np.testing.assert_array_equal(lams(None, lam=0.25), 0.25)


def test_compact_targets():
    options = dict(compact=True, rng=ndd.random.RNG(3))
    _, classes, weights = dali.mix(batch(), batch(LABELS), msda.CutMix(), **options)
    assert array(classes).shape == array(weights).shape == (B, 2)
    np.testing.assert_array_equal(array(classes)[:, 0], LABELS)
    np.testing.assert_allclose(array(weights).sum(1), 1, atol=1e-6)


def test_operators_are_functions_with_rng():
    plans = ndd.msda.plan(batch(), policy=recorded(msda.CutMix()), rng=ndd.random.RNG(3))
    mixed = ndd.msda.blend(batch(), plans, dtype=ndd.uint8, output_layout="HWC")
    np.testing.assert_array_equal(array(mixed), msda.blend(IMAGES, records(array(plans))))
    assert "rng" in ndd.msda.plan.__doc__ and "Draws who is mixed" in ndd.msda.plan.__doc__
    with pytest.raises(TypeError, match="seed"):
        ndd.msda.plan(batch(), policy=recorded(msda.CutMix()), seed=3)


def test_one_sample_is_its_own_partner():
    sample = ndd.tensor(IMAGES[0], layout="HWC")
    label = ndd.tensor(np.array([2]))
    options = dict(num_classes=3, dtype="uint8", layout="HWC")
    mixed, targets = dali.mix(sample, label, msda.Mixup(), **options)
    np.testing.assert_array_equal(np.array(mixed.cpu()), IMAGES[0])
    np.testing.assert_array_equal(np.array(targets.cpu()), [0, 0, 1])


def test_batch_sizes_may_change():
    rng = ndd.random.RNG(3)
    for size in (6, 2, 1, 5, 3):
        plans = dali.plan(batch(IMAGES[:size]), msda.CutMix(partner="roll"), rng=rng)
        plan = records(array(plans))
        np.testing.assert_array_equal(plan["partner"], (np.arange(size) - 1) % size)


def test_stages_are_drawn_in_proportion_to_their_counts():
    """No batches are counted: 3 of 4 are Mixup on average (5 sigma of 240 draws)."""
    policy, rng = msda.Alternate([msda.CutMix(), msda.Mixup()], counts=(1, 3)), ndd.random.RNG(3)
    one = batch(IMAGES[:1])
    share = np.mean([records(array(dali.plan(one, policy, rng=rng)))["leaf"] for _ in range(240)])
    assert abs(share - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 240)


def test_errors_name_the_sample():
    with pytest.raises(RuntimeError) as caught:
        array(dali.plan(batch(), msda.Mixup(), lam=2.0))
    texts = f"{caught.value} {caught.value.__cause__}"
    assert "lam: expected a value in [0, 1], got 2 for sample 0" in texts
    with pytest.raises(TypeError, match=r"seed: expected -1 .*, got 3; give rng=ndd.random.RNG\(3"):
        dali.plan(batch(), msda.CutMix(), seed=3)
    with pytest.raises(ValueError, match="rng must be an instance of"):
        dali.plan(batch(), msda.CutMix(), rng=3)
    with pytest.raises(TypeError, match="use dali_msda.mix"):
        dali.mix(IMAGES, LABELS, msda.CutMix(), num_classes=B)


def test_decoded_samples_have_no_source_info_by_which_to_find_padding(tmp_path):
    """As documented. If this fails, DALI keeps source info now and the documents can go."""
    reader = ndd.readers.File(file_root=str(write_photographs(tmp_path)), pad_last_batch=True)
    *_, (jpegs, _) = reader.next_epoch(batch_size=6)  # three samples and three copies
    images = ndd.resize(ndd.decoders.image(jpegs, device="cpu"), size=[24, 20])
    plan = records(array(dali.plan(images, msda.Mixup(partner="roll"))))
    np.testing.assert_array_equal(plan["sources"], 2)


def test_photographs(tmp_path):
    """A training loop: read, decode, resize, mix."""
    root = write_photographs(tmp_path)
    reader = ndd.readers.File(file_root=str(root), random_shuffle=True, pad_last_batch=True)
    rng, sizes = ndd.random.RNG(3), []
    for jpegs, labels in reader.next_epoch(batch_size=6):
        images = ndd.decoders.image(jpegs, device="cpu", output_type=types.RGB)
        images = ndd.resize(images, size=[24, 20])
        mixed, targets = dali.mix(images, labels, msda.CutMix(), num_classes=CLASSES, rng=rng)
        assert array(mixed).shape[1:] == (3, 24, 20)
        np.testing.assert_allclose(array(targets).sum(1), 1, atol=1e-6)
        sizes.append(len(array(targets)))
    assert sum(sizes) >= 21


def test_several_interpolations():
    policy = msda.MultiMix(msda.CutMix(), 3)
    images, targets = dali.mix(batch(), batch(LABELS), policy, num_classes=B, rng=ndd.random.RNG(3))
    plan = records(array(dali.plan(batch(), policy, rng=ndd.random.RNG(3))))
    assert plan.shape == (B, 3)
    np.testing.assert_array_equal(
        array(images), msda.blend(IMAGES, plan, dtype="float32", layout="CHW")
    )
    np.testing.assert_array_equal(array(targets), msda.targets(LABELS, plan, num_classes=B))
