"""SaliencyMix: CutMix's box around the partner's most salient pixel, from arrays and from DALI."""

import numpy as np
import nvidia.dali.experimental.dynamic as ndd
import pytest
import torch
from nvidia.dali import fn, pipeline_def

import dali_msda as msda
from dali_msda import dali
from tests.with_dali.dali_pipelines import assert_same as assert_same_batches
from tests.with_dali.dali_pipelines import (
    build,
    read,
    recorded,
    records,
    run,
    source,
    write_photographs,
)

SIZE, BATCH = (33, 47), 200
RNG = np.random.default_rng(0)
PEAKS = RNG.integers(0, SIZE, (BATCH, 2), np.int32)
BOXES = ("clip", "inside", "wrap")


def drawn(batch=BATCH, peaks=PEAKS, seed=3, step=0, lam=None, **settings):
    policy = msda.SaliencyMix(**settings)
    return msda.draw(policy, batch, *SIZE, seed=seed, step=step, lam=lam, peaks=peaks[:batch])


def boxes_of(plan):
    return np.column_stack([plan[name] for name in ("y0", "x0", "y1", "x1")])


def spots(batch, height=60, width=70, seed=1):
    """A bright square on another place of every image, whose blue tells the images apart."""
    rng = np.random.default_rng(seed)
    images = np.zeros((batch, height, width, 3), np.uint8)
    images[..., 2] = np.arange(batch)[:, None, None]
    for image in images:
        y, x = rng.integers(0, (height - 8, width - 8))
        image[y : y + 8, x : x + 8, :2] = rng.integers(90, 256, 2)
    return images


# ------------------------------------------------------------------------------------------ draws


@pytest.mark.parametrize("box", BOXES)
def test_the_box_is_around_the_partners_peak(box):
    plan = drawn(box=box)
    peak = PEAKS[plan["partner"]]
    np.testing.assert_array_equal(plan["point"], np.insert(peak, 0, 0, axis=1))
    for axis, n in enumerate(SIZE):
        low, high = boxes_of(plan)[:, [axis, axis + 2]].T
        whole = n * np.sqrt(1 - plan["lam"].astype(np.float64))
        at, half = peak[:, axis], whole.astype(int) // 2
        if box == "clip":
            np.testing.assert_array_equal(low, np.maximum(at - half, 0))
            np.testing.assert_array_equal(high, np.minimum(at + half, n))
            holds = (low <= at) & (at < high) | (half == 0)
        else:
            np.testing.assert_array_equal(high - low, np.rint(whole))
            assert (low >= 0).all() and (low < n).all() if box == "wrap" else (high <= n).all()
            holds = (low <= at) & (at < high) | (at + n < high) | (high == low)
            free = (at - (high - low) // 2 >= 0) & (at - (high - low) // 2 + high - low <= n)
            assert free.any() and not free.all()
            np.testing.assert_array_equal(low[free], (at - (high - low) // 2)[free])
        assert holds.all()
    mean = msda.mask(plan, *SIZE).mean((1, 2), dtype=np.float64)
    np.testing.assert_allclose(plan["weight"], mean, atol=1e-7)


def test_sizes_are_those_of_cutmix():
    """The same lambdas too: only the place differs."""
    centre = np.tile(np.int32([16, 23]), (BATCH, 1))
    plan = drawn(peaks=centre, box="inside")
    cutmix = msda.draw(msda.CutMix(box="inside"), BATCH, *SIZE, seed=3, step=0)
    sides = [(p["y1"] - p["y0"], p["x1"] - p["x0"]) for p in (plan, cutmix)]
    np.testing.assert_array_equal(*sides)
    for field in ("lam", "weight", "partner"):
        np.testing.assert_array_equal(plan[field], cutmix[field])


def test_a_batch_shares_the_box_of_its_first_partner():
    plan = drawn(scope="batch")
    assert len(np.unique(boxes_of(plan), axis=0)) == 1 and len(np.unique(plan["lam"])) == 1
    assert (plan["point"][:, 1:] == PEAKS[plan["partner"][0]]).all()
    assert len(np.unique(plan["partner"])) == BATCH


@pytest.mark.parametrize("partner", ["permutation", "flip"])
def test_a_pair_shares_lambda_and_each_has_the_others_peak(partner):
    plan = drawn(scope="pair", partner=partner)
    other = plan["partner"]
    np.testing.assert_array_equal(plan["lam"], plan["lam"][other])
    np.testing.assert_array_equal(plan["point"][:, 1:], PEAKS[other])
    assert (boxes_of(plan) != boxes_of(plan)[other]).any(1).mean() > 0.9


def test_interpolations_are_nested_around_one_peak():
    policy = msda.MultiMix(msda.SaliencyMix(), k=4)
    plan = msda.draw(policy, BATCH, *SIZE, seed=5, step=0, peaks=PEAKS)
    assert (plan["point"] == plan["point"][:, :1]).all()
    np.testing.assert_array_equal(plan["point"][:, 0, 1:], PEAKS[plan["partner"][:, 0]])
    for low, high in (("y0", "y1"), ("x0", "x1")):
        assert (np.diff(plan[low], axis=1) <= 0).all() and (np.diff(plan[high], axis=1) >= 0).all()
    assert (np.diff(plan["weight"], axis=1) <= 0).all()


def test_peaks_change_nothing_else():
    choice = msda.Choice([msda.CutMix(), msda.Mixup(), msda.SaliencyMix(), msda.GMix()])
    plans = [
        msda.draw(choice, BATCH, *SIZE, seed=7, step=0, peaks=peaks) for peaks in (PEAKS, 0 * PEAKS)
    ]
    moved = plans[0]["method"] == 7
    assert 0 < moved.sum() < BATCH
    np.testing.assert_array_equal(plans[0][~moved], plans[1][~moved])
    assert (plans[0][moved] != plans[1][moved]).mean() > 0.9
    cutmix = [
        msda.draw(msda.CutMix(), 5, *SIZE, seed=7, step=0, peaks=p) for p in (None, PEAKS[:5])
    ]
    np.testing.assert_array_equal(*cutmix)


@pytest.mark.parametrize(
    "given",
    [
        PEAKS[:9].astype(np.int64),
        PEAKS[:9].astype(np.uint8),
        PEAKS[:17:2].repeat(2, 0)[::2],
        torch.from_numpy(PEAKS[:9]),
        PEAKS[:9].tolist(),
    ],
    ids=["int64", "uint8", "strided", "torch", "list"],
)
def test_peaks_of_any_kind(given):
    plan = msda.draw(msda.SaliencyMix(), 9, *SIZE, seed=3, step=0, peaks=given)
    np.testing.assert_array_equal(plan, drawn(9, np.ascontiguousarray(given)))


def changed(y, x):
    peaks = PEAKS[:9].copy()
    peaks[4] = y, x
    return peaks


@pytest.mark.parametrize(
    "peaks, error, text",
    [
        (None, ValueError, "peaks: expected the most salient pixels .* peaks=dali_msda.saliency"),
        (PEAKS[:9].astype(float), TypeError, "peaks: expected whole numbers, got float64"),
        (PEAKS[:8], ValueError, r"peaks: expected shape \(9, 2\), .* got shape \(8, 2\)"),
        (PEAKS[:9].ravel(), ValueError, r"got shape \(18,\)"),
        (changed(-1, 3), ValueError, r"peaks\[4\]: expected y, x of a pixel of 33 x 47, got \[-1"),
        (changed(33, 3), ValueError, r"peaks\[4\]: .* got \[33, 3\]"),
        (changed(3, 47), ValueError, r"peaks\[4\]: .* got \[3, 47\]"),
        ("peaks", TypeError, "peaks: expected a NumPy array or a torch tensor, got str"),
    ],
)
@pytest.mark.parametrize("policy", [msda.SaliencyMix(), msda.Alternate([msda.SaliencyMix()])])
def test_wrong_peaks_are_refused(peaks, error, text, policy):
    with pytest.raises(error, match=text):
        msda.draw(policy, 9, *SIZE, seed=3, step=0, peaks=peaks)


def test_box_is_one_of_three():
    with pytest.raises(ValueError, match="box: expected one of 'clip', 'inside', 'wrap', got 'min"):
        msda.SaliencyMix(box="minmax")
    assert msda.SaliencyMix().needs_peaks and not msda.CutMix().needs_peaks
    assert msda.Choice([msda.Mixup(), msda.SaliencyMix()]).needs_peaks


# ----------------------------------------------------------------------------------------- pixels


@pytest.mark.parametrize("box", BOXES)
def test_the_partners_peak_is_in_every_mixed_image(box):
    """Mirrored or not: where the blend puts the partner's most salient pixel, there the box is."""
    images = spots(40)
    peaks, mirror = msda.saliency(images), np.arange(40) % 3 == 0
    policy = msda.SaliencyMix(box=box, partner="derangement")
    key = dict(seed=2, step=1, lam=0.95, mirror=mirror, compact=True)
    mixed, (labels, _) = msda.mix(images, np.arange(40), policy, **key)
    for image, (own, partner) in zip(mixed, labels, strict=True):
        y, x = peaks[partner]
        x = 69 - x if mirror[partner] else x
        assert image[y, x, 2] == partner
        assert (image[..., 2] == own).mean() > 0.9


def test_mix_is_saliency_draw_and_blend():
    images = spots(8)
    peaks = msda.saliency(images)
    plan = msda.draw(msda.SaliencyMix(), 8, 60, 70, seed=2, step=1, peaks=peaks)
    mixed, rows = msda.mix(images, np.arange(8), msda.SaliencyMix(), num_classes=8, seed=2, step=1)
    np.testing.assert_array_equal(mixed, msda.blend(images, plan))
    np.testing.assert_array_equal(rows, msda.targets(np.arange(8), plan, num_classes=8))
    floats = torch.from_numpy(images.astype(np.float32))
    again, _ = msda.mix(floats, np.arange(8), msda.SaliencyMix(), compact=True, seed=2, step=1)
    np.testing.assert_array_equal(again.numpy(), mixed)
    given = images.copy()
    policy = msda.SaliencyMix(partner="flip")
    want, _ = msda.mix(images, np.arange(8), policy, compact=True, seed=2, step=1)
    msda.mix(given, np.arange(8), policy, compact=True, seed=2, step=1, out=given)
    np.testing.assert_array_equal(given, want)


def test_images_without_saliency_are_refused_by_mix():
    with pytest.raises(ValueError, match="images: expected shape .* 1 or 3 channels"):
        two = np.zeros((2, 5, 5, 2), np.uint8)
        msda.mix(two, [0, 1], msda.SaliencyMix(), compact=True, seed=0, step=0)


# ------------------------------------------------------------------------------------------- DALI


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_operator_equals_the_array_function(dtype, channels):
    images = RNG.integers(0, 256, (5, 40, 51, channels)).astype(dtype)
    mirror = np.array([0, 1, 1, 0, 1])

    def define():
        pixels = source(images, layout="HWC")
        plain, maps = fn.msda.saliency(pixels, maps=True)
        turned = fn.msda.saliency(pixels, maps=True, mirror=source(mirror))
        return plain, maps, *turned, fn.msda.saliency(pixels, mirror=1)

    for got in run(define, 5, iterations=2):
        want = [*msda.saliency(images, maps=True), *msda.saliency(images, maps=True, mirror=mirror)]
        want.append(msda.saliency(images, mirror=[1] * 5))
        assert_same_batches([got], [want])


def test_samples_may_differ_in_shape():
    images = [RNG.integers(0, 256, (n, 60 - n, 3), dtype=np.uint8) for n in (1, 20, 41)]
    pixels = fn.external_source
    built = build(
        lambda: fn.msda.saliency(pixels(lambda: images, batch=True, layout="HWC"), maps=True), 3
    )
    peaks, maps = built.run()
    assert maps[0].layout() == "HW"
    for i, image in enumerate(images):
        (peak,), (found,) = msda.saliency(image[None], maps=True)
        np.testing.assert_array_equal(np.asarray(peaks[i]), peak)
        np.testing.assert_array_equal(np.asarray(maps[i]), found)


def test_peaks_and_a_record():
    """By the operator itself."""
    peaks = PEAKS[:6]
    images = np.zeros((6, *SIZE, 3), np.uint8)

    def define():
        pixels = source(images, layout="HWC")
        policy = recorded(msda.SaliencyMix(box="wrap"))
        return fn.msda.plan(pixels, policy=policy, peaks=source(peaks), seed=3)

    for step, (plans,) in enumerate(run(define, 6, iterations=2)):
        np.testing.assert_array_equal(records(plans), drawn(6, box="wrap", step=step))


def test_peaks_given_to_the_plan_are_taken():
    images, peaks = np.zeros((6, *SIZE, 3), np.uint8), PEAKS[:6]

    def define():
        pixels = source(images, layout="HWC")
        return dali.plan(pixels, msda.SaliencyMix(), peaks=source(peaks), seed=3)

    np.testing.assert_array_equal(records(run(define, 6)[0]), drawn(6))


def test_a_branch_has_the_peaks_of_its_own_samples():
    images = spots(6)
    chosen = np.array([1, 0, 1, 1, 0, 0], bool)

    def define():
        pixels, labels = source(images, layout="HWC"), source(np.arange(6)[:, None])
        if source(chosen):
            mixed = dali.mix(pixels, labels, msda.SaliencyMix(), num_classes=6, seed=5)[0]
        else:
            mixed = dali.blend(pixels, dali.plan(pixels, msda.CutMix(), seed=6))
        return mixed

    pipeline = pipeline_def(define, enable_conditionals=True)(
        batch_size=6, num_threads=2, device_id=None
    )
    pipeline.build()
    (mixed,) = pipeline.run()
    want, _ = msda.mix(
        images[chosen], np.arange(3), msda.SaliencyMix(), compact=True, seed=5, step=0,
        dtype="float32", layout="CHW",
    )  # fmt: skip
    np.testing.assert_array_equal(np.asarray(mixed.as_tensor())[chosen], want)


def test_a_restored_pipeline_goes_on(tmp_path):
    root = write_photographs(tmp_path)
    policy = msda.Choice([msda.SaliencyMix(), msda.Mixup()])

    def pipeline(**options):
        def define():
            images, labels = read(root, random_shuffle=True)
            flags = fn.random.coin_flip()
            return dali.mix(images, labels, policy, num_classes=3, mirror=flags)

        return build(define, 4, enable_checkpointing=True, **options)

    def batches(running):
        return [tuple(np.array(out.as_tensor()) for out in running.run()) for _ in range(4)]

    running = pipeline()
    batches(running)
    checkpoint = running.checkpoint()
    want = batches(running)
    assert_same_batches(batches(pipeline(checkpoint=checkpoint)), want)


def test_dynamic_mode():
    images = spots(6)
    batch = ndd.as_batch(list(images), layout="HWC")
    peaks, maps = ndd.msda.saliency(batch, maps=True)
    want = msda.saliency(images, maps=True)
    for got, expected in zip((peaks, maps), want, strict=True):
        np.testing.assert_array_equal(np.array(ndd.as_tensor(got).cpu()), expected)
    mirror = np.array([1, 0, 0, 1, 1, 0])
    flags = ndd.as_batch(list(mirror))
    policy = msda.SaliencyMix(box="inside")
    labels = ndd.as_batch(list(np.arange(6)))
    mixed, _ = dali.mix(
        batch, labels, policy, num_classes=6, mirror=flags, rng=ndd.random.RNG(3),
        dtype="uint8", layout="HWC",
    )  # fmt: skip
    plans = dali.plan(batch, policy, mirror=flags, rng=ndd.random.RNG(3))
    plan = records(np.array(ndd.as_tensor(plans).cpu()))
    turned = msda.saliency(images, mirror=mirror)
    np.testing.assert_array_equal(plan["point"][:, 1:], turned[plan["partner"]])
    got = np.array(ndd.as_tensor(mixed).cpu())
    np.testing.assert_array_equal(got, msda.blend(images, plan, mirror=mirror))


IMAGES = np.zeros((4, 8, 10, 3), np.uint8)


def saliency(array=IMAGES, layout="HWC", **arguments):
    return lambda: fn.msda.saliency(source(array, layout=layout), **arguments)


def planned(peaks, policy=None):
    def define():
        given = {} if peaks is None else {"peaks": source(peaks)}
        record = recorded(policy or msda.SaliencyMix())
        return fn.msda.plan(source(IMAGES, layout="HWC"), policy=record, **given)

    return define


@pytest.mark.parametrize(
    "define, text",
    [
        (saliency(IMAGES[..., :2].copy()), "1 or 3 channels, got (8 x 10 x 2) for sample 0"),
        (saliency(IMAGES.astype(np.int16)), "images: expected uint8 or float, got int16"),
        (saliency(IMAGES.transpose(0, 3, 1, 2).copy(), "CHW"), "Valid layouts are:\nHWC"),
        (saliency(mirror=2), "mirror: expected 0 or 1, got 2 for sample 0"),
        (planned(None), "peaks: expected y and x of each sample's most salient pixel"),
        (planned(np.zeros((4, 2), np.int64)), "peaks: expected int32, got int64"),
        (planned(np.zeros((4, 3), np.int32)), "peaks: expected shape (2), y and x, got (3)"),
        (planned(np.int32([[0, 0]] * 3 + [[8, 0]])), "got 8, 0 for sample 3; find them on"),
        (planned(np.int32([[0, 0]] * 3 + [[0, -1]])), "got 0, -1 for sample 3"),
        (planned(np.int32([[0, 10]] * 4), msda.CutMix()), "got 0, 10 for sample 0"),
    ],
)
def test_what_the_operators_refuse(define, text):
    with pytest.raises(Exception) as caught:
        build(define).run()
    assert text in str(caught.value)
