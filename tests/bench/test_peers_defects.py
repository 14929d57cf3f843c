"""What went wrong in other libraries, each read in their source or reported by their users.

Every test holds the behaviour that their users wanted.
"""

import itertools

import numpy as np
import pytest

import dali_msda as msda
from dali_msda.policy import METHODS
from tests.support.variants import CASES, make, name_of

RNG = np.random.default_rng(0)
PEAKS = RNG.integers(0, 20, (400, 2))
# Those whose label is another by definition: lambda itself, or the own one.
OF_THE_MASK = [
    case
    for case in CASES
    if case[0] != "cutout"
    and not case[1].get("reformulate")
    and case[1].get("mode") not in ("paper", "nominal")
]


def draw(policy, batch=400, height=20, width=30, *, seed=0, step=0, **key):
    peaks = PEAKS[:batch] % (height, width)
    return msda.draw(policy, batch, height, width, seed=seed, step=step, peaks=peaks, **key)


def transitions(masks):
    """Changes along each row, round the border."""
    return (masks != np.roll(masks, 1, -1)).sum(-1)


def test_fmix_uses_all_frequencies_along_both_axes():
    """FMix's released code, and its copies, index an axis too early: one wave in each row."""
    masks = msda.mask(draw(msda.FMix(decay=2.0), lam=0.5, batch=100), 20, 30)
    assert transitions(masks).max() >= 4 and transitions(masks.transpose(0, 2, 1)).max() >= 4
    released = msda.mask(draw(msda.FMix(law="legacy", decay=2.0), lam=0.5, batch=100), 20, 30)
    assert transitions(released).max() == 2


@pytest.mark.parametrize("case", OF_THE_MASK, ids=name_of)
def test_the_own_label_weighs_what_the_own_image_does(case):
    """Inverted (a smoothed box), uncorrected (a clipped one), of another lambda (a given one)."""
    for lam in (None, 0.2, 0.9):
        if lam is not None and {"minmax", "n"} & case[1].keys():
            continue
        plan = draw(make(case), lam=lam)
        means = msda.mask(plan, 20, 30).mean((1, 2))
        assert means.std() > 0.01 or lam is not None
        exact = 1.5 / 600 if case[1].get("mode") == "exact" else 1e-5
        np.testing.assert_allclose(plan["weight"], means, atol=exact)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_row_of_equal_labels_keeps_its_mass(smoothing):
    """Written twice into one cell, the row sums to 1 - lambda."""
    rows = msda.targets(np.full(400, 3), draw(msda.Mixup()), num_classes=5, smoothing=smoothing)
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(rows[:, 3], 1 - smoothing + smoothing / 5, atol=1e-6)


def test_the_box_has_the_area_that_lambda_asks_for():
    """A share of the side taken for one of the area, then for a side again."""
    for lam in (0.19, 0.51, 0.75):
        plan = draw(msda.CutMix(box="inside"), 50, 200, 300, lam=lam)
        np.testing.assert_allclose(plan["weight"], lam, atol=0.005)


def test_the_sides_follow_their_own_axes():
    """The width of a box computed from the height of the image."""
    for box in ("clip", "inside", "wrap"):
        plan = draw(msda.CutMix(box=box), 300, 40, 200, lam=0.75)
        assert (plan["y1"] - plan["y0"]).max() == 20 and (plan["x1"] - plan["x0"]).max() == 100


@pytest.mark.parametrize("policy", [msda.CutMix(box="inside"), msda.CutMix(minmax=(0.3, 0.7))])
def test_a_box_reaches_the_last_row_and_column(policy):
    """Ranges that leave out their last value: borders that are never covered."""
    plan = draw(policy, lam=0.5 if policy.minmax is None else None, height=9, width=11)
    assert plan["y1"].max() == 9 and plan["x1"].max() == 11
    assert plan["y0"].min() == 0 and plan["x0"].min() == 0
    covered = msda.mask(plan, 9, 11).min(0)
    assert (covered == 0).all()


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_probability_applies_once(case):
    """Tested for the batch and again for the sample, mixing happens with its square."""
    plan = draw(make(case, prob=0.5), 400)
    share = (plan["method"] != 0).mean()
    assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(400)


@pytest.mark.parametrize("case", CASES, ids=name_of)
@pytest.mark.parametrize("scope", ["sample", "pair", "batch"])
def test_every_scope_draws_the_method_that_was_asked_for(case, scope):
    """HMix and GMix that turn into CutMix unless they are drawn for the whole batch."""
    if scope == "pair" and "n" in case[1]:
        pytest.skip("a pair has two")
    plan = draw(make(case, scope=scope))
    assert (plan["method"] == METHODS[case[0]].code).all()
    if case[0] != "cutout":
        assert len(np.unique(plan["lam"])) == 1 or scope != "batch"
        assert len(np.unique(plan["lam"])) > 50 or scope == "batch"


def test_partners_and_lambdas_differ_from_step_to_step():
    """A shuffle of a temporary copy; lambdas seeded by the last index; the same ones each epoch."""
    ids = np.arange(400)
    plans = [draw(msda.CutMix(), step=step, ids=ids) for step in range(5)]
    for one, two in itertools.pairwise(plans):
        assert (one["partner"] != two["partner"]).mean() > 0.9
        assert (one["lam"] != two["lam"]).all()


def test_one_lambda_for_each_sample_and_places_of_their_own():
    """One lambda, or one position, for the whole batch makes the loss of large batches jump."""
    plan = draw(msda.CutMix(box="wrap"), 400, 200, 200)
    assert len(np.unique(plan["lam"])) == 400 and len(np.unique(plan["y0"])) > 100


def test_bytes_are_rounded_not_cut_off():
    """Truncation darkens every image by half a grey level."""
    images = RNG.integers(0, 256, (400, 8, 8, 3), dtype=np.uint8)
    plan = msda.draw(msda.Mixup(), 400, 8, 8, seed=0, step=0)
    lost = msda.blend(images, plan).astype(float) - msda.blend(images, plan, dtype="float32")
    assert np.abs(lost).max() <= 0.5 and abs(lost.mean()) < 0.01


@pytest.mark.parametrize("batch", [1, 3, 7])
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_odd_batches(case, batch):
    """Asserted to be even in several libraries, which the last batch of an epoch is not."""
    images = RNG.integers(0, 256, (batch, 20, 30, 3), dtype=np.uint8)
    plan = draw(make(case), batch)
    assert msda.blend(images, plan).shape == images.shape
    flipped = {} if "n" in case[1] else {"partner": "flip", "scope": "pair"}
    assert msda.blend(images, draw(make(case, **flipped), batch)).shape == images.shape


def test_images_and_labels_have_one_partner_and_no_global_generator():
    """Two permutations, one for the images and another for the labels; NumPy's state, workers'."""
    labels = np.arange(200)
    images = np.repeat(labels.astype(np.uint8), 12).reshape(200, 2, 2, 3)
    before = np.random.get_state()[1].copy()
    results = []
    for seed in (1, 2):
        np.random.seed(seed)
        results.append(msda.mix(images, labels, msda.Mixup(), num_classes=200, seed=0, step=0,
                                dtype="float32"))  # fmt: skip
    np.random.set_state(("MT19937", before, 624))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    mixed, rows = results[0]
    np.testing.assert_allclose(mixed[:, 0, 0, 0], rows @ labels, atol=2e-3)
