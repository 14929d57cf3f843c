"""What is wrong is refused at the door: name, expected, got, and the way out."""

import numpy as np
import pytest
import torch

import dali_msda as msda
from dali_msda.backends import cpu
from dali_msda.policy import METHODS

IMAGES = np.zeros((4, 6, 5, 3), np.uint8)
LABELS = np.array([0, 1, 2, 3])
PLAN = msda.draw(msda.Mixup(), 4, 6, 5, seed=0, step=0)
NAN = float("nan")


def draw(policy=None, batch=4, height=6, width=5, **options):
    policy = msda.Mixup() if policy is None else policy
    return msda.draw(policy, batch, height, width, **{"seed": 0, "step": 0, **options})


def changed(**fields):
    plan = PLAN.copy()
    for name, value in fields.items():
        plan[name][1] = value
    return plan


def blend(images=IMAGES, plan=PLAN, **options):
    return msda.blend(images, plan, **options)


def mix(images=IMAGES, labels=LABELS, **options):
    return msda.mix(images, labels, msda.Mixup(), seed=0, step=0, **options)


def targets(labels=LABELS, plan=PLAN, **options):
    return msda.targets(labels, plan, **{"num_classes": 4, **options})


DRAW = [
    (lambda: draw("cutmix"), "policy: expected .* got 'cutmix'"),
    (lambda: draw(msda.CutMix), "policy: expected .* got"),
    (lambda: draw(batch=-1), "batch: expected .* got -1"),
    (lambda: draw(batch=2.0), "batch: expected .* got 2.0"),
    (lambda: draw(height=0), "height: expected .* got 0"),
    (lambda: draw(width="5"), "width: expected .* got '5'"),
    (lambda: draw(seed=-1), "seed: expected .* got -1"),
    (lambda: draw(seed=2**64), "seed: expected .* got 18446744073709551616"),
    (lambda: draw(seed=None), "seed: expected .* got None"),
    (lambda: draw(step=2**32), "step: expected .* got 4294967296"),
    (lambda: draw(rank=-1), "rank: expected .* got -1"),
    (lambda: draw(lam=NAN), r"lam: expected values in \[0, 1\], got nan"),
    (lambda: draw(lam=[0.5, NAN, 0.5, 0.5]), "lam: expected .* got nan"),
    (lambda: draw(lam=1.1), r"lam: expected values in \[0, 1\], got 1.1"),
    (lambda: draw(lam=-0.1), "lam: expected .* got -0.1"),
    (lambda: draw(lam=[0.5, 0.5]), r"lam: expected .*\(4,\).* got .*\(2,\)"),
    (lambda: draw(lam="half"), "lam: expected .*"),
    (lambda: draw(msda.CutMix(minmax=(0.1, 0.5)), lam=0.5), "lam: expected None with minmax"),
    (lambda: draw(ids=[1, 2, 3]), "ids: expected 4 .* got .*3"),
    (lambda: draw(ids=[1.0, 2.0, 3.0, 4.0]), "ids: expected .* got float64"),
    (lambda: draw(ids=[1, 2, 3, -4]), "ids: expected .* got -4"),
    (lambda: draw(distinct=5), "distinct: expected .* got 5"),
    (lambda: draw(distinct=-1), "distinct: expected .* got -1"),
]
PLANS = [
    (lambda: blend(plan=None), "plan: expected .* got NoneType"),
    (lambda: blend(plan=[1, 2]), "plan: expected .* got list"),
    (lambda: blend(plan=np.zeros(4)), r"plan: expected .* got float64 \(4,\)"),
    (lambda: blend(plan=PLAN[None, None]), r"plan: expected .* got"),
    (lambda: blend(plan=changed(version=2)), r"plan\[1\]: version: expected 1, got 2"),
    (lambda: blend(plan=changed(method=77)), r"plan\[1\]: method: expected .* got 77"),
    (
        lambda: blend(plan=changed(method=len(METHODS) + 1)),
        r"plan\[1\]: method: expected .* got \d+",
    ),
    (lambda: blend(plan=changed(sources=0)), r"plan\[1\]: sources: expected 1 to 4, got 0"),
    (lambda: blend(plan=changed(sources=5)), r"plan\[1\]: sources: expected 1 to 4, got 5"),
    (lambda: blend(plan=changed(partner=4)), r"plan\[1\]: .*expected .*\[0, 4\), got .*4"),
    (lambda: blend(plan=changed(own=-1)), r"plan\[1\]: .*expected .*\[0, 4\), got .*-1"),
    (lambda: blend(plan=changed(weight=NAN)), r"plan\[1\]: weight.*expected .* got .*nan"),
    (lambda: blend(plan=changed(weight=1.5)), r"plan\[1\]: weight.*expected .* got .*1.5"),
    (lambda: blend(plan=changed(outside=NAN)), r"plan\[1\]: .*outside: expected .* got .*nan"),
    (lambda: blend(plan=changed(height=7)), r"plan\[1\]: height.*expected .*6 x 5, got 7 x 5"),
    (lambda: blend(plan=changed(width=4)), r"plan\[1\]: height, width: .*6 x 5, got 6 x 4"),
    (lambda: blend(plan=changed(y0=-1)), r"plan\[1\]: y0, y1: expected .* got -1"),
    (lambda: blend(plan=changed(x1=6)), r"plan\[1\]: x0, x1: expected .* got 0, 6"),
    (lambda: blend(plan=changed(x0=4, x1=10)), r"plan\[1\]: x0, x1: expected .* got 4, 10"),
    (lambda: blend(plan=changed(method=6, x0=4, x1=6)), r"plan\[1\]: x0, x1: .* got 4, 6"),
    (lambda: msda.mask(PLAN, 5, 6), r"plan\[0\]: height, width: expected .*5 x 6, got 6 x 5"),
    (lambda: msda.save("/nonexistent/plan", PLAN), "/nonexistent"),
]
BLEND = [
    (lambda: blend(IMAGES.astype(np.float64)), "images: expected uint8 or float32, got float64"),
    (lambda: blend(IMAGES.astype(np.int8)), "images: expected uint8 or float32, got int8"),
    (lambda: blend(IMAGES.astype(">f4")), "images: expected uint8 or float32, got >f4"),
    (lambda: blend(torch.zeros(4, 6, 5, 3, dtype=torch.float16)), "images: .*got .*float16"),
    (lambda: blend(torch.zeros(4, 6, 5, 3, dtype=torch.bfloat16)), "images: .*got .*bfloat16"),
    (lambda: blend(IMAGES[0]), r"plan\[0\]: height: expected 1, as sequences have, got 6"),
    (lambda: blend(IMAGES[0, 0]), r"images: expected shape \(B, H, W, C\), .* got \(5, 3\)"),
    (lambda: blend(IMAGES.tolist()), "images: expected .* got list"),
    (lambda: blend(np.zeros((4, 6, 0, 3), np.uint8)), "images: expected at least one .* got"),
    (lambda: blend(IMAGES[:3]), r"plan\[\d\]: .*expected indices in \[0, 3\), got"),
    (lambda: blend(IMAGES[:0]), r"plan\[0\]: .*expected indices in \[0, 0\), got"),
    (lambda: blend(IMAGES[:, :5]), "plan.*height, width: expected .*5 x 5, got .*draw the plan"),
    (lambda: blend(torch.zeros(4, 6, 5, 3, device="meta")), "images: expected .*CPU.* got .*meta"),
    (lambda: blend(dtype="int8"), "dtype: expected one of .* got 'int8'"),
    (lambda: blend(dtype="uint8", mean=1.0), "dtype: expected a float .* got 'uint8'"),
    (lambda: blend(IMAGES.astype(np.float32), dtype="uint8"), "dtype: expected .* got 'uint8'"),
    (lambda: blend(layout=["HWC"]), r"layout: expected 'HWC' or 'CHW', got \['HWC'\]"),
    (lambda: blend(layout=None), "layout: expected 'HWC' or 'CHW', got None"),
    (lambda: blend(dtype=["float32"]), r"dtype: expected one of .* got \['float32'\]"),
    (lambda: blend(mean="abc"), r"mean: expected a number or one per channel, .*got 'abc'"),
    (lambda: blend(std=[1, "b", 1]), "std: expected a number or one per channel"),
    (lambda: blend(mean=[[1], [1, 2]]), "mean: expected a number or one per channel"),
    (lambda: blend(std={}), "std: expected a number or one per channel"),
    (lambda: blend(mirror=[[1], [1, 0], 1, 0]), "mirror: expected an array, or a list whose"),
    (lambda: blend(np.broadcast_to(IMAGES[:1], (2**31, 6, 5, 3))), r"images: .* 2\*\*31 samples"),
    (lambda: msda.saliency(np.broadcast_to(IMAGES[:1], (2**31, 6, 5, 3))), r"2\*\*31 samples"),
    (lambda: blend(layout="NCHW"), "layout: expected 'HWC' or 'CHW', got 'NCHW'"),
    (lambda: blend(mean=[1, 2]), r"mean: expected .*\(3,\).* got .*\(2,\)"),
    (lambda: blend(mean=NAN), "mean: expected finite numbers, got nan"),
    (lambda: blend(std=[1, 0, 1]), r"std: expected finite numbers > 0, got \[1.0, 0.0, 1.0\]"),
    (lambda: blend(std=-1.0), "std: expected finite numbers > 0, got -1.0"),
    (lambda: blend(std=1e-320), "std: expected"),
    (lambda: blend(mirror=[1, 0]), r"mirror: expected 4 flags.* got .*\(2,\)"),
    (lambda: blend(mirror=[0.5] * 4), "mirror: expected 4 flags.* got float64"),
    (lambda: blend(mirror=True), "mirror: expected"),
    (lambda: blend(threads=-1), "threads: expected .* got -1"),
    (lambda: blend(threads=1.5), "threads: expected .* got 1.5"),
    (lambda: blend(out=np.zeros((4, 6, 5, 3), np.float32)), "out: expected uint8 .* got float32"),
    (
        lambda: blend(out=np.zeros((4, 3, 6, 5), np.uint8)),
        r"out: .*\(4, 6, 5, 3\), got .*\(4, 3, 6",
    ),
    (lambda: blend(out=np.zeros((3, 6, 5, 3), np.uint8)), r"out: expected .* got .*\(3, 6, 5, 3\)"),
    (lambda: blend(out=np.broadcast_to(IMAGES[:1], IMAGES.shape)), "out: expected .*read-only"),
    (lambda: blend(out=[]), "out: expected .* got list"),
]
TARGETS = [
    (lambda: targets([0, 1, 4, 3]), r"labels\[2\]: expected 0 <= label < 4, got 4; .*num_classes"),
    (lambda: targets([0, -1, 2, 3]), r"labels\[1\]: expected 0 <= label < 4, got -1"),
    (lambda: targets(LABELS + 2**40), r"labels\[0\]: expected .* got 1099511627776"),
    (lambda: targets(np.full(4, 2**64 - 1, np.uint64)), r"labels\[0\]: expected .* got 18446"),
    (lambda: targets(LABELS.astype(float)), r"labels: expected .* got float64 \(4,\)"),
    (lambda: targets(np.zeros((4, 4), int)), r"labels: expected .* got int64 \(4, 4\)"),
    (lambda: targets(LABELS > 1), "labels: expected .* got bool"),
    (lambda: targets("cats"), "labels: expected .* got str"),
    (lambda: targets(LABELS[:2]), r"plan\[\d\]: .*expected indices in \[0, 2\), got"),
    (lambda: targets(np.eye(4), num_classes=5), "num_classes: expected 4.* got 5"),
    (lambda: targets(np.full((4, 4), NAN)), "labels: expected finite .* got NaN"),
    (lambda: targets(num_classes=None), "num_classes: expected .* got None"),
    (
        lambda: targets(num_classes=2**31),
        r"num_classes: expected .* 2\*\*31, got 2147483648",
    ),
    (lambda: targets(num_classes=2**32 + 5), "num_classes: expected fewer .* got 4294967301"),
    (lambda: targets(num_classes=2**70), "num_classes: expected fewer than"),
    (lambda: targets(num_classes=True), "num_classes: expected a whole number, got True"),
    (lambda: targets(np.broadcast_to(np.float32(0), (4, 2**31))), "num_classes: expected fewer"),
    (lambda: targets([[0], [1, 2], 3, 4]), "labels: expected an array, or a list whose"),
    (lambda: targets(np.full(4, 2**63, np.uint64), num_classes=None, compact=True), "labels: .* 2"),
    (lambda: targets(num_classes=0), "num_classes: expected at least 1, got 0"),
    (lambda: targets(num_classes=4.0), "num_classes: expected a whole number, got 4.0"),
    (lambda: targets(smoothing=1.5), "smoothing: expected .* got 1.5"),
    (lambda: targets(smoothing=NAN), "smoothing: expected .* got nan"),
    (lambda: targets(smoothing="0.1"), "smoothing: expected .* got '0.1'"),
    (lambda: targets(np.eye(4), compact=True), "compact: expected False with soft labels"),
    (lambda: targets(smoothing=0.1, compact=True), "compact: expected no smoothing"),
    (
        lambda: targets(out=np.zeros((4, 5), np.float32)),
        r"out: expected .*\(4, 4\), got .*\(4, 5\)",
    ),
    (lambda: targets(out=np.zeros((4, 4))), "out: expected float32 .* got float64"),
    (lambda: targets(out=np.zeros((4, 8), np.float32)[:, ::2]), "out: expected .*contiguous"),
    (lambda: mix(labels=LABELS[:3], num_classes=4), "labels: expected 4.* got 3"),
    (lambda: mix(IMAGES[0], num_classes=4), "labels: expected 6, one per image, got 4"),
    (lambda: mix(IMAGES[0, 0], num_classes=4), "images: expected shape"),
    (lambda: mix(labels=5, num_classes=4), "labels: expected 4, one per image, got 5"),
    (lambda: mix(labels=np.array(5), num_classes=4), "labels: expected 4, one per image, got"),
    (lambda: mix(), "num_classes: expected"),
    (lambda: mix(num_classes=4, colour=1), "colour"),
]


class Elsewhere:
    """An array on a device that is neither the CPU nor a GPU of CUDA."""

    shape, dtype, ndim = IMAGES.shape, IMAGES.dtype, 4

    def __dlpack_device__(self):
        return 8, 0  # kDLMetal

    def __dlpack__(self, **how):
        raise BufferError("not for NumPy")


BLEND += [(lambda: blend(Elsewhere()), r"images: .* by DLPack, got uint8 \(not for NumPy\)")]
CASES = DRAW + PLANS + BLEND + TARGETS


@pytest.mark.parametrize("call, message", CASES, ids=[message for _, message in CASES])
def test_the_message(call, message):
    with pytest.raises((TypeError, ValueError, OSError), match=message):
        call()


def test_files_that_are_no_plans(tmp_path):
    """And a plan that was written by halves never takes the place of a whole one."""
    cases = {"empty": b"", "text": b"not a plan", "cut": None, "other": None, "pickle": None}
    for name, content in cases.items():
        path = tmp_path / name
        if name == "other":
            np.save(path.open("wb"), np.zeros(3))
        elif name == "pickle":
            np.save(path.open("wb"), np.array([{}], object), allow_pickle=True)
        elif name == "cut":
            msda.save(path, PLAN)
            path.write_bytes(path.read_bytes()[:-7])
        else:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: expected"):
            msda.load(path)
    with pytest.raises(FileNotFoundError, match="missing"):
        msda.load(tmp_path / "missing")
    good = tmp_path / "good"
    msda.save(good, PLAN)
    with pytest.raises((TypeError, ValueError)):
        msda.save(good, np.zeros(3))
    np.testing.assert_array_equal(msda.load(good), PLAN)
    assert {path.name for path in tmp_path.iterdir()} == {*cases, "good"}


def test_nothing_is_written_when_something_is_wrong():
    out = np.full_like(IMAGES, 7)
    for options in ({"layout": "NCHW"}, {"mean": NAN}, {"mirror": [1]}, {"threads": -1}):
        with pytest.raises(ValueError):
            blend(out=out, **options)
    rows = np.full((4, 4), 7, np.float32)
    for labels in ([0, 1, 2, 9], [0, 1, 2]):
        with pytest.raises(ValueError):
            targets(labels, out=rows)
    assert (out == 7).all() and (rows == 7).all()


def test_a_plan_of_too_many_records():
    """The kernels count them in 32 bits."""
    many = np.broadcast_to(PLAN[:1], 2**31)
    assert cpu.check(many, 4, None) == "plan: expected fewer than 2**31 records, got 2147483648"


def test_memory_that_is_refused_is_a_memory_error_with_its_size():
    """More than any process can address: nothing is taken."""
    many = np.broadcast_to(np.int64(0), 2**20)
    plan = np.zeros(2**20, msda.PLAN_DTYPE)
    plan["version"], plan["sources"], plan["weight"] = 1, 1, 1
    plan["depth"], plan["height"], plan["width"] = 1, 2**20, 2**20
    with pytest.raises(MemoryError, match=r"memory: expected 9007199.* GB for float32 \(1048576,"):
        msda.targets(many, plan, num_classes=2**31 - 1)
    with pytest.raises(MemoryError, match="memory: expected .* GB for float32"):
        msda.mask(plan, 2**20, 2**20)
