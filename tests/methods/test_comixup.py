"""Co-Mixup of arrays beside the reference: costs, outputs, images, targets, and what is refused."""

import dataclasses

import numpy as np
import pytest
import torch

from dali_msda import comixup
from dali_msda.backends.cpu_library import library
from dali_msda.backends.puzzle import cpu_comixup
from dali_msda.comixup import CoMixupSettings
from tests.reference import comixup as reference
from tests.reference.puzzle import SHARE_ONE, shares

START = 248  # msda::kDrawStart
USUAL = dict(alpha=2.0, beta=0.32, gamma=1.0, tau=0.83, eta=0.0, omega=0.05, soft=False)
USUAL |= dict(resolve=True, sweeps=4, starts=1, seed=1, step=2, rank=0)


def maps_of(batch, size, peaked, seed=0):
    rng = np.random.default_rng(seed)
    blobs = np.exp(peaked * rng.standard_normal((batch, 8, 8)))
    return np.ascontiguousarray(blobs.repeat(size // 8, 1).repeat(size // 8, 2), np.float32)


def measured(parts, m, side, peaked, seed=0):
    """Shares of random saliency, in units of 2**-24, and peaks."""
    rng = np.random.default_rng(seed)
    drawn = np.exp(peaked * rng.standard_normal((parts * m, side, side)))
    scaled = np.rint(drawn / drawn.sum((1, 2), keepdims=True) * SHARE_ONE).astype(np.int32)
    return scaled, rng.integers(0, 20, (parts * m, 2)).astype(np.int32)


def start_labels(m, n, part, seed=1, step=2):
    numbers = np.empty(m * n)
    library().msda_uniforms(numbers.ctypes.data, m * n, seed, part, step, START)
    return (numbers * m).astype(int).reshape(m, n)


def parts_of(found, costs, peaks, m, omega):
    """For each part: z, costs of its inputs' blocks, and the matrix A."""
    for first in range(0, len(found), m):
        part = slice(first, first + m)
        inputs = len(found[part])
        hidden = -costs[part].reshape(inputs, -1) / SHARE_ONE
        z = reference.shares_of(found[part] - first, inputs)
        yield z, hidden, reference.likeness(peaks[part], omega)


# --------------------------------------------------------------------------------------- measures


@pytest.mark.parametrize("window, stride", [(8, 1), (8, 8), (3, 2), (64, 5)])
def test_shares_and_peaks_are_those_of_the_definition(window, stride):
    maps = np.random.default_rng(1).random((4, 24, 32)).astype(np.float32) ** 8
    maps[1] *= 1e-30
    maps[2] = 0
    found, peaks, uniform = cpu_comixup.measure(maps, 4, window, stride)
    assert uniform.tolist() == [0, 0, 1, 0]
    for i, each in enumerate(maps):
        np.testing.assert_array_equal(found[i].ravel(), shares(each, 4)[0])
        assert tuple(peaks[i]) == tuple(reference.peak(each.astype(float), window, stride))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_maps_that_are_not_usable_count_as_uniform(bad):
    maps = maps_of(4, 16, 1.0)
    maps[1, 3, 4], maps[2] = bad, 1.0
    maps[3] = 0
    found = comixup.solve(maps)
    assert found.uniform.tolist() == [False, True, False, True]
    maps[1] = maps[3] = 1.0
    np.testing.assert_array_equal(comixup.solve(maps).sources, found.sources)


# ----------------------------------------------------------------------------------------- solver


@pytest.mark.parametrize("m, side", [(1, 2), (2, 4), (3, 3), (20, 4), (64, 2), (5, 16)])
@pytest.mark.parametrize("change", [{}, {"soft": True, "omega": 0.7, "tau": 0.3, "beta": 2.0}])
def test_the_cost_of_a_part_is_the_objective(m, side, change):
    """Of what the outputs show, whatever it is; the last part is smaller."""
    how = USUAL | change
    scaled, peaks = measured(3, m, side, 1.0)
    keep = len(scaled) - m // 2
    scaled, peaks = scaled[:keep], peaks[:keep]
    found, costs = cpu_comixup.solve(scaled, peaks, m, **how)
    objective = {name: how[name] for name in ("beta", "gamma", "tau", "soft")}
    for cost, (z, hidden, likes) in zip(
        costs, parts_of(found, scaled, peaks, m, how["omega"]), strict=True
    ):
        want = reference.objective(z, hidden, likes, side, **objective)
        assert cost == pytest.approx(want, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    "m, change, least",
    [
        (2, {}, 36),
        (2, {"soft": True}, 36),
        (2, {"tau": 0.2, "gamma": 0.3}, 36),
        (3, {}, 26),  # a dozen go another way without `resolve`
        (3, {"resolve": False}, 26),
    ],
)
def test_parts_go_the_way_of_the_released_iteration(m, change, least):
    """With each output solved exactly, of all its labellings: most of ours do not differ."""
    how, side = USUAL | change, 2
    scaled, peaks = measured(40, m, side, 0.3)
    found, _ = cpu_comixup.solve(scaled, peaks, m, **how)
    names = ("sweeps", "resolve", "beta", "gamma", "tau", "soft")
    same = 0
    for part, (z, hidden, likes) in enumerate(parts_of(found, scaled, peaks, m, how["omega"])):
        start = start_labels(m, side * side, part)
        solver, rest = reference.least_labels, {name: how[name] for name in names}
        same += (reference.solved(start, hidden, likes, side, solver, **rest) == z).all()
    assert same >= least


def test_the_best_of_several_starts_costs_no_more_than_swaps():
    """The released solver's part from its one start, with swaps made again here."""
    m, side = 4, 2
    scaled, peaks = measured(25, m, side, 1.0, seed=3)
    found, costs = cpu_comixup.solve(scaled, peaks, m, **USUAL | {"starts": 32})
    names = ("sweeps", "resolve", "beta", "gamma", "tau", "soft")
    rest = {name: USUAL[name] for name in names}
    objective = {name: USUAL[name] for name in ("beta", "gamma", "tau", "soft")}
    lower = 0
    for part, (_, hidden, likes) in enumerate(parts_of(found, scaled, peaks, m, USUAL["omega"])):
        start = start_labels(m, side * side, part)
        theirs = reference.solved(start, hidden, likes, side, reference.swap, **rest)
        theirs = reference.objective(theirs, hidden, likes, side, **objective)
        assert costs[part] <= theirs + 1e-6
        lower += costs[part] < theirs - 1e-6
    assert lower > 5
    fewer = [cpu_comixup.solve(scaled, peaks, m, **USUAL | {"starts": k})[1] for k in (1, 4)]
    assert (costs <= fewer[1]).all() and (fewer[1] <= fewer[0]).all()


@pytest.mark.parametrize("m, side, beta", [(3, 2, 0.3), (3, 2, 1.0), (5, 2, 0.3)])
def test_an_output_is_cheaper_than_by_swaps_and_nearly_always_the_cheapest(m, side, beta):
    """Without diversity each output is the labelling of one grid."""
    parts, n = 60, side * side
    how = USUAL | dict(gamma=0.0, sweeps=1, beta=beta)
    scaled, peaks = measured(parts, m, side, 1.0)
    found, costs = cpu_comixup.solve(scaled, peaks, m, **how)
    ours, theirs, least = [], [], []
    for _, hidden, _ in parts_of(found, scaled, peaks, m, 0.0):
        problem = (*reference.half_labels(hidden, None)[:2], beta / n, side)
        for energies, solver in ((theirs, reference.swap), (least, reference.least_labels)):
            energies.append(reference.energy(*problem, solver(*problem)))
    ours = costs / m
    np.testing.assert_array_less(np.array(least) - 1e-6, ours)
    assert (ours < np.array(least) + 1e-6).mean() > 0.9
    assert (ours < np.array(theirs) + 1e-6).mean() > 0.95 and ours.mean() <= np.mean(theirs) + 1e-7


def test_blocks_that_are_about_as_salient_in_two_inputs_show_half_of_each():
    """By what that costs less, 5e-4, without neighbours and diversity."""
    m, side, parts = 2, 2, 50
    scaled, peaks = measured(parts, m, side, 0.004)
    how = USUAL | dict(beta=0.0, gamma=0.0)
    first, _ = cpu_comixup.solve(scaled, peaks, m, **how | {"sweeps": 1})
    found, _ = cpu_comixup.solve(scaled, peaks, m, **how | {"sweeps": 2})
    pairs = zip(scaled.reshape(parts, m, -1), found[::m].reshape(parts, -1, 2), strict=True)
    for part, (hidden, shown) in enumerate(pairs):
        begun = first[part * m : (part + 1) * m, ..., 0].reshape(m, -1) - part * m
        if (begun == start_labels(m, side**2, part)).all():
            continue  # it stops where the first sweep changes nothing
        both = len(np.unique(begun[0])) == 2
        close = np.abs(hidden[0] - hidden[1]) / 2 < 5e-4 * SHARE_ONE
        np.testing.assert_array_equal(shown[:, 0] != shown[:, 1], both & close)
    assert 0.2 < (found[..., 0] != found[..., 1]).mean() < 0.9


def test_halves_are_of_the_three_inputs_that_an_output_showed_most():
    m, side = 6, 4
    scaled, peaks = measured(30, m, side, 0.02)
    how = USUAL | dict(beta=0.0, gamma=0.0)
    first, _ = cpu_comixup.solve(scaled, peaks, m, **how | {"sweeps": 1})
    found, _ = cpu_comixup.solve(scaled, peaks, m, **how | {"sweeps": 2})
    halves = 0
    for start in range(0, len(found), m):
        counts = np.bincount(first[start].ravel() - start, minlength=m)
        most = np.argsort(-counts, kind="stable")[:3]
        pairs = (found[start] - start).reshape(-1, 2)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        assert np.isin(pairs, most).all()
        halves += len(pairs)
    assert halves > 50


def test_the_prior_is_that_of_a_dirichlet_distribution():
    """Of flat maps every block shows the input of greatest weight, which the cost tells."""
    m, eta, parts = 2, 0.5, 400
    scaled, peaks = np.full((parts * m, 2, 2), SHARE_ONE // 4, np.int32), np.zeros((800, 2), "i4")
    how = USUAL | dict(beta=0.0, gamma=0.0, eta=eta, alpha=2.0)
    _, costs = cpu_comixup.solve(scaled, peaks, m, **how)
    greatest = np.sort(np.exp(-(costs / m + 1) / eta) - 1e-8)
    cdf = 2 * (3 * greatest**2 - 2 * greatest**3) - 1  # of the greater of two shares, Beta(2, 2)
    assert np.abs(cdf - (np.arange(parts) + 0.5) / parts).max() < 1.63 / parts**0.5  # 1 %


def test_inputs_are_shown_about_once():
    maps = maps_of(80, 32, 1.5)
    shown = comixup.solve(maps).weights().reshape(4, 20, 20)
    np.testing.assert_allclose(shown.sum(2), 1)
    assert shown.sum(1).min() > 0.5 and shown.sum(1).max() < 1.6
    assert 2 < (shown > 0).sum(2).mean() < 4


def test_draws_depend_on_seed_step_rank_and_part_and_on_nothing_else():
    maps = maps_of(50, 32, 1.0)
    first = comixup.solve(maps, threads=1)
    again = comixup.solve(maps, threads=2)
    np.testing.assert_array_equal(first.sources, again.sources)
    np.testing.assert_array_equal(first.costs, again.costs)
    np.testing.assert_array_equal(
        comixup.solve(maps[:40] * 7).sources, first.sources[:40]  # the scale does not matter
    )  # fmt: skip
    for other in (dict(seed=1), dict(step=1), dict(rank=1)):
        assert (comixup.solve(maps, **other).sources != first.sources).any()
    parts = comixup.solve(np.concatenate([maps[:20]] * 2)).sources
    assert (parts[20:] - 20 != parts[:20]).any()


def test_small_parts():
    maps = maps_of(5, 16, 1.0)
    alone = comixup.solve(maps, settings=CoMixupSettings(part=1))
    assert (alone.sources == np.arange(5)[:, None, None, None]).all()
    whole = comixup.solve(maps)  # the batch is smaller than a part
    assert whole.weights().shape == (5, 20) and (whole.weights()[:, 5:] == 0).all()
    odd = comixup.solve(maps, settings=CoMixupSettings(part=2))
    assert len(odd.costs) == 3 and (odd.sources[4] == 4).all()
    assert (odd.sources[2:4] // 2 == 1).all()
    assert comixup.solve(maps[:0]).sources.shape == (0, 4, 4, 2)


# ------------------------------------------------------------------------------ images and targets


@pytest.mark.parametrize("channels, planar", [(3, False), (3, True), (1, False)])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16", "bfloat16"])
def test_images_are_those_of_the_reference(channels, planar, dtype):
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (6, 16, 24, channels), np.uint8)
    if dtype != "uint8":
        images = rng.standard_normal(images.shape, np.float32)
    found = comixup.solve(rng.random((6, 16, 24), np.float32) ** 9)
    assert (found.sources[..., 0] != found.sources[..., 1]).any()
    if planar:
        images = np.moveaxis(np.ascontiguousarray(np.moveaxis(images, 3, 1)), 1, 3)
    out = comixup.blend(torch.from_numpy(images), found, dtype=dtype)
    out = np.moveaxis(out.float().numpy(), 1, 3) if planar else out.float().numpy()
    want = reference.mixed(images.astype(float), found.sources)
    if dtype == "uint8":
        np.testing.assert_array_equal(out, np.rint(want))
    else:
        error = torch.finfo(getattr(torch, dtype)).eps
        np.testing.assert_allclose(out, want, rtol=error, atol=2e-7)
    if dtype == "float32" and channels == 3 and not planar:
        images[0] = np.nan  # spreads to what shows it, only
        shows = (found.sources == 0).any(-1).repeat(4, 1).repeat(6, 2)
        np.testing.assert_array_equal(np.isnan(comixup.blend(images, found)[..., 0]), shows)


def test_targets_are_shares_of_blocks():
    found = comixup.solve(maps_of(7, 16, 1.0), settings=CoMixupSettings(part=3))
    labels = np.array([0, 1, 1, 2, 0, 2, 3])
    rows = np.zeros((7, 5))
    for j, source in enumerate(found.sources.reshape(7, -1)):
        np.add.at(rows[j], labels[source], 1 / 32)
    dense = comixup.targets(labels, found, num_classes=5)
    np.testing.assert_allclose(dense, rows, atol=1e-7)
    soft = np.eye(5, dtype=np.float32)[labels]
    np.testing.assert_allclose(comixup.targets(soft, found), rows, atol=1e-7)
    smoothed = comixup.targets(labels, found, num_classes=5, smoothing=0.1)
    np.testing.assert_allclose(smoothed, 0.9 * rows + 0.02, atol=1e-7)
    indices, weights = comixup.targets(torch.from_numpy(labels), found, compact=True)
    assert indices.shape == weights.shape == (7, 3) and indices.dtype == torch.int64
    again = torch.zeros(7, 5).scatter_add_(1, indices, weights)
    np.testing.assert_allclose(again, rows, atol=1e-7)
    assert indices[6].tolist() == [3, 3, 3] and weights[6].tolist() == [1, 0, 0]
    one = comixup.targets(np.zeros(7, int), found, num_classes=1)
    np.testing.assert_allclose(one, 1)


# ---------------------------------------------------------------------------------------- refusals

MAPS = maps_of(4, 16, 1.0)


@pytest.mark.parametrize(
    "maps, how, error, text",
    [
        (MAPS[0], {}, ValueError, r"saliency: expected shape \(B, H, W\), got \(16, 16\)"),
        (MAPS.astype(float), {}, TypeError, "saliency: expected float32, got float64"),
        (MAPS, {"blocks": 3}, ValueError, "saliency: expected sides that are multiples of 3"),
        (MAPS, {"blocks": 1}, ValueError, "blocks: expected 2 to 16 along each side"),
        (MAPS, {"settings": {}}, TypeError, "settings: expected CoMixupSettings, got {}"),
        (MAPS, {"seed": -1}, ValueError, "seed: expected"),
        (MAPS, {"step": 2**32}, ValueError, "step: expected"),
        (MAPS, {"threads": -1}, ValueError, "threads: expected"),
    ],
)
def test_arrays_that_are_refused(maps, how, error, text):
    with pytest.raises(error, match=text):
        comixup.solve(maps, **how)


@pytest.mark.parametrize(
    "how, error, text",
    [
        (dict(part=0), ValueError, "part: expected 1 to 64"),
        (dict(sweeps=1.5), TypeError, "sweeps: expected 1 to 16"),
        (dict(starts=65), ValueError, "starts: expected 1 to 64"),
        (dict(alpha=0), ValueError, r"alpha: expected a number in \[0.01, 100\]"),
        (dict(beta=9), ValueError, r"beta: expected a number in \[0, 8\]"),
        (dict(gamma=float("nan")), ValueError, r"gamma: expected a number in \[0, 4\]"),
        (dict(tau="a"), TypeError, r"tau: expected a number in \[0, 1\]"),
        (dict(soft=1), TypeError, "soft: expected True or False, got 1"),
    ],
)
def test_settings_that_are_refused(how, error, text):
    with pytest.raises(error, match=text):
        CoMixupSettings(**how)


def test_images_and_labels_that_do_not_fit_are_refused():
    found = comixup.solve(MAPS)
    images = np.zeros((4, 16, 16, 3), np.uint8)
    for given, text in (
        (images[:3], r"sources: expected int32 \(3, n, n, 2\)"),
        (images[:, :15], "images: expected sides that are multiples of 4"),
        (images[0], "images: expected shape"),
    ):
        with pytest.raises(ValueError, match=text):
            comixup.blend(given, found)
    for dtype in ("uint8", "int32"):
        with pytest.raises(ValueError, match="dtype: expected"):
            comixup.blend(images.astype(np.float32), found, dtype=dtype)
    for sources in (found.sources + 4, found.sources - 4, found.sources.astype(int)):
        with pytest.raises(ValueError, match="sources: expected"):
            comixup.blend(images, dataclasses.replace(found, sources=sources))
    with pytest.raises(ValueError, match="num_classes: expected"):
        comixup.targets(np.zeros(4, int), found)
    with pytest.raises(ValueError, match="compact: expected class indices and no smoothing"):
        comixup.targets(np.zeros((4, 2), np.float32), found, compact=True)
