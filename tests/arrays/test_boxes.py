"""Boxes: where the pixels of an object went, and how much of it shows."""

import numpy as np
import pytest
import torch

import dali_msda as msda
from dali_msda.annotations import sources
from dali_msda.policy import METHODS
from tests.support.annotated import CUTOUT, RESIZEMIX, VARIANTS, plan_of

GRID, FINE = 8, 16  # corners and points of the brute-force measure, per pixel and axis
SHAPES = [(6, 9, 14), (4, 11, 6), (2, 1, 1), (1, 7, 5)]
HALF = msda.ResizeMix(tau=(0.5, 0.5))
SOFT = [METHODS[name].code for name in ("mixup", "gmix")]


def boxes_of(shape, seed=0, most=4):
    """Random boxes per sample whose corners are eighths of a pixel; some samples have none."""
    rng = np.random.default_rng(seed)
    batch, height, width = shape
    boxes, labels = [], []
    for _ in range(batch):
        n = rng.integers(0, most + 1)
        xs = np.sort(rng.integers(0, width * GRID + 1, (n, 2)) / GRID, 1)
        ys = np.sort(rng.integers(0, height * GRID + 1, (n, 2)) / GRID, 1)
        boxes.append(np.column_stack([xs[:, 0], ys[:, 0], xs[:, 1], ys[:, 1]]))
        labels.append(rng.integers(0, 90, n))
    return boxes, labels


def shown_weights(record, own):
    """(sample, whether it is the shrunk one, weight at every pixel) for all that is visible."""
    named = [record["own"], record["partner"], *record["extra"]][: record["sources"]]
    if record["sources"] == 1:
        planes = [own if record["method"] == CUTOUT else np.ones_like(own)]
    elif record["sources"] == 2:
        planes = [own, 1 - own]
    else:
        weights = [record["weight"], record["partner_weight"], *record["extra_weight"]]
        planes = [np.full_like(own, w) for w in weights[: record["sources"]]]
    found = {}
    for k, (index, plane) in enumerate(zip(named, planes, strict=True)):
        key = int(index), k == 1 and record["method"] == RESIZEMIX
        found[key] = found.get(key, 0) + plane.astype(np.float64)
    return [(*key, plane) for key, plane in found.items()]


def brute_force(box, plane):
    """Mean weight and the corners of what shows, from a fine grid of points in the box."""
    plane = np.pad(plane, ((0, 1), (0, 1)))  # a shrunk box may end past the border
    height, width = plane.shape
    xs = (np.arange(width * FINE) + 0.5) / FINE
    ys = (np.arange(height * FINE) + 0.5) / FINE
    xs, ys = xs[(xs > box[0]) & (xs < box[2])], ys[(ys > box[1]) & (ys < box[3])]
    if not len(xs) or not len(ys):
        return 0.0, None
    weights = plane[np.ix_(ys.astype(int), xs.astype(int))]
    down, across = np.flatnonzero(weights.any(1)), np.flatnonzero(weights.any(0))
    if not len(down):
        return 0.0, None
    half = 0.5 / FINE
    left = xs[across[0]] - half, ys[down[0]] - half, xs[across[-1]] + half, ys[down[-1]] + half
    return weights.mean(), np.array(left)


def expected(boxes, labels, record, own, mirror, min_visible):
    width, rows, tags, weights = own.shape[1], [], [], []
    fades = record["method"] in SOFT or (record["method"] == 3 and record["soft"] > 0)
    for index, shrunk, plane in shown_weights(record, own):
        for box, label in zip(boxes[index], labels[index], strict=True):
            x0, y0, x1, y1 = box
            box = [width - x1, y0, width - x0, y1] if mirror[index] else [x0, y0, x1, y1]
            if shrunk:
                box = np.array(box) / 2 + [record["x0"], record["y0"]] * 2
            weight, left = brute_force(box, plane)
            if left is None or weight == 0 or np.float32(weight) < np.float32(min_visible):
                continue
            rows.append(box if fades else left)
            tags.append(label)
            weights.append(weight)
    return np.array(rows).reshape(-1, 4), np.array(tags), np.array(weights)


@pytest.mark.parametrize("min_visible", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("policy", [*VARIANTS, HALF], ids=str)
def test_boxes_follow_the_mask(policy, shape, min_visible):
    plan = plan_of(policy, shape)
    halves = (plan["falloff"][:, 1:] == 2).all(1)  # other shrunk boxes lie off the fine grid
    plan = plan[(plan["method"] != RESIZEMIX) | halves]
    boxes, labels = boxes_of(shape)
    mirror = np.random.default_rng(1).integers(0, 2, shape[0])
    got = msda.boxes(boxes, labels, plan, mirror=mirror, min_visible=min_visible)
    own = msda.mask(plan, *shape[1:]) if len(plan) else []
    assert [len(part) for part in got] == [len(plan)] * 3
    for i, record in enumerate(plan):
        rows, tags, weights = expected(boxes, labels, record, own[i], mirror, min_visible)
        np.testing.assert_allclose(got[0][i], rows, atol=1e-9)
        np.testing.assert_array_equal(got[1][i], tags)
        np.testing.assert_allclose(got[2][i], weights, atol=1e-6)
        assert got[2][i].dtype == np.float32 and got[0][i].shape == (len(tags), 4)


@pytest.mark.parametrize("policy", VARIANTS, ids=str)
def test_weights_and_boxes_are_in_range(policy):
    shape = (8, 13, 9)
    boxes, labels = boxes_of(shape, seed=2)
    for step in range(5):
        plan = plan_of(policy, shape, step)
        for rows, tags, weights in zip(*msda.boxes(boxes, labels, plan), strict=True):
            assert len(rows) == len(tags) == len(weights)
            assert ((weights >= np.float32(0.3)) & (weights <= 1)).all()
            assert (rows[:, :2] < rows[:, 2:]).all()
            assert ((rows >= 0) & (rows <= [9, 13, 9, 13])).all()


def test_a_partner_that_is_shrunk():
    """Its boxes are halved with it, from the corner of the box on that it is pasted into."""
    shape = (2, 40, 60)
    plan = plan_of(msda.ResizeMix(tau=(0.5, 0.5), partner="flip"), shape)
    boxes = [np.array([[0, 0, 30, 40], [12, 8, 24, 16.0]]), np.zeros((0, 4))]
    labels = [np.array([7, 8]), np.zeros(0, int)]
    for flag in (0, 1):
        rows, tags, weights = (
            part[1] for part in msda.boxes(boxes, labels, plan, mirror=[flag, 0])
        )
        record = plan[1]
        corner = np.array([record["x0"], record["y0"]] * 2)
        want = [[30, 0, 60, 40], [36, 8, 48, 16]] if flag else boxes[0]
        np.testing.assert_allclose(rows, corner + np.array(want) / 2)
        np.testing.assert_array_equal(tags, [7, 8])
        np.testing.assert_array_equal(weights, 1)


@pytest.mark.parametrize("mirror", [[0, 0], [1, 1], [1, 0]])
@pytest.mark.parametrize("seed", range(8))
def test_the_box_of_a_shrunk_object_holds_its_pixels(seed, mirror):
    """Against the pixels themselves: an object of one colour, found again in the mixed image."""
    rng = np.random.default_rng(seed)
    shape = (2, *rng.integers(20, 70, 2))
    plan = msda.draw(msda.ResizeMix(tau=(0.3, 0.9), partner="flip"), *shape, seed=seed, step=0)
    x0, x1 = np.sort(rng.choice(np.arange(0, shape[2], 4), 2, replace=False))
    y0, y1 = np.sort(rng.choice(np.arange(0, shape[1], 4), 2, replace=False))
    maps = np.zeros(shape, np.uint8)
    maps[0, y0:y1, x0:x1] = 1
    found = np.argwhere(msda.segmentation(maps, plan, mirror=mirror)[1])
    boxes = [np.array([[x0, y0, x1, y1]], float), np.zeros((0, 4))]
    rows, _, weights = msda.boxes(boxes, [[1], []], plan, mirror=mirror, min_visible=0)
    low, high = found.min(0)[::-1], found.max(0)[::-1] + 1
    np.testing.assert_allclose(rows[1][0], [*low, *high], atol=1.0)
    seen = (maps[0].sum() / plan["falloff"][1, 1] / plan["falloff"][1, 2]) * weights[1][0]
    border = 2 * (high - low + 1).sum()
    assert abs(len(found) - seen) <= border


@pytest.mark.parametrize("policy", [msda.CutMix(), msda.Mixup(), msda.FMix(), msda.GMix()], ids=str)
def test_nothing_changes_at_lambda_1(policy):
    shape = (5, 9, 12)
    boxes, labels = boxes_of(shape)
    area = [(b[:, 2] > b[:, 0]) & (b[:, 3] > b[:, 1]) for b in boxes]
    rows, tags, weights = msda.boxes(boxes, labels, plan_of(policy, shape, lam=1.0))
    for i, some in enumerate(area):
        np.testing.assert_array_equal(rows[i], boxes[i][some])
        np.testing.assert_array_equal(tags[i], labels[i][some])
        np.testing.assert_array_equal(weights[i], 1)


def test_a_sample_that_meets_itself_shows_once():
    for policy in (msda.Mixup(), msda.CutMix(), msda.Mixup(n=4), msda.GMix()):
        plan = plan_of(policy, (1, 8, 8))
        rows, tags, weights = msda.boxes([[[1, 2, 5, 6]]], [[3]], plan)
        np.testing.assert_array_equal(rows[0], [[1, 2, 5, 6]])
        assert tags[0].tolist() == [3] and weights[0] == pytest.approx([1], abs=1e-6)


def test_what_a_box_hides_is_dropped_or_cut():
    """A square of 4 x 4 over the right half of one box, and over all of another."""
    plan = plan_of(msda.CutMix(partner="flip"), (2, 8, 8), lam=0.5)
    plan["y0"], plan["x0"], plan["y1"], plan["x1"] = 0, 4, 4, 8
    boxes = [[[2, 0, 6, 4], [5, 1, 7, 3], [0, 4, 8, 8]], [[0, 0, 8, 2]]]
    rows, tags, weights = msda.boxes(boxes, [["a", "b", "c"], ["d"]], plan)
    assert rows[0].tolist() == [[2, 0, 4, 4], [0, 4, 8, 8], [4, 0, 8, 2]]
    assert tags[0].tolist() == ["a", "c", "d"]
    assert weights[0].tolist() == [0.5, 1, 0.5]
    assert rows[1].tolist() == [[0, 0, 4, 2], [4, 0, 6, 4], [5, 1, 7, 3]]
    assert weights[1].tolist() == [0.5, 0.5, 1]
    assert [len(w) for w in msda.boxes(boxes, [[0] * 3, [0]], plan, min_visible=0.6)[2]] == [1, 1]


def test_a_weight_that_is_just_enough():
    """Weights are float32, and so is what they are compared with."""
    plan = plan_of(msda.Mixup(partner="flip"), (2, 5, 5), lam=0.7)
    thirds = [[[0.1, 0.2, 3.7, 4.4]], []]
    assert len(msda.boxes(thirds, [[1], []], plan, min_visible=0.7)[2][0]) == 1
    plan = plan_of(msda.CutMix(), (2, 5, 5), lam=1.0)
    assert len(msda.boxes(thirds, [[1], []], plan, min_visible=1.0)[2][0]) == 1


def test_boxes_are_cut_off_at_the_border_of_the_image():
    plan = plan_of(msda.CutMix(), (1, 6, 9), lam=1.0)
    given = [[[-3, 1, 4, 8], [9, 0, 12, 3], [-4, -4, -1, -1], [2, 2, 2, 5]]]
    rows, tags, weights = msda.boxes(given, [[0, 1, 2, 3]], plan, min_visible=0)
    assert rows[0].tolist() == [[0, 1, 4, 6]] and tags[0].tolist() == [0] and weights[0] == [1]


def test_kinds_and_types():
    shape = (4, 9, 12)
    plan = plan_of(msda.CutMix(), shape)
    boxes, labels = boxes_of(shape, seed=5)
    want = msda.boxes(boxes, labels, plan)
    tensors = msda.boxes(
        [torch.from_numpy(b) for b in boxes], [torch.from_numpy(t) for t in labels], plan
    )
    for part, other in zip(tensors, want, strict=True):
        assert all(isinstance(one, torch.Tensor) for one in part)
        for one, two in zip(part, other, strict=True):
            np.testing.assert_array_equal(one.numpy(), two)
    assert all(b.dtype == np.float64 for b in want[0])
    single = msda.boxes([b.astype(np.float32) for b in boxes], labels, plan)
    assert all(b.dtype == np.float32 for b in single[0])
    whole = msda.boxes([[[1, 2, 5, 6]]] * 4, np.eye(4, dtype=np.float32)[:, None], plan)
    assert all(b.dtype == np.float32 for b in whole[0])
    assert all(t.shape == (len(w), 4) for t, w in zip(whole[1], whole[2], strict=True))


def test_no_boxes_and_no_samples():
    assert msda.boxes([], [], plan_of(msda.CutMix(), (0, 4, 4))) == ([], [], [])
    plan = plan_of(msda.ResizeMix(), (3, 4, 4))
    for none in ([], np.zeros((0, 4)), torch.zeros(0), np.zeros((0, 4), np.float32)):
        rows, tags, weights = msda.boxes([none] * 3, [[]] * 3, plan)
        assert [tuple(one.shape) for one in rows] == [(0, 4)] * 3
        assert [len(one) for one in (*tags, *weights)] == [0] * 6


PLAN = plan_of(msda.Mixup(), (2, 6, 5))
BOXES, LABELS = [[[0, 0, 2, 2]], []], [[1], []]


def boxes(given=BOXES, labels=LABELS, plan=PLAN, **options):
    return msda.boxes(given, labels, plan, **options)


def sized(which, pixels):
    """The plan with records that claim to be of another size."""
    plan = PLAN.copy()
    plan["height"][which] = plan["width"][which] = pixels
    return plan


BOX = [[0, 0, 2, 2]]
ERRORS = [
    (lambda: boxes(None), "boxes: expected a list, one entry per sample, got None"),
    (lambda: boxes({}), "boxes: expected a list"),
    (lambda: boxes(np.array(3)), "boxes: expected a list"),
    (lambda: boxes(labels=3), "labels: expected a list"),
    (lambda: boxes(labels=[[1]]), "labels: expected 2, one per entry of boxes, got 1"),
    (lambda: boxes(labels=[[1, 2], []]), r"labels\[0\]: expected 1, one per box, got .*\(2,\)"),
    (lambda: boxes(labels=[np.int64(1), []]), r"labels\[0\]: expected"),
    (
        lambda: boxes([BOX, BOX], labels=[torch.tensor([1]), [b"cat"]]),
        r"labels\[1\]: expected a type like that of labels\[0\], int64, got \|?S3",
    ),
    (
        lambda: boxes([[], BOX], labels=[torch.empty(0), [None]]),
        r"labels\[1\]: expected a type like that of labels\[0\], float32, got object",
    ),
    (lambda: boxes([[0, 0, 2, 2], []]), r"boxes\[0\]: expected .*\(n, 4\).* got int64 \(4,\)"),
    (lambda: boxes([[[0, 0, 2]], []]), r"boxes\[0\]: expected .*got int64 \(1, 3\)"),
    (lambda: boxes([[["a"] * 4], []]), r"boxes\[0\]: expected numbers"),
    (lambda: boxes(["box", []]), r"boxes\[0\]: expected a NumPy array or a torch tensor, got str"),
    (lambda: boxes([[[4, 0, 2, 2]], []]), r"boxes\[0\]\[0\]: .*x0 <= x1 .*got \[4.0.* converted"),
    (lambda: boxes([[[0, np.nan, 2, 2]], []]), r"boxes\[0\]\[0\]: expected finite"),
    (lambda: boxes(min_visible=1.5), r"min_visible: expected a share in \[0, 1\], got 1.5"),
    (lambda: boxes(min_visible="all"), "min_visible: expected"),
    (lambda: boxes(mirror=[1]), "mirror: expected 2 flags"),
    (lambda: boxes(BOXES[:1], LABELS[:1]), r"plan\[\d\]: .*expected indices in \[0, 1\)"),
    (lambda: boxes(plan=[]), "plan: expected records"),
    (lambda: boxes([[[1], [1, 2]], []]), r"boxes\[0\]: expected an array, or a list whose entries"),
]


@pytest.mark.parametrize("call, message", ERRORS, ids=[message for _, message in ERRORS])
def test_the_message(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


@pytest.mark.parametrize(
    "which, message",
    [
        (0, r"plan\[1\]: .*height, width: expected .* 1 x 40000 x 40000, got 1 x 6 x 5"),
        (1, r"plan\[1\]: .*height, width: expected .* 1 x 6 x 5, got 1 x 40000 x 40000"),
    ],
)
def test_records_of_false_sizes_are_refused_before_masks_are_made(which, message, monkeypatch):
    """Those masks would take gigabytes."""
    monkeypatch.setattr(sources, "mask", None)
    with pytest.raises(ValueError, match=message):
        boxes(plan=sized(which, 40_000))
    with pytest.raises(
        ValueError, match=r"plan\[0\]: size: expected fewer than 2\*\*31 pixels, got"
    ):
        boxes(plan=sized([0, 1], 50_000))


def test_empty_labels_have_no_say_in_the_type():
    labels = [torch.tensor([3]), np.array([], object)]
    _, mixed, _ = msda.boxes([BOX, []], labels, plan_of(msda.CutMix(partner="flip"), (2, 8, 8)))
    assert mixed[0].dtype == torch.int64
