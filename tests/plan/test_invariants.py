"""Properties of a mixed batch that hold exactly, over random policies, shapes and types."""

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

import dali_msda as msda
from dali_msda.policy import METHODS, codes
from dali_msda.torch import soft_target_cross_entropy
from tests.reference import mixing as reference
from tests.support.doors import DOORS, widened
from tests.support.oracle import assert_same_plan
from tests.support.variants import IN_LOADERS, SHARES_THE_PARTNER, draw_any, peaks_for

SIZES = st.integers(1, 40)
ALPHAS = st.sampled_from([0.01, 0.2, 1.0, 8.0, 100.0])
PROBS = st.sampled_from([0.0, 0.5, 1.0])
BOXES = st.sampled_from(["clip", "inside", "wrap"])
SHARE, LAM = st.floats(0, 1), st.none() | st.floats(0, 1)
ENDS = st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted).map(tuple)
ANY, BIJECTIVE = ["permutation", "derangement", "flip", "roll"], ["permutation", "flip"]
FMIX = {
    "decay": st.floats(0, 10),
    "max_soft": st.just(0.0) | st.floats(0, 0.5),
    "rounding": st.sampled_from(["nearest", "stochastic", "coin"]),
    "reformulate": st.booleans(),
}
SETTINGS = {
    "mixup": st.fixed_dictionaries({"n": st.integers(2, 4)}),
    "cutmix": st.fixed_dictionaries({"box": BOXES, "minmax": st.none() | ENDS}),
    "fmix": st.fixed_dictionaries({**FMIX, "modes": st.none() | st.integers(1, 50)})
    | st.fixed_dictionaries({**FMIX, "law": st.just("legacy")}),
    "hmix": st.fixed_dictionaries(
        {
            "r": SHARE,
            "gamma": st.none() | ALPHAS,
            "mode": st.sampled_from(["exact", "nominal"]),
            "box": BOXES,
        }
    ),
    "gmix": st.fixed_dictionaries({"mode": st.sampled_from(["code", "paper", "exact"])}),
    "resizemix": st.fixed_dictionaries({"tau": ENDS}),
    "saliencymix": st.fixed_dictionaries({"box": BOXES}),
    "cutout": st.fixed_dictionaries({"length": st.integers(1, 50)}),
}
for name in IN_LOADERS:  # of others those that their cards name
    SETTINGS.setdefault(name, st.sampled_from(METHODS[name].variants))


@st.composite
def methods(
    draw, names=tuple(IN_LOADERS), scopes=("sample", "batch"), partners=ANY, minmax=True, **fixed
):
    """One method with any settings that go together; ``fixed`` ones where it has them."""
    common = {
        "alpha": draw(ALPHAS),
        "prob": draw(PROBS),
        "scope": draw(st.sampled_from(scopes)),
        "partner": draw(st.sampled_from(partners)),
    }
    name = draw(st.sampled_from(names))
    settings = draw(SETTINGS[name])
    settings = settings | {key: value for key, value in fixed.items() if key in settings}
    if name == "mixup" and (common["scope"] == "pair" or common["partner"] == "flip"):
        settings["n"] = 2
    if name == "cutmix" and not minmax:
        settings["minmax"] = None
    return getattr(msda, METHODS[name].policy)(**settings, **common)


def policies(**restricted):
    """Methods, choices among them and alternations of those."""
    one = methods(**restricted)
    several = st.lists(one, min_size=1, max_size=3)
    choices = st.builds(msda.Choice, several, scope=st.sampled_from(["sample", "batch"]))
    return (
        one | choices | st.builds(msda.Alternate, st.lists(one | choices, min_size=1, max_size=3))
    )


# Each pixel is the one's or the other's.
CUT = codes("cuts")
MIXES = [name for name in IN_LOADERS if "erases" not in METHODS[name].traits]
PIXELS_COUNT = ["mixup", "cutmix", "fmix", "resizemix", "saliencymix"]
MEANS_MIX = ["fmix", "gmix"]
SHAPES = st.tuples(st.integers(1, 9), SIZES, SIZES, st.integers(1, 5))
KEYS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**64 - 1),
        "step": st.integers(0, 2**32 - 1),
        "rank": st.integers(0, 99),
    }
)


def images_of(shape, dtype, seed):
    rng = np.random.default_rng(seed)
    if dtype == "uint8":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return (rng.standard_normal(shape) * 100).astype(np.float32)


DTYPES = st.sampled_from(["uint8", "float32"])


@given(policies(), SHAPES, KEYS)
def test_plans_follow_the_definitions(policy, shape, key):
    plan = draw_any(policy, *shape[:3], **key)
    peaks = peaks_for(policy, *shape[:3])
    want = reference.draw(policy, *shape[:3], drawn=plan, peaks=peaks, **key)
    assert_same_plan(plan, want)


@given(policies(), SHAPES, KEYS, DTYPES, st.integers(0, 99), st.sampled_from(["HWC", "CHW"]))
def test_pixels_follow_the_definitions(policy, shape, key, dtype, seed, layout):
    images = images_of(shape, dtype, seed)
    plan = draw_any(policy, *shape[:3], **key)
    mirror = np.random.default_rng(seed).random(shape[0]) < 0.5
    options = {"mirror": mirror, "layout": layout}
    want = DOORS["reference"](images, plan, **options)
    np.testing.assert_array_equal(msda.blend(images, plan, **options), want)


@given(methods(SHARES_THE_PARTNER, scopes=["batch"], minmax=False), SHAPES, KEYS, DTYPES, LAM)
def test_a_shared_mask_keeps_the_sum_of_the_batch(policy, shape, key, dtype, lam):
    """Every image goes out with the weights it came in with, only distributed differently."""
    lam = None if getattr(policy, "n", 2) > 2 else lam
    images = images_of(shape, dtype, 0)
    plan = draw_any(policy, *shape[:3], lam=lam, **key)
    mixed = msda.blend(images, plan, dtype="float32")
    sums = images.sum(0, dtype=np.float64), mixed.sum(0, dtype=np.float64)
    np.testing.assert_allclose(*sums, rtol=1e-6, atol=1e-3)
    rows = msda.targets(np.arange(shape[0]), plan, num_classes=shape[0])
    np.testing.assert_allclose(rows.sum(0), 1, atol=1e-6)
    if np.isin(plan["method"], CUT).all() and not plan["soft"].any():
        np.testing.assert_array_equal(*sums)


@given(methods(SHARES_THE_PARTNER, scopes=["pair"], partners=BIJECTIVE), SHAPES, KEYS, DTYPES)
def test_a_pair_keeps_its_sum(policy, shape, key, dtype):
    images = images_of(shape, dtype, 0)
    plan = draw_any(policy, *shape[:3], **key)
    partner = plan["partner"]
    np.testing.assert_array_equal(partner[partner], np.arange(shape[0]))
    mixed = msda.blend(images, plan, dtype="float32").astype(np.float64)
    wide = images.astype(np.float64)
    np.testing.assert_allclose(mixed + mixed[partner], wide + wide[partner], rtol=1e-6, atol=1e-4)
    assert (plan["weight"] == plan["weight"][partner]).all()


@given(
    policies(names=SHARES_THE_PARTNER),
    KEYS,
    st.sampled_from(["uint8", "float32", "float16", "bfloat16"]),
    hnp.arrays(np.float32, (5, 7, 3), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
)
def test_equal_images_stay_as_they_are(policy, key, dtype, image):
    """Exactly, in every type; a mean computed as w x + (1 - w) x would not."""
    batch = np.stack([np.abs(image % 256).astype(np.uint8) if dtype == "uint8" else image] * 6)
    plan = draw_any(policy, 6, 5, 7, **key)
    alone = draw_any(msda.Mixup(prob=0.0), 6, 5, 7, seed=0, step=0)
    got, want = (widened(msda.blend(batch, p, dtype=dtype), dtype) for p in (plan, alone))
    np.testing.assert_array_equal(got, want)
    if dtype in ("uint8", "float32"):
        np.testing.assert_array_equal(got, batch)


@given(methods(MIXES, minmax=False), SHAPES, KEYS, DTYPES)
def test_lambda_1_is_the_batch_and_0_the_permuted_batch(policy, shape, key, dtype):
    images, labels = images_of(shape, dtype, 0), np.arange(shape[0])
    plan = draw_any(policy, *shape[:3], lam=1.0, **key)
    np.testing.assert_array_equal(msda.blend(images, plan), images)
    rows = msda.targets(labels, plan, num_classes=shape[0])
    np.testing.assert_array_equal(rows, np.eye(shape[0])[labels])
    plan = draw_any(policy, *shape[:3], lam=0.0, **key)
    cut_off = isinstance(policy, msda.CutMix | msda.SaliencyMix) and policy.box == "clip"
    more = getattr(policy, "n", 2) > 2 or getattr(policy, "mode", "") == "paper"
    if not cut_off and not more:
        mixed = plan["sources"] == 2
        want = np.where(mixed[:, None, None, None], images[plan["partner"]], images)
        np.testing.assert_array_equal(msda.blend(images, plan), want)
        assert (plan["weight"][mixed] == getattr(policy, "reformulate", False)).all()


@given(policies(), SHAPES, KEYS, st.integers(1, 12), st.floats(0, 1), st.booleans())
def test_rows_sum_to_1(policy, shape, key, classes, smoothing, soft):
    plan = draw_any(policy, *shape[:3], **key)
    labels = np.random.default_rng(0).integers(0, classes, shape[0])
    if soft:
        labels = np.random.default_rng(0).dirichlet([1.0] * classes, shape[0]).astype(np.float32)
    rows = msda.targets(labels, plan, num_classes=classes, smoothing=smoothing)
    np.testing.assert_allclose(rows.sum(1, dtype=np.float64), 1, atol=2e-6)
    assert (rows >= 0).all() and (rows <= 1 + 1e-6).all()


@given(policies(), st.integers(1, 9), KEYS, st.integers(2, 12), st.floats(0, 0.5))
@settings(max_examples=40)
def test_compact_targets_are_as_good_as_rows(policy, batch, key, classes, smoothing):
    plan = draw_any(policy, batch, 8, 8, **key)
    labels = torch.randint(0, classes, (batch,))
    logits = torch.randn(batch, classes, dtype=torch.float64)
    rows = msda.targets(labels, plan, num_classes=classes, smoothing=smoothing)
    compact = msda.targets(labels, plan, compact=True)
    dense = soft_target_cross_entropy(logits, rows.double(), reduction="none")
    sparse = soft_target_cross_entropy(logits, *compact, smoothing=smoothing, reduction="none")
    torch.testing.assert_close(sparse, dense, rtol=1e-5, atol=1e-6)


@given(policies(names=PIXELS_COUNT, n=2, max_soft=0.0, reformulate=False), SHAPES, KEYS)
def test_label_weight_is_the_mean_of_the_mask(policy, shape, key):
    plan = draw_any(policy, *shape[:3], **key)
    share = msda.mask(plan, *shape[1:3]).mean((1, 2), dtype=np.float64)
    np.testing.assert_array_equal(plan["weight"], share.astype(np.float32))
    np.testing.assert_array_equal(plan["partner_weight"], np.float32(1) - plan["weight"])


@given(policies(names=MEANS_MIX, mode="code", reformulate=False), SHAPES, KEYS)
def test_label_weight_is_nearly_the_mean_of_a_soft_mask(policy, shape, key):
    plan = draw_any(policy, *shape[:3], **key)
    share = msda.mask(plan, *shape[1:3]).mean((1, 2), dtype=np.float64)
    np.testing.assert_allclose(plan["weight"], share, atol=5e-7)
    np.testing.assert_array_equal(plan["partner_weight"], np.float32(1) - plan["weight"])


@given(policies(), SHAPES, KEYS, LAM)
def test_masks_and_weights_are_shares(policy, shape, key, lam):
    if "minmax=(" in repr(policy):
        lam = None
    plan = draw_any(policy, *shape[:3], lam=lam, **key)
    masks = msda.mask(plan, *shape[1:3])
    assert ((masks >= 0) & (masks <= 1)).all()
    for field in ("weight", "partner_weight", "extra_weight", "lam"):
        assert ((plan[field] >= 0) & (plan[field] <= 1)).all()


@given(policies(), SHAPES, KEYS, st.data())
def test_padding_stays_and_is_named_by_nobody(policy, shape, key, data):
    distinct = data.draw(st.integers(0, shape[0]))
    images = images_of(shape, "uint8", 0)
    plan = draw_any(policy, *shape[:3], distinct=distinct, **key)
    np.testing.assert_array_equal(msda.blend(images, plan)[distinct:], images[distinct:])
    used = np.column_stack([plan["own"], plan["partner"], plan["extra"]])[:distinct]
    assert (used < distinct).all()
    whole = draw_any(policy, distinct, *shape[1:3], **key)
    np.testing.assert_array_equal(plan[:distinct], whole)


@given(policies(), SHAPES, KEYS)
@settings(max_examples=50)
def test_a_plan_survives_its_file(tmp_path_factory, policy, shape, key):
    path = tmp_path_factory.mktemp("plans") / "plan.npy"
    plan = draw_any(policy, *shape[:3], **key)
    msda.save(path, plan)
    np.testing.assert_array_equal(msda.load(path), plan)
