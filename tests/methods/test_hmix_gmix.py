"""HMix and GMix: the mean of each mask, the coefficients in closed form, the variants.

``a`` of two pixels is the mean over the positions of the product of their partner weights
(Park et al., arXiv:2208.09913, eq. 4 to 11). The tables were computed once in float64.
"""

import functools

import numpy as np
import pytest
from scipy import special, stats

import dali_msda as msda
from dali_msda.backends.cpu_arrays import scale_and_shift

SIZES = [(1, 1), (1, 40), (40, 1), (7, 5), (31, 53), (64, 64), (96, 17)]
PAIRS = [((0, 0), (0, 0)), ((1, 1), (1, 1)), ((0, 0), (0, 1)), ((1, 1), (2, 2)), ((0, 0), (3, 3))]
DISPLACEMENTS = [(0, 0), (0, 1), (0, 4), (0, 8), (0, 16), (0, 32), (8, 8), (16, 16), (32, 32)]
HMIX_CODE, HMIX_PAPER = msda.HMix(), msda.HMix(mode="nominal", box="inside")
GMIX_CODE, GMIX_PAPER = msda.GMix(), msda.GMix(mode="paper")
SMALL = [  # n = 4, lambda = 0.5, the pairs of pixels above
    (HMIX_CODE, 16, [0.3514739229, 0.3672108844, 0.3116213152, 0.2838775510, 0.2189342404]),
    (HMIX_PAPER, 9, [0.2098765432, 0.5061728395, 0.2345679012, 0.3580246914, 0.1604938272]),
    (GMIX_PAPER, 16, [0.2285535303, 0.4090700562, 0.2505087849, 0.3578316930, 0.0743859007]),
    (GMIX_CODE, 16, [0.1406256533, 0.2388985992, 0.1403343767, 0.1663003626, 0.0071864903]),
]
FIGURE_4 = [  # n = 64, lambda = 0.5, the displacements above
    (HMIX_PAPER, 33**2, ".33333 .33323 .33221 .32900 .31425 .22222 .32814 .31042 .22222"),
    (HMIX_CODE, 64**2, ".31037 .30941 .30602 .30017 .28244 .23397 .29255 .26795 .23398"),
    (msda.HMix(r=0.75, mode="nominal", box="inside"), 26**2,
     ".39648 .39583 .39300 .38687 .36406 .24414 .38050 .34533 .18945"),
    (msda.HMix(r=0.75), 64**2, ".33894 .33771 .33345 .32629 .30533 .23936 .31596 .28387 .21931"),
    (GMIX_PAPER, 64**2, ".30032 .30186 .30498 .30553 .29431 .23162 .31083 .28842 .17864"),
    (GMIX_CODE, 64**2, ".17679 .17776 .17892 .17630 .15793 .09202 .17580 .14108 .04790"),
]  # fmt: skip


@functools.cache
def every_position(policy, n, positions):
    """Partner weights of all masks that a policy can draw at lambda 0.5: (positions, n, n)."""
    plan = msda.draw(policy, 15 * positions + 200, n, n, seed=1, step=0, lam=0.5)
    where = np.column_stack([plan[name] for name in ("y0", "x0", "y1", "x1", "point")])
    _, first, times = np.unique(where, axis=0, return_index=True, return_counts=True)
    assert len(first) == positions and stats.chisquare(times).pvalue > 1e-6
    return 1 - msda.mask(plan[first], n, n)


@pytest.mark.parametrize("policy, positions, want", SMALL, ids=range(len(SMALL)))
def test_exact_coefficients_of_four_by_four_pixels(policy, positions, want):
    partner = every_position(policy, 4, positions).astype(np.float64)
    got = [(partner[(slice(None), *j)] * partner[(slice(None), *k)]).mean() for j, k in PAIRS]
    np.testing.assert_allclose(got, want, atol=1e-7)


def test_mean_partner_weight_of_four_by_four_pixels():
    partner = every_position(GMIX_CODE, 4, 16)
    assert partner.mean(dtype=np.float64) == pytest.approx(0.3122901710, abs=1e-7)
    own = 1 - every_position(HMIX_CODE, 4, 16).mean(0)
    assert own[0, 0] == pytest.approx(0.476, abs=5e-4)  # a clipped box covers the first row less
    assert own[3, 3] == pytest.approx(0.581, abs=5e-4)


@pytest.mark.parametrize("policy, positions, row", FIGURE_4, ids=range(len(FIGURE_4)))
def test_figure_4_of_the_paper(policy, positions, row):
    """Mean coefficient of pixels a displacement apart."""
    partner = every_position(policy, 64, positions)
    for (dy, dx), want in zip(DISPLACEMENTS, row.split(), strict=True):
        product = partner[:, dy:, dx:] * partner[:, : 64 - dy, : 64 - dx]
        assert product.mean(dtype=np.float64) == pytest.approx(float(want), abs=6e-6)


def test_the_printed_coefficient_of_the_plane():
    """Eq. 11 where the whole bump lies in the image: the sum over all points of the product."""
    n, lam = 65, 0.99
    plan = msda.draw(GMIX_PAPER, 1, n, n, seed=0, step=0, lam=lam)
    plan["point"] = 0, n // 2, n // 2
    bump = (1 - msda.mask(plan, n, n)[0]).astype(np.float64)
    area = 1 - float(plan["lam"][0])
    for dy, dx in ((0, 0), (0, 3), (2, 5), (8, 8), (0, 12)):
        summed = (bump[dy:, dx:] * bump[: n - dy, : n - dx]).sum() / n**2
        printed = area * np.exp(-np.pi * (dy**2 + dx**2) / 4 / (area * n**2))
        assert summed == pytest.approx(printed, abs=1e-7)


# ------------------------------------------------------------------------------ means and weights


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("policy", [
    msda.HMix(), msda.HMix(r=0.9), msda.HMix(r=0.75, box="inside"),
    msda.HMix(gamma=0.2, box="wrap"), msda.GMix(mode="exact"),
], ids=str)  # fmt: skip
def test_the_mean_of_each_mask_is_lambda(policy, size):
    """Whether the box or bump is cut off or not."""
    plan = msda.draw(policy, 300, *size, seed=2, step=0)
    mean, lam = msda.mask(plan, *size).mean((1, 2), dtype=np.float64), plan["lam"].astype(float)
    pixels = size[0] * size[1]
    if isinstance(policy, msda.GMix):
        possible, miss = 1 - lam > 1 / pixels, 1 / pixels  # a bump has one pixel at least
    else:  # a box of whole pixels may be larger than 1 - lambda: half a pixel on each axis
        area = (plan["y1"] - plan["y0"]) * (plan["x1"] - plan["x0"]) / pixels
        possible, miss = area <= 1 - lam, (0.5 * sum(size) + 0.25) / pixels
    assert possible.mean() > 0.5 or size == (1, 1)
    np.testing.assert_allclose(mean[possible], lam[possible], atol=5e-7)
    assert (np.abs(mean - lam)[~possible] <= miss + 1e-6).all()
    np.testing.assert_array_equal(plan["weight"][possible], plan["lam"][possible])
    if isinstance(policy, msda.HMix):  # the label says what the mask does, also where it misses
        np.testing.assert_allclose(plan["weight"], mean, atol=5e-7)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_released_gmix_weighs_by_the_mean_of_its_mask(size):
    lam = np.concatenate([[0, 1, 0.5, 1e-40], np.random.default_rng(0).random(200)])
    plan = msda.draw(GMIX_CODE, len(lam), *size, seed=3, step=0, lam=lam)
    mean = msda.mask(plan, *size).mean((1, 2), dtype=np.float64)
    np.testing.assert_allclose(plan["weight"], mean, atol=5e-7)
    assert plan["weight"][:2].tolist() == [0, 1]
    smaller = plan["lam"] < 0.5  # the bump is of the image with less weight
    np.testing.assert_array_equal(plan["inside"][2:], smaller[2:])


@pytest.mark.parametrize("lam", [0.03, 0.3, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("height, width", [(30, 30), (21, 64)])
def test_width_of_the_bump(lam, height, width):
    plans = {mode: msda.draw(msda.GMix(mode=mode), 1, height, width, seed=4, step=0, lam=lam)[0]
             for mode in ("code", "paper")}  # fmt: skip
    lam = float(np.float32(lam))
    area = {"code": min(lam, 1 - lam), "paper": 2 * (1 - lam)}
    for mode, p in plans.items():
        falloff = np.float32(np.pi / (area[mode] * height * width))
        assert p["falloff"].tolist() == [0, falloff, falloff]
    assert plans["paper"]["weight"] == np.float32(lam)


@pytest.mark.parametrize("mode", ["code", "paper", "exact"])
def test_the_bump_lies_at_its_point(mode):
    """The point is a pixel, the mask falls off from it alike in all directions."""
    plan = msda.draw(msda.GMix(mode=mode), 200, 20, 33, seed=5, step=0, lam=0.7)
    partner = 1 - msda.mask(plan, 20, 33)
    greatest = partner.reshape(200, -1).argmax(1)
    np.testing.assert_array_equal(greatest, plan["point"][:, 1] * 33 + plan["point"][:, 2])
    assert set(plan["point"][:, 2].tolist()) == set(range(33))
    for mask, p in zip(partner, plan, strict=True):
        y, x = p["point"][1:]
        assert mask[y, x] == 1
        if 4 <= y < 16 and 4 <= x < 29:
            ring = [mask[y + a, x + b] for a, b in ((3, 4), (4, 3), (-3, 4), (4, -3), (-4, -3))]
            np.testing.assert_allclose(ring, ring[0], rtol=1e-5)


def test_complement():
    """In the released code lambda and 1 - lambda trade the images."""
    a, b = (msda.draw(GMIX_CODE, 50, 24, 31, seed=6, step=0, lam=lam) for lam in (0.25, 0.75))
    total = msda.mask(a, 24, 31) + msda.mask(b, 24, 31)
    np.testing.assert_allclose(total, 1, atol=2e-7)


@pytest.mark.parametrize("area, fraction", [(0.1, 0.0809), (0.3, 0.2045), (0.5, 0.3003)])
def test_how_much_of_a_bump_lies_in_the_image(area, fraction, draws=40_000):
    """E of the partner weight at lambda = 1 - area, in the continuum."""
    printed = (
        np.sqrt(area) * special.erf(np.sqrt(np.pi / area))
        - area / np.pi * (1 - np.exp(-np.pi / area))
    ) ** 2
    assert printed == pytest.approx(fraction, abs=5e-5)
    plan = msda.draw(GMIX_CODE, draws, 256, 256, seed=7, step=0, lam=1 - area)
    weight = plan["partner_weight"].astype(np.float64)
    assert abs(weight.mean() - printed) < 5 * weight.std() / draws**0.5 + 1e-5


def test_weights_near_a_half_never_occur(draws=100_000):
    """At lambda = 1/2 the bump holds from 0.125 (in a corner) to 0.427 (in the middle)."""
    weight = msda.draw(GMIX_CODE, draws, 224, 224, seed=8, step=0)["weight"]
    middle = 0.5 * special.erf(np.sqrt(np.pi / 0.5) / 2) ** 2
    assert middle == pytest.approx(0.427, abs=5e-4)
    assert not ((weight > middle + 1e-4) & (weight < 1 - middle - 1e-4)).any()
    assert (weight > 0.41).any() and weight[weight < 0.5].max() > middle - 0.01
    fair = msda.draw(GMIX_CODE, draws, 224, 224, seed=8, step=0, lam=0.5)["partner_weight"]
    assert fair.min() == pytest.approx(0.125, abs=0.003) and fair.max() <= middle + 1e-4


# ------------------------------------------------------------------------------------------- HMix


@pytest.mark.parametrize("box", ["clip", "inside", "wrap"])
def test_hmix_lies_between_mixup_and_cutmix(box):
    key = {"seed": 9, "step": 0}
    cutmix = msda.draw(msda.CutMix(box=box), 200, 37, 53, **key)
    whole = msda.draw(msda.HMix(r=1.0, box=box), 200, 37, 53, **key)
    box_fields = ["y0", "x0", "y1", "x1", "lam"]
    np.testing.assert_array_equal(whole[box_fields], cutmix[box_fields])
    if box != "clip":  # whole pixels leave a rest
        assert (whole["outside"] > 0.8)[whole["lam"] > 0.1].all()
    none = msda.draw(msda.HMix(r=0.0, box=box), 200, 37, 53, **key)
    np.testing.assert_array_equal(none["outside"], none["lam"])
    np.testing.assert_array_equal(
        msda.mask(none, 37, 53), msda.mask(msda.draw(msda.Mixup(), 200, 37, 53, **key), 37, 53)
    )


def test_the_weight_around_the_box_makes_up_for_what_is_cut_off():
    exact, nominal = (
        msda.draw(msda.HMix(mode=mode), 500, 64, 64, seed=10, step=0, lam=0.5)
        for mode in ("exact", "nominal")
    )
    assert (nominal["outside"] == np.float32(2 / 3)).all()
    assert exact["outside"].max() == np.float32(2 / 3)  # the box whole: 32 of 64 pixels a side
    assert exact["outside"].min() == pytest.approx(0.533, abs=0.02)  # a quarter of it, in a corner


@pytest.mark.parametrize("gamma", [0.1, 1.0, 5.0])
def test_share_of_the_box_is_beta(gamma, draws=20_000):
    policy = msda.HMix(gamma=gamma, mode="nominal")
    plan = msda.draw(policy, draws, 8, 8, seed=11, step=0, lam=0.5)
    r = (1 - 0.5 / plan["outside"].astype(np.float64)) / 0.5
    near = 1e-6  # outside is a float32
    assert (r > -near).all() and (r < 1 + near).all()
    grid = np.linspace(0.01, 0.99, 99)
    share = np.searchsorted(np.sort(r), grid) / draws
    law = special.betainc(gamma, gamma, grid)
    assert np.abs(share - law).max() < 5 * 0.5 / draws**0.5


@pytest.mark.parametrize("policy", [msda.HMix(), HMIX_PAPER, GMIX_CODE, msda.GMix(mode="exact")])
def test_nothing_and_everything(policy):
    """Lambda 0 is 0 / 0 in both released codes; here it is the partner."""
    plan = msda.draw(policy, 40, 9, 14, seed=12, step=0, lam=0.0)
    assert (msda.mask(plan, 9, 14) == 0).all() and (plan["weight"] == 0).all()
    plan = msda.draw(policy, 40, 9, 14, seed=12, step=0, lam=1.0)
    assert (msda.mask(plan, 9, 14) == 1).all() and (plan["weight"] == 1).all()


@pytest.mark.parametrize("size", [(1, 1), (9, 14), (19, 30)])
def test_a_bump_is_never_narrower_than_a_pixel(size):
    """Above a lambda of 1 - 1 / (H W) the label weight is what the mask shows, not lambda."""
    pixel = 1 / np.prod(size)
    for lam in (1 - 1e-7, 1 - 0.5 * pixel, 1 - 0.99 * pixel, 1 - 1.01 * pixel, 1 - 2 * pixel):
        plan = msda.draw(msda.GMix(mode="exact"), 20, *size, seed=8, step=0, lam=max(lam, 0.0))
        shown = msda.mask(plan, *size).mean((1, 2), dtype=np.float64)
        np.testing.assert_allclose(plan["weight"], shown, rtol=0, atol=1e-6)
        np.testing.assert_allclose(plan["partner_weight"], 1 - shown, rtol=0, atol=1e-6)


def test_lambda_may_be_the_smallest_float():
    for lam in (1e-45, 1e-40, 1 - 2**-24):
        for policy in (GMIX_CODE, GMIX_PAPER, msda.GMix(mode="exact"), msda.HMix(r=1.0)):
            for size in ((1, 1), (3, 4), (224, 224)):
                plan = msda.draw(policy, 3, *size, seed=13, step=0, lam=lam)
                assert np.isfinite(msda.mask(plan, *size)).all()


def fused(a, b, c):
    """As fmaf: no product and no sum here has more than the 64 bits of a long double."""
    return (a.astype(np.longdouble) * b + c).astype(np.float32)


@pytest.mark.parametrize("mean", [None, (0.0, 1.0, 2.0), (90.0, 100.0, 110.0)])
@pytest.mark.parametrize("source", ["uint8", "float32"])
@pytest.mark.parametrize("inside, outside", [(1, 0), (0, 1), (0.75, 0.25), (0.25, 0.75)])
def test_weights_next_to_nothing(inside, outside, source, mean):
    """A bump falls below the smallest float: what its ends make of black pixels is not lost."""
    plan = msda.draw(msda.GMix(), 6, 30, 40, seed=1, step=0)
    plan["sources"], plan["inside"], plan["outside"] = 2, inside, outside
    plan["falloff"][:, 1:] = np.linspace(0.03, 0.2, 6)[:, None]
    images = np.random.default_rng(0).integers(0, 3, (6, 30, 40, 3)).astype(source)
    if source == "float32":
        images = np.float32([0, 1e-30, 2.0**46])[images.astype(int)]
    weights = msda.mask(plan, 30, 40)[..., None]
    assert outside or ((weights > 0) & (weights < 2.0**-126)).any()
    own, partner = images.astype(np.float32), images[plan["partner"]].astype(np.float32)
    mixed = fused(weights, own - partner, partner)
    if source == "float32":  # the nearer source is the base
        mixed = np.where(weights < 0.5, mixed, fused(1 - weights, partner - own, own))
    given = {}
    if mean:
        given = {"mean": mean, "std": (50, 60, 70)}
        mixed = fused(mixed, *scale_and_shift(*given.values(), 3))
    for threads in (1, 2):
        made = msda.blend(images, plan, dtype="float32", threads=threads, **given)
        np.testing.assert_array_equal(made, mixed)
