"""What the operators refuse: a message names operator, argument, sample, expected, got, way out."""

import numpy as np
import pytest
from nvidia.dali import Pipeline, fn, types

import dali_msda as msda
from dali_msda import dali
from dali_msda.policy import METHODS
from tests.with_dali.dali_pipelines import build, recorded, source

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 10, 3), dtype=np.uint8)
LABELS = np.arange(4)[:, None]
PLAN = msda.draw(msda.CutMix(), 4, 8, 10, seed=0, step=0)


def images(array=IMAGES, layout="HWC"):
    return source(array, layout=layout)


def plans(array=PLAN, **fields):
    """The plan as DALI gives it, with fields of record 2 overwritten."""
    array = array.copy()
    for name, value in fields.items():
        array[name][2] = value
    return source(array.view(np.uint8).reshape(len(array), -1))


def refusal(define, operator):
    """What the user reads when a pipeline of ``define()`` is built and run."""
    with pytest.raises(Exception) as caught:
        build(define).run()
    text = str(caught.value)
    assert f"fn.msda.{operator}" in text
    assert __file__ in text  # the user's line
    return text


POLICIES = {
    "padding": (
        msda.CutMix(),
        dict(padding="no"),
        'padding: expected "detect" or "ignore", got "no"',
    ),
    "shard_id": (msda.CutMix(), dict(shard_id=-1), "shard_id: expected at least 0, got -1"),
    "lam": (
        msda.CutMix(),
        dict(lam=1.5),
        "lam: expected a value in [0, 1], got 1.5 for sample 0; lam is",
    ),
    "lam nan": (
        msda.CutMix(),
        dict(lam=float("nan")),
        "lam: expected a value in [0, 1], got nan for sample 0",
    ),
    "lam and minmax": (
        msda.CutMix(minmax=(0.2, 0.8)),
        dict(lam=0.5),
        "lam: expected none with minmax, which draws the sides of the box themselves; leave out",
    ),
}


@pytest.mark.parametrize("policy, arguments, expected", POLICIES.values(), ids=POLICIES)
def test_plan_refuses(policy, arguments, expected):
    assert expected in refusal(lambda: dali.plan(images(), policy, **arguments), "plan")


# What each field of a record may hold is tested in tests/plan/test_policy_records.py.
RECORD = recorded(msda.CutMix())
DAMAGED = {
    "none": ([], "policy: expected a record of 32 numbers for each method, got 0 numbers; make"),
    "short": (RECORD[:31], "policy: expected a record of 32 numbers for each method, got 31"),
    "long": ([*RECORD, 0], "policy: expected a record of 32 numbers for each method, got 33"),
    "version": (
        recorded(msda.CutMix(), version=9),
        "policy[0]: version: expected 1, got 9; make the pipeline anew, with dali_msda.dali.plan",
    ),
    "zeros": ([0] * 32, "policy[0]: version: expected 1, got 0; make the pipeline anew"),
    "second": (
        RECORD + recorded(msda.Mixup(), prob=-1.0, stage=1),
        "policy[1]: prob: expected a value in [0, 1], got -1; make the pipeline anew",
    ),
    "share": (RECORD + RECORD, "policy[1]: share: expected a sum of 1 in stage 0, got 2; make"),
}


@pytest.mark.parametrize("record, expected", DAMAGED.values(), ids=DAMAGED)
def test_plan_refuses_damaged_records(record, expected):
    assert expected in refusal(lambda: fn.msda.plan(images(), policy=record), "plan")


@pytest.mark.parametrize(
    "policy, interpolations, expected",
    [
        (msda.Mixup(), 0, "interpolations: expected 1 to 64, got 0"),
        (msda.Mixup(), 65, "interpolations: expected 1 to 64, got 65"),
        (msda.Mixup(n=3), 2, "policy[0]: interpolations: expected 1 for a method that does not"),
        (msda.Cutout(), 2, "policy[0]: interpolations: expected 1 for a method that does not"),
        (msda.CutMix(minmax=(0.2, 0.8)), 2, "policy[0]: interpolations: expected 1 for a method"),
    ],
    ids=str,
)
def test_plan_refuses_interpolations(policy, interpolations, expected):
    record = recorded(policy)
    text = refusal(
        lambda: fn.msda.plan(images(), policy=record, interpolations=interpolations), "plan"
    )
    assert expected in text


def test_a_serialised_pipeline_of_another_build_is_refused_by_name():
    """It carries a record of its own version; before records there were lists of settings."""

    def define():
        return dali.plan(fn.external_source(name="images", layout="HWC"), msda.CutMix(), seed=5)

    def run(text):
        pipeline = Pipeline.deserialize(text, batch_size=4, num_threads=1, device_id=None)
        pipeline.build()
        pipeline.feed_input("images", IMAGES)
        return np.array(pipeline.run()[0].as_tensor()).view(msda.PLAN_DTYPE)[..., 0]

    text = build(define).serialize()
    np.testing.assert_array_equal(run(text), msda.draw(msda.CutMix(), 4, 8, 10, seed=5, step=0))
    assert RECORD[0] == 1 | 2 << 16  # version 1, CutMix; and as the integers of the file:
    version_1, version_3 = b"\x81\x80\x08", b"\x83\x80\x08"
    assert text.count(version_1) == 1
    with pytest.raises(RuntimeError, match=r"policy\[0\]: version: expected 1, got 3; make"):
        run(text.replace(version_1, version_3))
    with pytest.raises(ValueError, match='argument "policy" in operator "msda__Plan"'):
        run(text.replace(b"policy", b"method"))


def test_plan_refuses_a_lam_of_one_sample():
    mixup, lam = msda.Mixup(), np.float32([0.5, 0.5, -0.25, 0.5])
    text = refusal(lambda: dali.plan(images(), mixup, lam=source(lam)), "plan")
    assert "lam: expected a value in [0, 1], got -0.25 for sample 2" in text
    two = np.zeros((4, 2), np.float32)
    text = refusal(lambda: dali.plan(images(), mixup, lam=source(two)), "plan")
    assert "lam: expected one value per sample, got shape (2) for sample 0" in text
    text = refusal(lambda: dali.plan(images(), mixup, lam=source(LABELS)), "plan")
    assert "lam: expected float or float64, got" in text and "fn.cast" in text


def test_plan_refuses_images_of_several_shapes():
    ragged = [np.zeros((8, 10 + (i == 2), 3), np.uint8) for i in range(4)]
    text = refusal(lambda: dali.plan(images(ragged), msda.Mixup()), "plan")
    assert "got (8 x 10 x 3) for sample 0 and (8 x 11 x 3) for sample 2; resize or crop" in text
    empty = np.zeros((4, 0, 10, 3), np.uint8)
    text = refusal(lambda: dali.plan(images(empty), msda.Mixup()), "plan")
    assert "images: expected at least one pixel, got shape (0 x 10 x 3)" in text


def test_plan_needs_images_and_a_policy():
    with pytest.raises(
        RuntimeError, match='arguments were specified for op "msda__Plan".*"policy"'
    ):
        build(lambda: fn.msda.plan(images()))
    with pytest.raises(ValueError, match="expects .*1 input"):
        build(lambda: fn.msda.plan(policy=RECORD))
    text = refusal(lambda: dali.plan(images(layout="FHW"), msda.Mixup()), "plan")
    assert "FHW" in text


BLENDS = {
    "dtype": (dict(dtype=types.INT16), "dtype: expected UINT8, FLOAT or FLOAT16, got int16"),
    "normalised uint8": (
        dict(dtype=types.UINT8, mean=1.0),
        "dtype: expected FLOAT or FLOAT16 for normalised or float images, got UINT8; leave out",
    ),
    "output_layout": (
        dict(output_layout="WHC"),
        'output_layout: expected "CHW" or "HWC", got "WHC"',
    ),
    "mean": (dict(mean=float("inf")), "mean: expected finite numbers, got inf"),
    "std": (dict(std=[1, 0, 1]), "std: expected finite numbers > 0, got 0; it is in units"),
    "mean and std": (dict(mean=[1, 2], std=[1, 2, 3]), "mean: expected 1 or 3 values, as std has"),
    "channels": (dict(std=[1, 2]), "mean, std: expected 1 or 3 values, one per channel of images"),
    "scale": (dict(scale=[1, 1, 1]), "shift: expected 3 values, as scale has, got 0"),
    "scale and mean": (dict(scale=1.0, shift=1.0, mean=1.0), "scale: expected none with mean"),
    "mirror": (dict(mirror=2), "mirror: expected 0 or 1, got 2 for sample 0"),
}


@pytest.mark.parametrize("arguments, expected", BLENDS.values(), ids=BLENDS)
def test_blend_refuses(arguments, expected):
    assert expected in refusal(lambda: fn.msda.blend(images(), plans(), **arguments), "blend")


def test_blend_refuses_images():
    text = refusal(lambda: fn.msda.blend(images(IMAGES.astype(np.int32)), plans()), "blend")
    assert "images: expected uint8 or float, got int32; cast them with fn.cast" in text
    ragged = [np.zeros((8, 10 + (i == 2), 3), np.uint8) for i in range(4)]
    assert "for sample 2; resize" in refusal(
        lambda: fn.msda.blend(images(ragged), plans()), "blend"
    )
    assert "CHW" in refusal(lambda: fn.msda.blend(images(layout="CHW"), plans()), "blend")
    none = np.zeros((4, 8, 10, 0), np.uint8)
    text = refusal(lambda: fn.msda.blend(images(none), plans()), "blend")
    assert "images: expected at least one pixel and channel, got shape (8 x 10 x 0)" in text
    flags = source(np.array([0, 1, 3, 0]))
    text = refusal(lambda: fn.msda.blend(images(), plans(), mirror=flags), "blend")
    assert "mirror: expected 0 or 1, got 3 for sample 2" in text
    text = refusal(lambda: fn.msda.blend(images(), plans(), mirror=source(np.zeros(4))), "blend")
    assert "mirror: expected an integer type, got double; cast it with fn.cast" in text


PAST = len(METHODS) + 1  # the first number that no method has
RECORDS = {
    "version": (dict(version=9), "plans[2]: version: expected 1, got 9; make the plan with"),
    "method": (
        dict(method=PAST),
        f"plans[2]: method: expected a number in [0, {PAST}), got {PAST}",
    ),
    "sources": (dict(sources=5), "plans[2]: sources: expected 1 to 4, got 5"),
    "own": (dict(own=-1), "plans[2]: sources: expected indices in [0, 4), got -1"),
    "partner": (dict(partner=4), "plans[2]: sources: expected indices in [0, 4), got 4"),
    "weight": (dict(weight=np.nan), "plans[2]: weights: expected values in [0, 1], got nan"),
    "partner_weight": (dict(partner_weight=1.5), "weights: expected values in [0, 1], got 1.5"),
    "outside": (dict(outside=-1), "inside, outside: expected values in [0, 1], got 0, -1"),
    "y1": (dict(y0=4, y1=13), "y0, y1: expected a box in the image's 8 pixels, got 4, 13"),
    "x0": (dict(x0=-1), "plans[2]: x0, x1: expected a box in the image's 10 pixels"),
    "puzzlemix": (
        dict(method=10, soft=2, modes=4),
        "plans[2]: expected a method that needs no gradients of the model, got puzzlemix; mix in",
    ),
    "a wrapped shrunk one": (dict(method=6, y0=4, y1=9), "plans[2]: y0, y1: expected a box in"),
}


@pytest.mark.parametrize("fields, expected", RECORDS.values(), ids=RECORDS)
def test_bad_records_are_refused(fields, expected):
    fields = {"sources": 2, **fields}
    assert expected in refusal(lambda: fn.msda.blend(images(), plans(**fields)), "blend")
    labels = source(LABELS)
    text = refusal(lambda: fn.msda.targets(labels, plans(**fields), num_classes=4), "targets")
    assert expected in text


def test_plans_of_another_kind_are_refused():
    size = msda.draw(msda.CutMix(), 4, 10, 8, seed=0, step=0)
    text = refusal(lambda: fn.msda.blend(images(), plans(size)), "blend")
    assert "plans[0]: expected a plan for images of 8 x 10, got one for 10 x 8; draw it" in text
    text = refusal(lambda: fn.msda.blend(images(), source(np.zeros((4, 8), np.uint8))), "blend")
    assert (
        "plans: expected shape (160) or (k, 160), got (8) for sample 0; give the output of fn.msda"
        in text
    )
    floats = source(np.zeros((4, 160), np.float32))
    text = refusal(lambda: fn.msda.blend(images(), floats), "blend")
    assert "plans: expected uint8, got float" in text
    text = refusal(lambda: fn.msda.blend(images(), plans(depth=2, method=1)), "blend")
    assert "plans[2]: expected a plan for images of 8 x 10, got one for 2 x 8 x 10; draw" in text


TARGETS = {
    "num_classes": (
        dict(),
        "num_classes: expected the number of classes, because labels are class",
    ),
    "no classes": (dict(num_classes=0), "num_classes: expected at least 1, got 0"),
    "range": (
        dict(num_classes=3),
        "labels: expected a class index in [0, 3), got 3 for sample 3; raise num_classes",
    ),
    "compact range": (
        dict(num_classes=3, compact=True),
        "labels: expected a class index in [0, 3), got 3 for sample 3",
    ),
    "smoothing": (
        dict(num_classes=4, smoothing=1.5),
        "smoothing: expected a value in [0, 1], got 1.5",
    ),
    "compact smoothing": (
        dict(compact=True, smoothing=0.5),
        "smoothing: expected 0 with compact=True, got 0.5; give label_smoothing to the loss",
    ),
    "sources": (dict(compact=True, sources=5), "sources: expected 2 to 4, got 5"),
}


@pytest.mark.parametrize("arguments, expected", TARGETS.values(), ids=TARGETS)
def test_targets_refuses(arguments, expected):
    def define():
        return fn.msda.targets(source(LABELS), plans(), **arguments)

    assert expected in refusal(define, "targets")


@pytest.mark.parametrize(
    "labels, arguments, expected",
    [
        (-LABELS, {"compact": True}, "expected a class index of at least 0, got -1 for sample 1"),
        (
            np.eye(4, dtype="f4"),
            {"num_classes": 5},
            "a row of 5 floats, got shape (4) for sample 0",
        ),
        (np.eye(4, dtype="f4"), {"compact": True}, "class indices with compact=True, got rows"),
        (
            np.full((4, 2), np.nan, "f4"),
            {},
            "expected finite numbers, got nan for class 0 of sample",
        ),
        (LABELS.astype("f4"), {"num_classes": 4}, "cast class indices to an integer type"),
        (LABELS.astype("f8"), {"num_classes": 4}, "expected an integer type, got double"),
        (np.zeros((4, 2), int), {"num_classes": 4}, "expected one value per sample, got shape (2)"),
    ],
)
def test_targets_refuses_labels(labels, arguments, expected):
    text = refusal(lambda: fn.msda.targets(source(labels), plans(), **arguments), "targets")
    assert "labels: expected" in text and expected in text


def test_targets_refuses_plans_with_more_sources_than_columns():
    three = msda.draw(msda.Mixup(n=3, partner="roll"), 4, 8, 10, seed=0, step=0)
    text = refusal(
        lambda: fn.msda.targets(source(LABELS), plans(three), compact=True, sources=2), "targets"
    )
    assert "sources: expected at least 3, as plan 0 mixes that many samples, got 2" in text


def test_inputs_of_several_batch_sizes_are_refused():
    def define():
        return fn.msda.blend(images(IMAGES[:3]), plans())

    assert "batch size" in refusal(define, "blend").lower()


def test_operators_need_both_inputs():
    for operator in (fn.msda.blend, fn.msda.targets):
        with pytest.raises(ValueError, match="expects .*2 inputs"):
            build(lambda operator=operator: operator(images()))


def test_the_verbs_refuse_at_the_door():
    policy = msda.CutMix()
    with pytest.raises(TypeError, match="images: expected a DataNode .* use dali_msda.mix"):
        dali.mix(IMAGES, LABELS, policy, num_classes=4)
    with pytest.raises(TypeError, match=r"policy: expected a policy such as CutMix\(\), got 'cut"):
        build(lambda: dali.plan(images(), "cutmix"))
    with pytest.raises(ValueError, match="policy: expected .* got PuzzleMix.*torch.PuzzleMix or"):
        build(lambda: dali.plan(images(), msda.PuzzleMix()))
    with pytest.raises(TypeError, match="rng: expected None in a pipeline, got 3; give seed"):
        build(lambda: dali.plan(images(), policy, rng=3))
    with pytest.raises(ValueError, match="got 'bfloat16', which DALI does not have; cast outside"):
        build(lambda: dali.blend(images(), plans(), dtype="bfloat16"))
    with pytest.raises(ValueError, match="dtype: expected 'float32', 'float16' or 'uint8', got 'f"):
        build(lambda: dali.blend(images(), plans(), dtype="float"))
    with pytest.raises(ValueError, match="std: expected finite numbers > 0, got 0"):
        build(lambda: dali.blend(images(), plans(), std=0))
    with pytest.raises(ValueError, match="mean: expected a number or shape"):
        build(lambda: dali.blend(images(), plans(), mean=[1, 2], std=[1, 2, 3]))
