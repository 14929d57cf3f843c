"""The checks of boxes, bumps, weights and batches; those of FMix are in fields.py."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dali_msda.ops import blend, targets
from dali_msda.policy import (
    Choice,
    CutMix,
    Cutout,
    FMix,
    GMix,
    HMix,
    Leaf,
    Mixup,
    Policy,
    ResizeMix,
    SaliencyMix,
)
from dali_msda.selfcheck import laws, rows
from dali_msda.selfcheck.rows import Row, Run

BOXED = {
    "cutmix, clip": CutMix(),
    "cutmix, inside": CutMix(box="inside"),
    "cutmix, wrap": CutMix(box="wrap"),
}
HMIXED = {
    "hmix r=.5, code": HMix(),
    "hmix r=.5, paper": HMix(mode="nominal", box="inside"),
    "hmix r=.75, code": HMix(r=0.75),
    "hmix r=.75, paper": HMix(r=0.75, mode="nominal", box="inside"),
}
GMIXED = {"gmix, paper": GMix(mode="paper"), "gmix, code": GMix()}
FIGURE = {"mixup": Mixup(), **BOXED, **HMIXED, **GMIXED}
"""The methods of Figure 4 of arXiv:2208.09913; it also has a choice of two of them."""

STOCHASTIC = Choice([Mixup(), CutMix()])

DISPLACEMENTS = [(0, 0), (0, 1), (0, 4), (0, 8), (0, 16), (0, 32), (8, 8), (16, 16), (32, 32)]

OTHERS = {
    "gmix, exact": GMix(mode="exact"),
    "hmix r=.5, wrap": HMix(box="wrap"),
    "resizemix": ResizeMix(),
    "cutout": Cutout(length=3),
}


def law(policy: Policy, height: int, width: int, lam: float) -> Iterator[np.ndarray]:
    """All masks of a method, or of a choice between Mixup and one whose masks can be counted."""
    if not isinstance(policy, Choice):
        yield from laws.shares(policy, height, width, lam)
        return
    for chunk in laws.shares(policy.policies[1], height, width, lam):
        yield chunk
        yield np.full_like(chunk, 1 - lam)


def coverage(run: Run) -> Iterator[Row]:
    """P(pixels j and k are both in the box), all pairs at once."""
    for name, policy in BOXED.items():
        for n in (4, 8):
            check = f"{name}: coverage, {n}x{n}, all pairs"
            drawn = run.shares(check, policy, n, n, 40_000, lam=0.5)
            yield rows.compare(check, law(policy, n, n, 0.5), drawn, rows.pairs)


def pairs_of_pixels(run: Run) -> Iterator[Row]:
    """a_jk of every pair of pixels of small images, square and not."""
    for name, policy in {**FIGURE, **OTHERS}.items():
        for height, width, lam in ((4, 4, 0.5), (4, 7, 0.25), (7, 3, 0.75)):
            if name in BOXED and height == width:
                continue  # these are in coverage()
            check = f"{name}: a_jk, {height}x{width}, lam {lam:g}"
            drawn = run.shares(check, policy, height, width, 40_000, lam=lam)
            yield rows.compare(check, law(policy, height, width, lam), drawn, rows.pairs)


def figure_4(run: Run) -> Iterator[Row]:
    """a_jk by displacement at 64 x 64, the rows of Figure 4."""
    n, lam, sums = 64, 0.5, rows.displaced(DISPLACEMENTS)
    for name, policy in {**FIGURE, "stochastic": STOCHASTIC}.items():
        check = f"{name}: Figure 4, {n}x{n}"
        drawn = run.shares(check, policy, n, n, 2000, lam=lam)
        yield rows.compare(check, law(policy, n, n, lam), drawn, sums)
    yield plane(run)


def plane(run: Run) -> Row:
    """Eq. 11, the infinite plane, in the middle of an image with a narrow bump."""
    check, n, lam = "gmix, paper: eq. 11, 64x64, lam 0.95", 64, 0.95
    middle, steps = n // 2 - 4, [(0, 0), (0, 4), (8, 0), (8, 8)]
    total, squares, count = 0.0, 0.0, 0
    for share in run.shares(check, GMix(mode="paper"), n, n, 10_000, lam=lam):
        at = [share[:, middle + y, middle + x] for y, x in steps]
        products = share[:, middle, middle] * np.stack(at)
        total, squares = total + products.sum(1), squares + (products**2).sum(1)
        count += len(share)
    mean = total / count
    error = np.sqrt((squares / count - mean**2) / count)
    expected = [laws.eq_11(lam, n, y, x) for y, x in steps]
    return rows.estimate(check, expected, mean, error, tolerance=2e-5)  # of the plane's tails


def weights(run: Run) -> Iterator[Row]:
    """Label weights on average, over all places of a box and over lambda."""
    for lam in (0.25, 0.5, 0.75):
        yield _mean_weight(run, "cutmix, clip", CutMix(), 32, lam)
    yield _mean_weight(run, "gmix, code", GMix(), 4, 0.5)
    yield _mean_weight(run, "resizemix", ResizeMix(), 31, 0.5)
    for n in (32, 224):
        check = f"cutmix, clip: E[1 - w], {n}x{n}, lam uniform"
        drawn = run.records(check, CutMix(), n, n, 200_000)["partner_weight"]
        yield rows.mean_of(check, laws.clipped_share(n), drawn)


def masks(run: Run) -> Iterator[Row]:
    """The label weight and the blended pixels of every sample follow its mask."""
    size = (19, 30)
    policies = {**BOXED, "gmix, code": GMix(), "gmix, exact": GMix(mode="exact")}
    policies |= {"hmix": HMix(), "resizemix": ResizeMix(), "mixup": Mixup()}
    policies |= {"fmix": FMix(), "fmix, soft": FMix(max_soft=0.2)}
    for name, policy in policies.items():
        check = f"{name}: w is the mean of the mask, 19x30"
        plan = run.records(check, policy, *size, 2000)
        yield rows.weight_is_mean(check, plan, rows.mask(plan, *size))
    for name, policy in {**policies, "cutout": Cutout(length=9)}.items():
        check = f"{name}: white blended with black is the mask, 19x30"
        plan = run.plan(check, replace(policy, partner="roll"), 64, *size)
        images = np.ones((64, *size, 3), np.float32)
        images[1::2] = 0
        white = blend(images, plan)[::2]  # their partners are black
        yield rows.equal(check, rows.mask(plan, *size)[::2, ..., None], white, tolerance=1e-6)


def around_peaks(run: Run) -> Iterator[Row]:
    """SaliencyMix: CutMix's boxes, centred on the partner's most salient pixel."""
    size, batch, check = (19, 30), run.draws(2000), "saliencymix: boxes around the peak, 19x30"
    peaks = run.rng(check).integers(0, size, (batch, 2))
    plan = run.plan(check, SaliencyMix(partner="roll"), batch, *size, peaks=peaks)
    centre, expected, found = peaks[plan["partner"]], [], []
    share = np.sqrt(1 - plan["lam"].astype(np.float64))
    for axis, (name, n) in enumerate(zip("yx", size, strict=True)):
        half = (n * share).astype(int) // 2
        expected += [np.maximum(centre[:, axis] - half, 0), np.minimum(centre[:, axis] + half, n)]
        found += [plan[name + "0"], plan[name + "1"]]
    yield rows.equal(check, expected, found)
    check = "saliencymix: w is the mean of the mask, 19x30"
    yield rows.weight_is_mean(check, plan, rows.mask(plan, *size))


def _mean_weight(run: Run, name: str, policy: Leaf, n: int, lam: float) -> Row:
    check = f"{name}: E[1 - w], {n}x{n}, lam {lam:g}"
    values = np.concatenate([chunk.mean((1, 2)) for chunk in law(policy, n, n, lam)])
    drawn = run.records(check, policy, n, n, 100_000, lam)["partner_weight"].astype(np.float64)
    return rows.estimate(check, values.mean(), drawn.mean(), values.std() / math.sqrt(len(drawn)))


def lambdas(run: Run) -> Iterator[Row]:
    """Moments of lambda, and of the factor that ResizeMix draws instead."""
    for alpha in (0.2, 1.0, 2.0):
        check = f"mixup: moments of Beta({alpha:g}, {alpha:g})"
        yield _moments(run, check, Mixup(alpha=alpha), laws.beta_moments(alpha, alpha))
    check = "fmix, reformulated: moments of Beta(2, 1)"
    yield _moments(run, check, FMix(reformulate=True), laws.beta_moments(2, 1))
    check, (low, high) = "resizemix: E[tau^2], tau in (.1, .8)", (0.1, 0.8)
    plan = run.records(check, ResizeMix(tau=(low, high)), 224, 224, 200_000)
    squared = (high**3 - low**3) / (3 * (high - low))
    yield rows.mean_of(check, squared, 1 - plan["lam"].astype(np.float64))
    check = "resizemix: E[1 - w], 224x224"
    yield rows.mean_of(check, laws.resized_area(224, low, high), plan["partner_weight"])


def _moments(run: Run, check: str, policy: Leaf, expected: tuple[float, float, float]) -> Row:
    return rows.moments_of(check, expected, run.records(check, policy, 1, 1, 200_000)["lam"])


def batches(run: Run) -> Iterator[Row]:
    """What holds for every batch, exactly or to the last bits of float32."""
    rng = run.rng("batches")
    images = rng.integers(0, 256, (32, 12, 17, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, 32)
    methods = {"mixup": Mixup(), "cutmix": CutMix(), "fmix": FMix(), "hmix": HMix()}
    for name, policy in {**methods, "gmix": GMix()}.items():
        yield from _one_mask(run, name, replace(policy, scope="batch"), images, labels)
        yield from _two_by_two(run, name, replace(policy, scope="pair"), images)
        yield from _alone(run, name, policy, images, labels)
    check = "partners: E of fixed points of a permutation of 64"
    fixed = [
        np.count_nonzero(run.plan(check, Mixup(), 64, 1, 1, step)["partner"] == np.arange(64))
        for step in range(run.draws(3000))
    ]
    yield rows.mean_of(check, 1, np.array(fixed))


def _mixed(run: Run, check: str, policy: Leaf, images: np.ndarray, lam: float | None = None):
    plan = run.plan(check, policy, *images.shape[:3], lam=lam)
    return plan, blend(images, plan, dtype="float32").astype(np.float64)


def _one_mask(
    run: Run, name: str, policy: Leaf, images: np.ndarray, labels: np.ndarray
) -> Iterator[Row]:
    """One mask for a batch and partners that are a permutation: nothing is lost."""
    check = f"{name}: sum over a batch that shares a mask"
    plan, mixed = _mixed(run, check, policy, images)
    yield rows.equal(check, images.sum(0, dtype=np.float64), mixed.sum(0), tolerance=2e-3)
    mass = targets(labels, plan, num_classes=10).sum(0, dtype=np.float64)
    check = f"{name}: mass of each class in that batch"
    yield rows.equal(check, np.bincount(labels, minlength=10), mass, tolerance=1e-5)


def _two_by_two(run: Run, name: str, policy: Leaf, images: np.ndarray) -> Iterator[Row]:
    check = f"{name}: sum over each pair"
    plan, mixed = _mixed(run, check, policy, images)
    partner = plan["partner"]
    pair = images.astype(np.float64) + images[partner]
    yield rows.equal(check, pair, mixed + mixed[partner], tolerance=1e-3)


def _alone(
    run: Run, name: str, policy: Leaf, images: np.ndarray, labels: np.ndarray
) -> Iterator[Row]:
    """Images stay if mixed with equal ones or at lambda 1; at lambda 0 the partners show."""
    check = f"{name}: an image mixed with its like"
    same = np.broadcast_to(images[:1], images.shape)
    plan = run.plan(check, policy, *images.shape[:3])
    yield rows.equal(check, same, blend(np.ascontiguousarray(same), plan))
    check = f"{name}: sum of each row of targets"
    dense = targets(labels, plan, num_classes=10)
    yield rows.equal(check, 1, dense.sum(1), tolerance=2e-6)
    check = f"{name}: cross-entropy of rows, and of compact targets"
    logs = run.rng(check).standard_normal((len(labels), 10))
    pair, weight = targets(labels, plan, compact=True)
    by_hand = (weight * np.take_along_axis(logs, pair, 1)).sum(1)
    yield rows.equal(check, by_hand, (dense * logs).sum(1), tolerance=2e-6)
    check = f"{name}: lam 1 changes nothing"
    _, mixed = _mixed(run, check, policy, images, lam=1.0)
    yield rows.equal(check, images, mixed)
    if isinstance(policy, CutMix):
        return  # a clipped box leaves a border even at lambda 0
    check = f"{name}: lam 0 gives the partners"
    plan, mixed = _mixed(run, check, policy, images, lam=0.0)
    yield rows.equal(check, images[plan["partner"]], mixed)


CHECKS = (coverage, pairs_of_pixels, figure_4, weights, masks, around_peaks, lambdas, batches)
