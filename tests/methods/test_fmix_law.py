"""The law of FMix's masks: what the paper's equations imply, and what the released code draws.

Numbers were computed once from the equations in float64, 20 000 masks each; in brackets stands
what they may be off by in the last digits. Bounds are 5 sigma.
"""

import functools

import numpy as np
import pytest
from scipy import stats

from tests.reference.fields import field, legacy_amplitudes, paper_amplitudes
from tests.support.fmix_plans import masks, records

DRAWS = 20_000


@functools.cache
def drawn(shape=(1, 32, 32), count=DRAWS, **law):
    """Masks that many tests look at; they must not write to them."""
    own = masks(records(count, shape, **law))
    own.flags.writeable = False
    return own


def assert_mean(values, expected, error=0.0):
    """Each value is that of one mask."""
    assert abs(values.mean() - expected) <= 5 * (values.std() / len(values) ** 0.5 + error)


def both_partner(own, *displacement):
    """Of each mask the share of pixels that are the partner's here and a displacement away."""
    partner = 1 - own
    away = np.roll(partner, displacement, axis=(2, 3)) if any(displacement) else partner
    return (partner & away).mean((1, 2, 3), dtype=np.float64)


def changes(own, axis=3):
    """Mean number of changes along the closed lines of each mask."""
    changed = own != np.roll(own, 1, axis)
    return changed.sum(axis).reshape(len(own), -1).mean(1, dtype=np.float64)


# ------------------------------------------------------------------------- the oracle's own law

SMALL = [(1, 1, 7), (1, 1, 8), (1, 4, 5), (1, 5, 4), (1, 6, 6), (2, 3, 4), (3, 4, 3)]


@pytest.mark.parametrize("decay", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("shape", SMALL, ids=str)
def test_half_a_spectrum_has_the_covariance_of_the_definition(shape, decay):
    """Exactly: the covariance of eq. 3 and 4 is the transform of f^(-2 decay), without f = 0."""
    amplitude = paper_amplitudes(shape, decay)
    entries = np.eye(amplitude.size).reshape(amplitude.size, *amplitude.shape) * amplitude
    both = np.concatenate([entries, 1j * entries])
    waves = np.fft.irfftn(both, shape, axes=(1, 2, 3)).reshape(len(both), -1)
    covariance = waves.T @ waves
    f = np.sqrt(sum(axis**2 for axis in np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij")))
    f.flat[0] = np.inf
    power = f ** (-2 * decay) if decay else (f < np.inf).astype(float)
    lagged = np.fft.ifftn(power).real
    places = np.argwhere(np.ones(shape, bool))
    lags = (places[:, None] - places) % shape
    defined = lagged[tuple(lags.transpose(2, 0, 1))]
    np.testing.assert_allclose(covariance / covariance[0, 0], defined / defined[0, 0], atol=1e-12)


@pytest.mark.parametrize("decay", [1.5, 3.0, 5.0])
def test_the_power_falls_as_twice_the_decay(decay):
    seeds = np.random.default_rng(0).integers(0, 2**32, (300, 2))
    power = np.mean([np.abs(np.fft.fftn(field((1, 32, 32), s, decay)))[0] ** 2 for s in seeds], 0)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32)))
    slope = stats.linregress(np.log(f.ravel()[1:]), np.log(power.ravel()[1:])).slope
    assert slope == pytest.approx(-2 * decay, rel=0.02)
    level = (power * f ** (2 * decay)).ravel()[1:]  # exponential: its deviation is its mean
    assert np.abs(level / level.mean() - 1).max() < 5 * 2 / 300**0.5


# ------------------------------------------------------------------------------ the paper's law


@pytest.mark.parametrize("shape, lam, decay", [
    ((1, 32, 32), 0.5, 3.0), ((1, 24, 17), 0.3, 3.0), ((1, 9, 40), 0.8, 1.0),
    ((1, 1, 50), 0.6, 2.0), ((5, 6, 7), 0.4, 3.0),
])  # fmt: skip
def test_every_pixel_is_own_equally_often(shape, lam, decay):
    own = drawn(shape, lam=lam, decay=decay)
    share = np.rint(lam * np.prod(shape)) / np.prod(shape)
    deviation = (share * (1 - share) / DRAWS) ** 0.5
    assert np.abs(own.mean(0) - share).max() < 5 * deviation


@pytest.mark.parametrize("law", [{}, {"decay": 1.0}, {"modes": 4}])
def test_no_direction_is_preferred(law):
    own = drawn(**law)
    for a, b in (((0, 16), (16, 0)), ((0, 3), (3, 0)), ((8, 8), (8, -8)), ((2, 5), (-5, 2))):
        assert_mean(both_partner(own, *a) - both_partner(own, *b), 0.0)
    cubes = drawn((8, 8, 8), decay=2.0)
    for axis in (1, 2):
        assert_mean(changes(cubes, axis) - changes(cubes, 3), 0.0)


@pytest.mark.parametrize("displacement, value, error", [
    ((0, 0), 0.5, 1e-9), ((0, 1), 0.4743, 1e-4), ((0, 4), 0.4011, 2e-4), ((0, 8), 0.3171, 5e-4),
    ((0, 16), 0.2346, 8e-4), ((8, 8), 0.2455, 1e-4), ((16, 16), 0.1123, 5e-4),
])  # fmt: skip
def test_pairs_of_pixels(displacement, value, error):
    assert_mean(both_partner(drawn(), *displacement), value, error)


@pytest.mark.parametrize("decay, value, error", [
    (1.0, 8.57, 0.02), (2.0, 2.60, 0.01), (3.0, 1.642, 0.004), (5.0, 1.45, 0.01),
])  # fmt: skip
def test_changes_along_a_row(decay, value, error):
    own = drawn(decay=decay)
    assert_mean(changes(own), value, error)
    assert_mean(changes(own, 2), value, error)


def test_changes_along_the_rows_of_large_masks():
    assert_mean(changes(drawn((1, 224, 224), 400)), 1.68, 0.03)


@pytest.mark.parametrize("decay", [1.0, 2.0, 3.0])
def test_the_arcsine_law(decay):
    """P(both below the median) = 1/4 + asin(correlation) / 2 pi; a mask's own median is near."""
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32)))
    f[0, 0] = np.inf
    correlation = np.fft.ifft2(f ** (-2 * decay)).real
    correlation /= correlation[0, 0]
    for displacement in ((0, 1), (0, 4), (3, 5), (0, 16), (16, 16)):
        law = 0.25 + np.arcsin(correlation[displacement]) / (2 * np.pi)
        assert_mean(both_partner(drawn(decay=decay), *displacement), law, 0.003 / 5)


# --------------------------------------------------------------------- what the released code draws


@pytest.mark.parametrize("decay", [0.5, 3.0])
@pytest.mark.parametrize(
    "shape", [(1, 32, 32), (1, 31, 53), (1, 7, 4), (1, 2, 9), (5, 6, 7)], ids=str
)
def test_each_legacy_row_is_at_most_one_closed_run(shape, decay):
    lam = np.linspace(0, 1, 101)
    own = masks(records(101, shape, lam=lam, decay=decay, legacy=True))
    changed = (own != np.roll(own, 1, 3)).sum(3)
    assert changed.max() == 2 and set(np.unique(changed).tolist()) <= {0, 2}
    paper = masks(records(101, (1, 32, 32), lam=lam, decay=decay))
    assert (paper != np.roll(paper, 1, 3)).sum(3).max() > 2


@pytest.mark.parametrize("n, count", [(16, 5), (17, 9), (50, 49)])
def test_a_legacy_sequence_is_one_window_that_starts_anywhere(n, count):
    own = masks(records(DRAWS, (1, 1, n), lam=count / n, legacy=True))[:, 0, 0]
    starts = (own == 1) & (np.roll(own, 1, 1) == 0)
    assert (starts.sum(1) == 1).all() and (own.sum(1) == count).all()
    assert stats.chisquare(np.bincount(starts.argmax(1), minlength=n)).pvalue > 1e-6


@pytest.mark.parametrize("shape", [(1, 32, 32), (1, 31, 53), (1, 1, 20), (6, 5, 8)], ids=str)
def test_a_legacy_field_has_one_wave_to_a_row(shape):
    values = field(shape, (1, 2), 3.0, legacy=True)
    spectrum = np.fft.rfft(values, axis=2)
    assert np.abs(spectrum[..., 2:]).max() < 1e-9 * np.abs(spectrum).max()
    if shape[1] > 4:  # and it leans to one side only: what lies along y was half an axis
        along_y = np.fft.fft(spectrum[..., 1], axis=1)
        half = shape[2] if shape[0] == 1 else shape[1]
        past = half // 2 + 1 + half % 2
        assert np.abs(along_y[:, past:]).max(initial=0) < 1e-9 * np.abs(along_y).max()


def test_legacy_masks_lean_to_one_side():
    own = drawn(legacy=True)
    difference = both_partner(own, 8, 8) - both_partner(own, 8, -8)
    assert difference.mean() < -20 * difference.std() / DRAWS**0.5


def test_where_the_power_of_a_legacy_field_lies():
    """More than half in one wave along x, a third in one diagonal, and an eighth along y."""
    seeds = np.random.default_rng(1).integers(0, 2**32, (2000, 2))
    fields = np.array([field((1, 32, 32), seed, 3.0, legacy=True)[0] for seed in seeds])
    power = np.abs(np.fft.fft2(fields)) ** 2
    power[:, 0, 0] = 0
    power /= power.sum((1, 2), keepdims=True)
    for ky, kx, share in ((0, 1, 0.54), (1, 1, 0.33), (1, 0, 0.115)):
        assert_mean(power[:, ky, kx] + power[:, -ky, -kx], share, 0.001)


def test_legacy_amplitudes_of_a_small_image():
    """By hand: at (y, part) of a 3 x 4 image, y counts the frequency along x, part that along y."""
    real, imaginary = legacy_amplitudes((1, 3, 4), 2.0)
    squares = [[1 / 16], [1 / 16], [1 / 4]]  # 0 counts as the lowest, 1/4
    np.testing.assert_allclose(real[0], np.ravel(squares) ** -1.0)
    np.testing.assert_allclose(imaginary[0], (np.array([0, 1 / 16, 1 / 4]) + 1 / 9) ** -1.0)
