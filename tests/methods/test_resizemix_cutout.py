"""ResizeMix: the whole partner, shrunk into a box. Cutout: a square of nothing."""

import itertools

import numpy as np
import pytest
from scipy import stats

import dali_msda as msda
from tests.support.batches import OUTPUTS, normalisation, random_images
from tests.support.doors import DOORS, assert_same, widened
from tests.support.doors import blend as blend  # a fixture

SIZES = [(1, 1), (1, 50), (50, 1), (9, 14), (31, 53), (64, 48)]


def sides_of(plan):
    return plan["y1"] - plan["y0"], plan["x1"] - plan["x0"]


def assert_inside(plan, height, width):
    assert (plan["y0"] >= 0).all() and (plan["y1"] <= height).all()
    assert (plan["x0"] >= 0).all() and (plan["x1"] <= width).all()


# -------------------------------------------------------------------------------------- ResizeMix


def assert_boxes_hold_partners(blend, images, plan):
    height, width = images.shape[1:3]
    mirror = np.resize(np.array([0, 1, 0, 1, 1, 0], bool), len(images))
    turned = np.where(mirror[:, None, None, None], images[:, :, ::-1], images)
    mixed = blend(images, plan, mirror=mirror)
    for i, p in enumerate(plan):
        rows = np.arange(p["y1"] - p["y0"], dtype=np.float32) * p["falloff"][1]
        columns = np.arange(p["x1"] - p["x0"], dtype=np.float32) * p["falloff"][2]
        places = np.ix_(
            np.minimum(rows.astype(int), height - 1), np.minimum(columns.astype(int), width - 1)
        )
        want = turned[i].copy()
        want[p["y0"] : p["y1"], p["x0"] : p["x1"]] = turned[p["partner"]][places]
        np.testing.assert_array_equal(mixed[i], want)


@pytest.mark.parametrize("source", ["uint8", "float32"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_box_holds_the_whole_partner(blend, size, source):
    images = random_images((6, *size, 3), source)
    plan = msda.draw(msda.ResizeMix(tau=(0.2, 1.0)), 6, *size, seed=1, step=0)
    assert_boxes_hold_partners(blend, images, plan)


@pytest.mark.parametrize("width", [42, 43, 85, 86, 224, 331])
def test_boxes_of_every_width(blend, width):
    images = random_images((width, 16, width, 3), "uint8")
    lam = 1 - ((np.arange(width) + 0.5) / width) ** 2
    plan = msda.draw(msda.ResizeMix(), width, 16, width, seed=1, step=0, lam=lam)
    np.testing.assert_array_equal(plan["x1"] - plan["x0"], np.arange(width))
    assert_boxes_hold_partners(blend, images, plan)


def test_half_the_size_is_every_other_pixel(blend):
    images = np.arange(2 * 8 * 6, dtype=np.uint8).reshape(2, 8, 6, 1)
    plan = msda.draw(msda.ResizeMix(partner="flip"), 2, 8, 6, seed=2, step=0, lam=0.75)
    for i, p in enumerate(plan):
        box = blend(images, plan)[i, p["y0"] : p["y1"], p["x0"] : p["x1"]]
        np.testing.assert_array_equal(box, images[1 - i, ::2, ::2])
    np.testing.assert_array_equal(plan["weight"], 0.75)


@pytest.mark.parametrize("tau", [(0.1, 0.8), (0.25, 0.25), (0.01, 1.0)])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sides_follow_tau_and_boxes_lie_inside(size, tau):
    plan = msda.draw(msda.ResizeMix(tau=tau), 2000, *size, seed=3, step=0)
    drawn = np.sqrt(1 - plan["lam"].astype(np.float64))
    assert (drawn > tau[0] - 1e-5).all() and (drawn < tau[1] + 1e-5).all()
    assert_inside(plan, *size)
    for axis, (n, side) in enumerate(zip(size, sides_of(plan), strict=True), 1):
        assert (side >= np.floor(n * (drawn - 1e-4))).all()
        assert (side <= np.floor(n * (drawn + 1e-4))).all()
        spacing = plan["falloff"][:, axis]
        np.testing.assert_allclose(spacing, np.where(side > 0, 1 / drawn, 1), rtol=1e-3)
    area = np.prod(sides_of(plan), axis=0) / (size[0] * size[1])
    np.testing.assert_array_equal(plan["weight"], (1 - area).astype(np.float32))


def test_tau_is_uniform_between_its_bounds(draws=100_000):
    plan = msda.draw(msda.ResizeMix(), draws, 224, 224, seed=4, step=0)
    tau = 1 / plan["falloff"][:, 1].astype(np.float64)
    assert stats.kstest(tau, stats.uniform(0.1, 0.7).cdf).pvalue > 1e-6
    np.testing.assert_allclose(plan["lam"], 1 - tau**2, atol=1e-6)
    for power, moment in ((1, 0.45), (2, (0.8**3 - 0.1**3) / 2.1)):
        values = tau**power
        assert abs(values.mean() - moment) < 5 * values.std() / draws**0.5


@pytest.mark.parametrize("lam", [0.0, 0.19, 0.75, 1.0])
def test_a_given_lambda_gives_the_size(lam):
    plan = msda.draw(msda.ResizeMix(), 500, 30, 41, seed=5, step=0, lam=lam)
    tau = np.sqrt(1 - np.float64(np.float32(lam)))
    for n, side in zip((30, 41), sides_of(plan), strict=True):
        assert (side == int(n * tau)).all()
    assert (plan["lam"] == np.float32(lam)).all()
    if lam == 0:
        images = random_images((500, 30, 41, 1), "uint8")
        np.testing.assert_array_equal(msda.blend(images, plan), images[plan["partner"]])


@pytest.mark.parametrize("lam, n", [(0.75, 10), (0.36, 10), (0.75, 7), (0.75, 3)])
def test_a_box_that_would_be_cut_off_is_shifted(lam, n, draws=30_000):
    """The centre is any pixel, so the ends are where most boxes lie."""
    plan = msda.draw(msda.ResizeMix(), draws, n, n, seed=6, step=0, lam=lam)
    side = int(n * np.sqrt(1 - np.float64(np.float32(lam))))
    begins = [min(max(centre - side // 2, 0), n - side) for centre in range(n)]
    expected = np.bincount(begins, minlength=n - side + 1) * draws / n
    for first in (plan["y0"], plan["x0"]):
        observed = np.bincount(first, minlength=n - side + 1)
        assert stats.chisquare(observed, expected).pvalue > 1e-6
    together = np.unique(np.stack([plan["y0"], plan["x0"]], 1), axis=0)
    assert len(together) == (n - side + 1) ** 2


@pytest.mark.parametrize("change", [
    {"x1": 12}, {"y1": 11}, {"x0": -1}, {"y0": 9}, {"falloff": np.inf}, {"falloff": np.nan},
    {"falloff": -1},
])  # fmt: skip
@pytest.mark.parametrize("policy", [msda.ResizeMix(), msda.Cutout()], ids=["resizemix", "cutout"])
def test_boxes_that_leave_the_image_are_refused(policy, change):
    """Theirs do not wrap."""
    plan = msda.draw(policy, 3, 10, 11, seed=7, step=0)
    plan["y0"][1], plan["y1"][1], plan["x0"][1], plan["x1"][1] = 3, 8, 4, 9
    images = random_images((3, 10, 11, 3), "uint8")
    msda.blend(images, plan)
    for name, value in change.items():
        plan[name][1] = value
    with pytest.raises(ValueError, match=r"plan\[1\]: .* expected"):
        msda.blend(images, plan)


def test_pixels_that_are_far_apart_are_the_last_one(blend):
    """A spacing that nobody draws reads nothing past the image."""
    images = random_images((2, 10, 11, 3), "uint8")
    plan = msda.draw(msda.ResizeMix(partner="flip"), 2, 10, 11, seed=8, step=0, lam=0.5)
    plan["falloff"][:, 1:] = 3e38
    for i, p in enumerate(plan):
        box = blend(images, plan)[i, p["y0"] : p["y1"], p["x0"] : p["x1"]]
        assert (box[0, 0] == images[1 - i, 0, 0]).all()
        assert (box[1:, 1:] == images[1 - i, -1, -1]).all()


@pytest.mark.parametrize("source", ["uint8", "float32"])
@pytest.mark.parametrize("inside, outside", [(0.0, 0.5), (0.25, 1.0), (0.5, 0.0), (1.0, 1.0)])
def test_weights_that_nobody_draws(blend, source, inside, outside):
    """A plan made by hand: the shrunk partner shines through, or the partner around it."""
    images = random_images((2, 9, 40, 3), "uint8").astype(source)
    plan = msda.draw(msda.ResizeMix(partner="flip"), 2, 9, 40, seed=10, step=0, lam=0.5)
    plan["inside"], plan["outside"] = inside, outside
    mixed = blend(images, plan, mirror=np.array([0, 1]), dtype="float32")
    turned = np.stack([images[0], images[1, :, ::-1]]).astype(np.float64)
    for i, p in enumerate(plan):
        want = outside * turned[i] + (1 - outside) * turned[1 - i]
        for y, x in itertools.product(range(p["y0"], p["y1"]), range(p["x0"], p["x1"])):
            row, column = (
                int(np.float32(at) * p["falloff"][axis])
                for axis, at in ((1, y - p["y0"]), (2, x - p["x0"]))
            )
            want[y, x] = inside * turned[i, y, x] + (1 - inside) * turned[1 - i, row, column]
        np.testing.assert_allclose(mixed[i], want, rtol=1e-6, atol=1e-4)


def test_boxes_of_no_pixels():
    for tau in (1e-300, 1e-40, 0.01):
        plan = msda.draw(msda.ResizeMix(tau=(tau, tau)), 5, 20, 30, seed=9, step=0)
        images = random_images((5, 20, 30, 3), "uint8")
        np.testing.assert_array_equal(msda.blend(images, plan), images)
        assert (plan["weight"] == 1).all() and (plan["falloff"][:, 1:] == 1).all()


# ----------------------------------------------------------------------------------------- Cutout


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("source, dtype, norm", OUTPUTS)
def test_the_square_is_zero_and_the_rest_is_the_image(blend, source, dtype, norm, layout):
    """After the normalisation: plus zero, whatever lay there."""
    for channels, shape in ((3, (5, 20, 37)), (2, (4, 33, 9)), (1, (3, 8, 70))):
        images = random_images((*shape, channels), source)
        plan = msda.draw(msda.Cutout(length=8), *shape, seed=10, step=0)
        options = {"dtype": dtype, "layout": layout, "mirror": [k % 2 for k in range(len(plan))]}
        options |= normalisation(channels, norm)
        nobody = msda.draw(msda.Cutout(prob=0.0), *shape, seed=10, step=0)
        want = DOORS["plain"](images, nobody, **options)
        for image, p in zip(want, plan, strict=True):
            box = slice(p["y0"], p["y1"]), slice(p["x0"], p["x1"])
            image[(slice(None), *box) if layout == "CHW" else box] = 0
        assert_same(blend(images, plan, **options), want)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 9, 20, 21, 1000])
@pytest.mark.parametrize("size", [(1, 1), (1, 12), (9, 14), (20, 20)], ids=str)
def test_squares_cover_what_the_clip_formula_says(size, length, draws=20_000):
    plan = msda.draw(msda.Cutout(length=length), draws, *size, seed=11, step=0)
    assert_inside(plan, *size)
    covered = (1 - msda.mask(plan, *size)).mean(0, dtype=np.float64)
    axes = []
    for n in size:
        centre, pixel, half = np.arange(n)[:, None], np.arange(n), length // 2
        axes.append(((pixel >= centre - half) & (pixel < centre + half)).mean(0))
    exact = np.outer(*axes)
    deviation = np.sqrt(exact * (1 - exact) / draws)
    assert (np.abs(covered - exact) <= 5 * deviation + 1e-9).all()
    assert max(side.max() for side in sides_of(plan)) <= length // 2 * 2


def test_the_label_is_kept():
    plan = msda.draw(msda.Cutout(length=200), 20, 16, 16, seed=12, step=0)
    assert (plan["sources"] == 1).all() and (plan["weight"] == 1).all() and (plan["lam"] == 1).all()
    labels = np.arange(20)
    rows = msda.targets(labels, plan, num_classes=20)
    np.testing.assert_array_equal(rows, np.eye(20))
    indices, weights = msda.targets(labels, plan, compact=True)
    np.testing.assert_array_equal(indices, np.stack([labels, labels], 1))
    np.testing.assert_array_equal(weights, np.tile([1.0, 0.0], (20, 1)))
    assert not msda.blend(random_images((20, 16, 16, 3), "uint8"), plan).any()


def test_neither_alpha_nor_partner_nor_lambda_matters():
    plan = msda.draw(msda.Cutout(), 9, 40, 40, seed=13, step=0)
    other = msda.draw(msda.Cutout(alpha=0.1, partner="flip"), 9, 40, 40, seed=13, step=0, lam=0.3)
    named = [name for name in plan.dtype.names if name != "partner"]
    np.testing.assert_array_equal(plan[named], other[named])


def test_in_place(length=6):
    images = random_images((7, 15, 16, 3), "uint8")
    plan = msda.draw(msda.Cutout(length=length), 7, 15, 16, seed=14, step=0)
    want = msda.blend(images, plan)
    assert msda.blend(images, plan, out=images) is images
    np.testing.assert_array_equal(widened(images, "uint8"), want)
