"""Labels: rows and compact targets follow the plan, sum to 1, and mean the same to a loss."""

import numpy as np
import pytest
import torch

import dali_msda as msda
from dali_msda.torch import soft_target_cross_entropy
from tests.reference import mixing as reference
from tests.support.doors import poisoned
from tests.support.variants import CASES, draw_any, make

POLICIES = [
    msda.Mixup(),
    msda.CutMix(prob=0.5),
    msda.Mixup(n=3, partner="derangement"),
    msda.Mixup(n=4, alpha=0.2),
    msda.Choice([msda.Mixup(n=4), msda.CutMix(), msda.Mixup(prob=0.2)]),
    msda.Choice([make(case, prob=0.9) for case in CASES]),
]
ULP = 2.0**-23


def plan_of(policy, batch=60, step=0):
    return draw_any(policy, batch, 9, 11, seed=1, step=step)


def by_numpy(labels, plan, **options):
    rows = len(plan), options.get("num_classes") or labels.shape[1]
    out = poisoned(rows, "float32")
    assert msda.targets(labels, plan, out=out, **options) is out
    return out


def by_torch(labels, plan, **options):
    rows = msda.targets(torch.from_numpy(labels), plan, **options)
    assert rows.dtype == torch.float32
    return rows.numpy()


@pytest.fixture(params=[reference.targets, by_numpy, by_torch], ids=["reference", "numpy", "torch"])
def targets(request):
    return request.param


@pytest.mark.parametrize("policy", POLICIES, ids=range(len(POLICIES)))
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("classes", [1, 2, 10, 1000])
def test_rows_of_class_indices(targets, policy, smoothing, classes):
    plan = plan_of(policy)
    labels = np.random.default_rng(0).integers(0, classes, len(plan))
    options = {"num_classes": classes, "smoothing": smoothing}
    rows = targets(labels, plan, **options)
    np.testing.assert_allclose(
        rows, reference.targets(labels, plan, **options), atol=2 * ULP, rtol=0
    )
    np.testing.assert_allclose(rows.sum(1, dtype=np.float64), 1, atol=4 * ULP)


@pytest.mark.parametrize("policy", POLICIES, ids=range(len(POLICIES)))
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_rows_of_soft_labels(targets, policy, smoothing):
    plan = plan_of(policy)
    labels = np.random.default_rng(0).random((len(plan), 12)).astype(np.float32)
    labels /= labels.sum(1, keepdims=True)
    rows = targets(labels, plan, smoothing=smoothing)
    want = reference.targets(labels, plan, smoothing=smoothing)
    np.testing.assert_allclose(rows, want, atol=2 * ULP, rtol=0)


def test_one_hot_rows_are_class_indices(targets):
    plan = plan_of(POLICIES[-1])
    labels = np.random.default_rng(0).integers(0, 6, len(plan))
    rows = targets(np.eye(6, dtype=np.float32)[labels], plan)
    np.testing.assert_allclose(rows, targets(labels, plan, num_classes=6), atol=ULP)


def test_known_row(targets):
    """Smoothing spreads 0.1 of the mass over four classes, as timm's and Szegedy's do."""
    plan = msda.draw(msda.Mixup(partner="flip"), 2, 4, 4, seed=0, step=0, lam=[0.75, 0.75])
    rows = targets(np.array([1, 3]), plan, num_classes=4, smoothing=0.1)
    assert rows[0] == pytest.approx([0.025, 0.7, 0.025, 0.25])
    assert rows[1] == pytest.approx([0.025, 0.25, 0.025, 0.7])


def test_equal_labels_keep_their_mass(targets):
    """Where one-hot rows are written instead of added, the row's sum is 1 - lambda."""
    for policy in POLICIES:
        plan = plan_of(policy)
        rows = targets(np.full(len(plan), 2), plan, num_classes=5)
        np.testing.assert_allclose(rows, np.eye(5)[[2] * len(plan)], atol=2 * ULP)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64])
def test_labels_of_any_integer_type(kind):
    plan = plan_of(POLICIES[0])
    labels = np.random.default_rng(0).integers(0, 100, len(plan))
    want = msda.targets(labels, plan, num_classes=100)
    np.testing.assert_array_equal(msda.targets(labels.astype(kind), plan, num_classes=100), want)
    strided = np.repeat(labels.astype(kind), 2)[::2]
    np.testing.assert_array_equal(msda.targets(strided, plan, num_classes=100), want)
    np.testing.assert_array_equal(msda.targets(labels.tolist(), plan, num_classes=100), want)


@pytest.mark.parametrize("policy", POLICIES, ids=range(len(POLICIES)))
def test_compact_targets_are_lossless(policy):
    plan = plan_of(policy)
    classes = np.random.default_rng(0).integers(0, 7, len(plan))
    labels, weights = msda.targets(classes, plan, compact=True)
    assert labels.dtype == np.int64 and weights.dtype == np.float32
    assert labels.shape == weights.shape == (len(plan), max(2, plan["sources"].max()))
    rows = np.zeros((len(plan), 7))
    for k in range(labels.shape[1]):
        rows[np.arange(len(plan)), labels[:, k]] += weights[:, k]
    dense = msda.targets(classes, plan, num_classes=7)
    np.testing.assert_allclose(rows, dense, atol=2 * ULP)
    used = np.arange(labels.shape[1]) < plan["sources"][:, None]
    own = np.repeat(classes[:, None], labels.shape[1], 1)
    assert (weights[~used] == 0).all() and (labels[~used] == own[~used]).all()
    named = np.column_stack([plan["own"], plan["partner"], plan["extra"]])[:, : labels.shape[1]]
    np.testing.assert_array_equal(labels[used], classes[named][used])


@pytest.mark.parametrize("policy", POLICIES, ids=range(len(POLICIES)))
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_dense_and_compact_targets_give_one_loss(policy, smoothing):
    """CE(p, w e_a + (1 - w) e_b) = w CE(p, a) + (1 - w) CE(p, b), with and without smoothing."""
    plan = plan_of(policy)
    classes = torch.randint(0, 7, (len(plan),), generator=torch.Generator().manual_seed(0))
    logits = torch.randn(len(plan), 7, dtype=torch.float64)
    rows = msda.targets(classes, plan, num_classes=7, smoothing=smoothing)
    dense = soft_target_cross_entropy(logits, rows.double())
    torch_own = torch.nn.functional.cross_entropy(logits, rows.double())
    compact = soft_target_cross_entropy(
        logits, *msda.targets(classes, plan, compact=True), smoothing=smoothing
    )
    assert float(dense) == pytest.approx(float(torch_own), rel=1e-12)
    assert float(compact) == pytest.approx(float(dense), rel=1e-6)


def test_rows_are_never_written_over_labels_still_to_be_read():
    plan = msda.draw(msda.Mixup(partner="roll"), 5, 4, 4, seed=0, step=0, lam=0.5)
    labels = np.eye(5, dtype=np.float32)
    want = msda.targets(labels.copy(), plan)
    try:
        rows = msda.targets(labels, plan, out=labels)
    except ValueError as error:
        assert "out: expected" in str(error)
    else:
        np.testing.assert_array_equal(rows, want)


def test_mix_is_draw_blend_and_targets():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (8, 9, 11, 3), dtype=np.uint8), np.arange(8)
    blending = {"mean": 128, "std": 64, "dtype": "float16", "layout": "CHW", "mirror": [0, 1] * 4}
    key = {"seed": 3, "step": 4, "rank": 1}
    for policy in POLICIES:
        peaks = msda.saliency(images, mirror=blending["mirror"])
        plan = msda.draw(policy, 8, 9, 11, peaks=peaks, **key)
        mixed, rows = msda.mix(
            images, labels, policy, num_classes=8, smoothing=0.1, **key, **blending
        )
        np.testing.assert_array_equal(mixed, msda.blend(images, plan, **blending))
        want = msda.targets(labels, plan, num_classes=8, smoothing=0.1)
        np.testing.assert_array_equal(rows, want)
        if policy.needs_peaks:  # of images that are not mirrored
            plan = msda.draw(policy, 8, 9, 11, peaks=msda.saliency(images), **key)
        _, compact = msda.mix(images, labels, policy, compact=True, **key)
        for got, one in zip(compact, msda.targets(labels, plan, compact=True), strict=True):
            np.testing.assert_array_equal(got, one)
