"""Crops and orders: functions of the seed, the epoch and the index, of the laws they have."""

import numpy as np
import pytest

from dali_msda import loader_draws

MANY = np.arange(20000)
AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


def crops(ids, heights, widths, **more):
    heights, widths = (np.broadcast_to(sides, len(ids)) for sides in (heights, widths))
    return loader_draws.crops(ids, heights, widths, **dict(area=AREA, seed=3, step=5) | more)


def test_crops_have_their_law():
    """In a square image nearly all first attempts fit, if the area is at most 3/4."""
    area = (0.08, 0.7)
    y0, x0, y1, x1 = crops(MANY, 1000, 1000, area=area).T
    height, width = y1 - y0, x1 - x0
    shares = np.sort(height * width / 1e6)
    uniform = area[0] + (area[1] - area[0]) * (np.arange(len(MANY)) + 0.5) / len(MANY)
    assert np.abs(shares - uniform).max() < 0.01
    ratios = np.sort(np.log(width / height)) / np.log(4 / 3)
    assert np.abs(ratios - np.linspace(-1, 1, len(MANY))).max() < 0.03
    places = [(start + 0.5) / (1000 - side + 1) for start, side in ((y0, height), (x0, width))]
    for place in places:
        assert np.abs(np.sort(place) - np.linspace(0, 1, len(MANY))).max() < 0.02
    assert abs(np.corrcoef(*places)[0, 1]) < 0.03


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 900), (900, 1), (3, 7), (500, 333), (40, 41), (97, 6)]
)
def test_crops_lie_in_their_image(size):
    height, width = size
    y0, x0, y1, x1 = crops(MANY[:3000], height, width).T
    assert (y0 >= 0).all() and (x0 >= 0).all() and (y1 <= height).all() and (x1 <= width).all()
    assert (y1 > y0).all() and (x1 > x0).all()


def test_crops_reach_every_border():
    y0, x0, y1, x1 = crops(MANY, 20, 30).T
    assert y0.min() == x0.min() == 0 and y1.max() == 20 and x1.max() == 30


def test_where_nothing_fits_the_middle_is_taken():
    (first, second) = crops([0, 1], 10, 1000, area=(1.0, 1.0))
    assert first.tolist() == second.tolist() == [0, 494, 10, 507]  # 13 = 4/3 of 10, rounded
    (tall,) = crops([0], 1000, 10, area=(1.0, 1.0))
    assert tall.tolist() == [494, 0, 507, 10]


def test_crops_are_a_function_of_the_index():
    """In batches of other samples and sizes, too, however many attempts these take."""
    heights = np.random.default_rng(0).integers(1, 300, len(MANY))
    widths = heights[::-1]
    whole = crops(MANY, heights, widths)
    some = np.random.default_rng(1).permutation(len(MANY))[:500]
    assert np.array_equal(crops(some, heights[some], widths[some]), whole[some])
    for k in some[:50]:
        assert np.array_equal(crops([k], heights[k], widths[k])[0], whole[k])
    for other in (dict(seed=4), dict(step=6)):
        assert (crops(MANY, 300, 300, **other) != crops(MANY, 300, 300)).any(1).mean() > 0.99


def test_later_attempts_are_those_of_a_longer_draw():
    first = loader_draws.uniforms(
        [7, 2**63], 4 * loader_draws.FIRST, purpose="crop", seed=1, step=2
    )
    more = loader_draws.uniforms(
        [7, 2**63], 4 * loader_draws.ATTEMPTS, purpose="crop", seed=1, step=2
    )
    assert np.array_equal(first, more[:, : 4 * loader_draws.FIRST])


def test_an_order_is_a_permutation():
    for samples in (0, 1, 2, 1000):
        order = loader_draws.order(samples, seed=1, step=2)
        assert np.array_equal(np.sort(order), np.arange(samples))
    orders = [loader_draws.order(1000, seed=seed, step=step) for seed in (0, 1) for step in (0, 1)]
    for a in range(4):
        for b in range(a):
            assert (orders[a] == orders[b]).mean() < 0.01  # one in expectation


def one_by_one(index, height, width, area):
    """The law of a crop, attempt by attempt."""
    numbers = loader_draws.uniforms([index], 400, purpose="crop", seed=3, step=5).reshape(100, 4)
    for share, aspect, across, down in numbers:
        pixels = (area[0] + (area[1] - area[0]) * share) * height * width
        aspect = np.exp(np.log(RATIO[0]) + aspect * np.log(RATIO[1] / RATIO[0]))
        w, h = (max(1, round(np.sqrt(p))) for p in (pixels * aspect, pixels / aspect))
        if w <= width and h <= height:
            y, x = int(down * (height - h + 1)), int(across * (width - w + 1))
            return [y, x, y + h, x + w]
    return None


def test_crops_are_the_first_attempt_that_fits():
    late = 0
    for height, width in ((50, 70), (30, 100), (100, 26), (1, 1)):
        found = crops(range(300), height, width, area=(0.2, 1.0)).tolist()
        for index, part in enumerate(found):
            expected = one_by_one(index, height, width, (0.2, 1.0))
            assert expected is None or part == expected, (height, width, index)
        early = loader_draws.uniforms(
            range(300), 4 * loader_draws.FIRST, purpose="crop", seed=3, step=5
        )
        sizes = np.full(300, height), np.full(300, width)
        boxes = loader_draws._tried(early.reshape(300, -1, 4), *sizes, (0.2, 1.0), RATIO)
        late += int((~boxes[1].any(1)).sum())
    assert late > 30  # so later attempts were needed, too
