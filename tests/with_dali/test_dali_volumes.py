"""Volumes, video and sequences in DALI: to the bit what the array functions make of them."""

import io
import wave

import numpy as np
import pytest

pytest.importorskip("nvidia.dali")
import nvidia.dali.experimental.dynamic as ndd
from nvidia.dali import fn, types

import dali_msda as msda
from dali_msda import dali
from dali_msda.policy import METHODS
from tests.support.variants import IN_LOADERS
from tests.with_dali.dali_pipelines import arrays, build, given, recorded, records, run, source

B, RNG = 5, np.random.default_rng(0)
LABELS = RNG.integers(0, 4, (B, 1))
MIXED = msda.Choice([msda.FMix(), msda.Mixup(n=3), msda.FMix(law="legacy", max_soft=0.2)])
# Sizes of a sample without its channels, by the letters of its axes.
SHAPES = {"W": (31,), "HW": (9, 14), "DHW": (3, 7, 10), "FHW": (6, 5, 8)}


def samples(axes, channels=3, kind="uint8"):
    return RNG.integers(0, 256, (B, *SHAPES[axes], channels)).astype(kind)


def drawn(policy, axes, **key):
    return msda.draw(policy, B, shape=SHAPES[axes], **{"seed": 5, "step": 0, **key})


def refusal(define):
    with pytest.raises(Exception) as caught:
        build(define, B).run()
    return str(caught.value)


@pytest.mark.parametrize("axes", SHAPES)
@pytest.mark.parametrize("first", [False, True])
def test_plan_reads_the_size_by_the_layout(axes, first):
    """Whether channels come first or last; the order of the sizes is that of the letters."""
    array = samples(axes)
    if first:
        array = np.ascontiguousarray(np.moveaxis(array, -1, 1))
    layout = "C" + axes if first else axes + "C"
    batches = run(
        lambda: dali.plan(source(array, layout=layout), MIXED, seed=5, shard_id=2), B, iterations=3
    )
    for step, (plans,) in enumerate(batches):
        np.testing.assert_array_equal(records(plans), drawn(MIXED, axes, step=step, rank=2))


def test_four_axes_without_a_layout_are_a_volume_and_two_an_image():
    volumes, image = samples("DHW"), samples("HW")[..., 0].copy()
    for array, axes in ((volumes, "DHW"), (image, "HW")):
        (plans,) = run(lambda a=array: dali.plan(source(a), MIXED, seed=5), B)
        np.testing.assert_array_equal(records(plans), drawn(MIXED, axes))


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16"])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize("axes", SHAPES)
def test_blend_equals_the_array_function(axes, kind, dtype, layout):
    if dtype == "uint8" and kind == "float32":
        pytest.skip("no rounding of floats")
    mirror = np.array([0, 1, 1, 0, 1])
    for channels in (1, 3, 4):
        array, plan = samples(axes, channels, kind), drawn(MIXED, axes)
        options = dict(dtype=dtype, layout=layout)
        if dtype != "uint8":
            options |= {"mean": 120.5, "std": np.linspace(50, 60, channels).tolist()}
        pipeline = build(
            lambda a=array, p=plan, o=options: dali.blend(
                source(a, layout=axes + "C"), given(p), mirror=source(mirror), **o
            ),
            B,
        )
        (out,) = pipeline.run()
        assert out.layout() == ("C" + axes if layout == "CHW" else axes + "C")
        mixed = np.array(out.as_cpu().as_array())
        assert mixed.dtype == dtype
        np.testing.assert_array_equal(mixed, msda.blend(array, plan, mirror=mirror, **options))


@pytest.mark.parametrize("axes", SHAPES)
def test_a_pipeline_equals_mix(axes):
    array = samples(axes)

    def define():
        images, labels = source(array, layout=axes + "C"), source(LABELS)
        return dali.mix(images, labels, MIXED, num_classes=4, mean=99, std=7.7, seed=5, shard_id=3)

    options = {"num_classes": 4, "mean": 99, "std": 7.7, "layout": "CHW", "dtype": "float32"}
    for threads in (1, 4):
        for step, got in enumerate(run(define, B, iterations=3, threads=threads)):
            key = {"seed": 5, "step": step, "rank": 3}
            want = msda.mix(array, LABELS[:, 0], MIXED, **key, **options)
            for ours, theirs in zip(got, want, strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_layouts_of_samples_that_have_none():
    """Blends of four axes take them for DHWC, of two for WC."""
    for axes in ("DHW", "W"):
        array, plan = samples(axes), drawn(MIXED, axes)
        pipeline = build(
            lambda a=array, p=plan: (
                dali.blend(source(a), given(p)),
                dali.blend(source(a), given(p), layout="HWC"),
            ),
            B,
        )
        first, last = pipeline.run()
        assert (first.layout(), last.layout()) == ("C" + axes, axes + "C")
        np.testing.assert_array_equal(
            np.array(first.as_cpu().as_array()),
            msda.blend(array, plan, dtype="float32", layout="CHW"),
        )


@pytest.mark.parametrize("axes", SHAPES)
def test_several_interpolations(axes):
    """They come in front, as frames; the frames of video are one axis more."""
    array, policy = samples(axes), msda.MultiMix(msda.Choice([msda.FMix(), msda.Mixup()]), 3)

    def define(layout):
        images, labels = source(array, layout=axes + "C"), source(LABELS)
        return dali.mix(images, labels, policy, num_classes=4, seed=5, layout=layout)

    plan = drawn(policy, axes)
    for layout, letters in (("CHW", "C" + axes), ("HWC", axes + "C")):
        mixed, rows = build(lambda n=layout: define(n), B).run()
        assert mixed.layout() == ("K" if "F" in axes else "F") + letters
        np.testing.assert_array_equal(
            np.array(mixed.as_cpu().as_array()),
            msda.blend(array, plan, dtype="float32", layout=layout),
        )
        np.testing.assert_array_equal(
            np.array(rows.as_cpu().as_array()),
            msda.targets(LABELS[:, 0], plan, num_classes=4),
        )


def test_video_that_is_resized_and_cropped():
    """Frames of DALI's own operators; maps of classes with the same plan."""
    video = RNG.integers(0, 256, (B, 6, 20, 24, 3), dtype=np.uint8)
    policy = msda.FMix(partner="derangement")

    def define():
        frames = fn.crop(source(video, layout="FHWC"), crop=(16, 20))
        frames = fn.resize(frames, size=(12, 15), antialias=False)
        plans = dali.plan(frames, policy, seed=5)
        maps = frames[:, :, :, :1] // 64
        maps = fn.reinterpret(fn.cast(maps, dtype=types.UINT8), layout="FHWC")
        kept = {"dtype": "uint8", "layout": "HWC"}
        return frames, dali.blend(frames, plans, mean=1), maps, dali.blend(maps, plans, **kept)

    frames, mixed, maps, cut = run(define, B)
    plan = msda.draw(policy, B, shape=(6, 12, 15), seed=5, step=0)
    want = msda.blend(frames, plan, mean=1, layout="CHW")
    assert mixed.shape == (B, 3, 6, 12, 15)
    np.testing.assert_array_equal(mixed, want)
    np.testing.assert_array_equal(cut[..., 0], msda.segmentation(maps[..., 0], plan))


def recording(values):
    """Stereo samples as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(2)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(values.tobytes())
    return np.frombuffer(file.getvalue(), np.uint8)


def test_recordings():
    sounds = RNG.integers(-(2**15), 2**15, (B, 700, 2), dtype=np.int16)
    files = [recording(sound) for sound in sounds]

    def define():
        sound, _ = fn.decoders.audio(source(files))
        sound = fn.reinterpret(sound, layout="WC")
        return sound, *dali.mix(sound, source(LABELS), MIXED, num_classes=4, seed=5)

    sound, mixed, rows = run(define, B)
    assert sound.shape == (B, 700, 2) and sound.dtype == np.float32
    plan = msda.draw(MIXED, B, shape=(700,), seed=5, step=0)
    np.testing.assert_array_equal(mixed, msda.blend(sound, plan, layout="CHW"))
    np.testing.assert_array_equal(rows, msda.targets(LABELS[:, 0], plan, num_classes=4))


@pytest.mark.parametrize("axes", SHAPES)
def test_dynamic_mode(axes):
    array = samples(axes)
    images = ndd.as_batch(list(array), layout=axes + "C")
    labels = ndd.as_batch(list(LABELS[:, 0]))
    mixed, rows = dali.mix(images, labels, MIXED, num_classes=4, rng=ndd.random.RNG(3))
    plans = dali.plan(images, MIXED, rng=ndd.random.RNG(3))
    plan = records(np.array(ndd.as_tensor(plans)))
    assert tuple(plan[0][["depth", "height", "width"]]) == (1, 1, *SHAPES[axes])[-3:]
    want = msda.blend(array, plan, dtype="float32", layout="CHW")
    assert mixed.layout == "C" + axes
    np.testing.assert_array_equal(np.array(ndd.as_tensor(mixed)), want)
    want = msda.targets(LABELS[:, 0], plan, num_classes=4)
    np.testing.assert_array_equal(np.array(ndd.as_tensor(rows)), want)


def test_empty_branches_and_changing_sizes():
    """A batch may be of another depth than the one before."""
    pipeline = build(
        lambda: dali.mix(
            fn.external_source(name="video", layout="FHWC"),
            fn.external_source(name="labels"),
            MIXED,
            num_classes=4,
            seed=5,
        ),
        B,
        prefetch_queue_depth=1,
    )
    for step, (size, depth) in enumerate([(5, 4), (1, 9), (3, 1)]):
        video = RNG.integers(0, 256, (size, depth, 6, 7, 3), dtype=np.uint8)
        pipeline.feed_input("video", video)
        pipeline.feed_input("labels", LABELS[:size])
        mixed, _ = arrays(pipeline.run())
        plan = msda.draw(MIXED, size, shape=(depth, 6, 7), seed=5, step=step)
        np.testing.assert_array_equal(mixed, msda.blend(video, plan, dtype="float32", layout="CHW"))


# -------------------------------------------------------------------------------- what is refused


IMAGES_ONLY = [name for name in IN_LOADERS if "any_shape" not in METHODS[name].traits]


@pytest.mark.parametrize("method", IMAGES_ONLY)
def test_plan_refuses_methods_for_images(method):
    policy = msda.Choice([msda.FMix(), IN_LOADERS[method]()])
    serving = " or ".join(f'"{name}"' for name in IN_LOADERS if name not in IMAGES_ONLY)
    for axes in ("W", "DHW", "FHW"):
        images = samples(axes)
        record = recorded(policy)
        text = refusal(
            lambda i=images, a=axes, r=record: fn.msda.plan(source(i, layout=a + "C"), policy=r)
        )
        assert (
            f'policy[1]: expected {serving} for samples of layout "{axes}C", got "{method}", '
            "which has a meaning in images only"
        ) in text


def test_plan_refuses_other_layouts_and_sizes():
    for layout in ("DWC", "LC", "tc"):
        array = np.zeros((B, *range(2, 2 + len(layout))), np.uint8)
        text = refusal(lambda a=array, n=layout: dali.plan(source(a, layout=n), msda.FMix()))
        assert f'The layout "{layout}" does not match any of the allowed layouts' in text
    empty = np.zeros((B, 3, 0, 5, 1), np.uint8)
    text = refusal(lambda: dali.plan(source(empty, layout="FHWC"), msda.FMix()))
    assert "images: expected at least one pixel, got shape (3 x 0 x 5 x 1)" in text


def test_blend_refuses_channels_first_and_other_sizes():
    volumes, plan = samples("DHW"), drawn(MIXED, "DHW")
    text = refusal(lambda: dali.blend(source(volumes, layout="CDHW"), given(plan)))
    assert 'The layout "CDHW" does not match any of the allowed layouts' in text
    for other, got in (
        (drawn(MIXED, "FHW"), "6 x 5 x 8"),
        (drawn(MIXED, "HW"), "1 x 9 x 14"),
        (drawn(MIXED, "W"), "1 x 1 x 31"),
    ):
        text = refusal(lambda o=other: dali.blend(source(volumes, layout="DHWC"), given(o)))
        assert f"plans[0]: expected a plan for images of 3 x 7 x 10, got one for {got};" in text
    text = refusal(lambda: dali.blend(source(volumes[:, 0], layout="HWC"), given(plan)))
    assert "plans[0]: expected a plan for images of 7 x 10, got one for 3 x 7 x 10;" in text
    for layout in ("CDHW", "DHWC", "WHC"):
        text = refusal(
            lambda n=layout: fn.msda.blend(
                source(volumes, layout="DHWC"), given(plan), output_layout=n
            )
        )
        assert f'output_layout: expected "CHW" or "HWC", got "{layout}"' in text


def test_a_sequence_without_a_layout_in_plan():
    """Its two axes were taken for those of an image; the blend says so."""
    sequences = samples("W")
    text = refusal(lambda: dali.blend(source(sequences), dali.plan(source(sequences), MIXED)))
    assert "expected a plan for images of 1 x 1 x 31, got one for 1 x 31 x 3; draw it" in text
    assert "layout" in text


@pytest.mark.parametrize("method", [2, 4, 5, 6, 8])
def test_records_with_a_box_in_a_volume_are_refused(method):
    plan = drawn(msda.Mixup(), "DHW")
    plan["method"][2] = method
    expected = "plans[2]: depth: expected 1 for methods other than mixup and fmix, got 3"
    volumes = samples("DHW")
    assert expected in refusal(lambda: dali.blend(source(volumes, layout="DHWC"), given(plan)))
    assert expected in refusal(lambda: fn.msda.targets(source(LABELS), given(plan), num_classes=4))


def test_records_of_more_pixels_than_can_be_counted_are_refused():
    plan = drawn(msda.FMix(), "DHW")
    pixels = "depth, height, width: expected fewer than 2^31 pixels for fmix, got 2048 x 1024 x 10"
    rows = "depth, height, width: expected sizes of at least 1 and fewer than 2^31 rows, got 2147"
    for sizes, message in (((2**11, 2**10, 2**10), pixels), ((2**31 - 1,) * 3, rows)):
        plan["depth"][1], plan["height"][1], plan["width"][1] = sizes
        text = refusal(lambda: fn.msda.targets(source(LABELS), given(plan), num_classes=4))
        assert f"plans[1]: {message}" in text
