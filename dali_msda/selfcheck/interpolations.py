"""The checks of several interpolations of a pair, and those of LaMix's batches."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from dali_msda.ops import blend, targets
from dali_msda.policy import CutMix, FMix, GMix, HMix, LaMix, Mixup, MultiMix, ResizeMix
from dali_msda.selfcheck import laws, rows
from dali_msda.selfcheck.rows import Row, Run

K = 5
NESTED = {  # own weights fall with lambda at every pixel
    "mixup": Mixup(),
    "cutmix, clip": CutMix(),
    "cutmix, inside": CutMix(box="inside"),
    "cutmix, wrap": CutMix(box="wrap"),
    "fmix": FMix(),
    "fmix, legacy": FMix(law="legacy"),
    "gmix, exact": GMix(mode="exact"),
    "gmix, paper": GMix(mode="paper"),
    "resizemix": ResizeMix(),
}
"""HMix and the mode "code" of GMix are left out: around a box, or in a bump, weights may rise."""

BOXED = {"hmix": HMix(), "hmix, inside": HMix(box="inside")}


def nesting(run: Run) -> Iterator[Row]:
    """The lambdas and label weights of every pair fall, and what is pasted grows."""
    size = (19, 30)
    for name, policy in {**NESTED, **BOXED, "gmix, code": GMix()}.items():
        plan = run.plan(f"multi-mix of {name}", MultiMix(policy, K), run.draws(1000), *size)
        check = f"multi-mix of {name}: lambdas that rise with k"
        yield rows.equal(check, 0, np.count_nonzero(np.diff(plan["lam"]) > 0))
        masks = rows.mask(plan, *size)
        if name in NESTED:
            check = f"multi-mix of {name}: own weights that rise with k"
            yield rows.equal(check, 0, np.count_nonzero(np.diff(masks, axis=1) > rows.ROUNDING))
            check = f"multi-mix of {name}: label weights that rise with k"
            yield rows.equal(check, 0, np.count_nonzero(np.diff(plan["weight"]) > 0))
        elif name in BOXED:
            check = f"multi-mix of {name}: boxes that are not nested"
            yield rows.equal(check, 0, _not_nested(plan))
        if name not in ("gmix, exact", "gmix, paper"):  # their labels are lambda
            check = f"multi-mix of {name}: w is the mean of the mask"
            yield rows.weight_is_mean(check, plan, masks)


def _not_nested(plan: np.ndarray) -> int:
    """Boxes that do not hold the one before."""
    holds = np.ones((len(plan), plan.shape[1] - 1), bool)
    for axis in ("y", "x"):
        holds &= plan[axis + "0"][:, 1:] <= plan[axis + "0"][:, :-1]
        holds &= plan[axis + "1"][:, 1:] >= plan[axis + "1"][:, :-1]
    return int(np.count_nonzero(~holds))


def alike(run: Run) -> Iterator[Row]:
    """An interpolation is the mix that its method makes of the pair at that lambda."""
    size, batch = (19, 30), 64
    images = run.rng("multi-mix").random((batch, *size, 3), np.float32)
    labels = np.arange(batch) % 10
    policies = {"cutmix": CutMix(), "fmix": FMix(), "hmix": HMix(), "gmix": GMix()}
    for name, policy in policies.items():
        check = f"multi-mix of {name}: each is a mix of its own"
        plan = run.plan(check, MultiMix(policy, K), batch, *size)
        mixed, made = blend(images, plan), targets(labels, plan, num_classes=10)
        single = [run.plan(check, policy, batch, *size, lam=plan["lam"][:, k]) for k in range(K)]
        one_by_one = np.stack([blend(images, one) for one in single], 1)
        yield rows.equal(check, one_by_one, mixed)
        one_by_one = np.stack([targets(labels, one, num_classes=10) for one in single], 1)
        yield rows.equal(f"{check}, targets", one_by_one, made)


def order(run: Run) -> Iterator[Row]:
    """K lambdas are K draws, in falling order: shared by a batch, or each sample's own."""
    for share in ("pair", "batch"):
        check = f"multi-mix, lambdas of each {share}: E of each"
        policy = MultiMix(Mixup(), K, share=share)
        batch, steps = (2, run.draws(20_000)) if share == "batch" else (run.draws(40_000), 1)
        plans = [run.plan(check, policy, batch, 1, 1, step=step) for step in range(steps)]
        lam = np.stack([plan["lam"] for plan in plans]).astype(np.float64)  # steps, batch, K
        drawn = lam[:, 0] if share == "batch" else lam[0]
        # Of K uniform draws, the k-th greatest is (K + 1 - k) / (K + 1) on average.
        expected = np.arange(K, 0, -1) / (K + 1)
        error = drawn.std(0) / math.sqrt(len(drawn))
        yield rows.estimate(check, expected, drawn.mean(0), error)
        check = f"multi-mix, lambdas of each {share}: slots with those of slot 0"
        same = np.count_nonzero((lam == lam[:, :1]).all(2))
        yield rows.equal(check, lam[..., 0].size if share == "batch" else steps, same)


def variance(run: Run) -> Iterator[Row]:
    """Variance of a batch's mean over pairs and lambdas (laws.variance_of_mean)."""
    batch, n, pairs = 4, 6, 8
    images = run.rng("multi-mix: variance").random((pairs, 2, n, n))
    images *= np.linspace(0.9, 1.1, pairs)[:, None, None, None]
    images[:, 1] *= 0.2  # so that lambda matters
    images = images.astype(np.float32).astype(np.float64)
    methods = {
        "mixup": (Mixup(partner="flip"), laws.mixup_statistic(images)),
        "cutmix": (CutMix(partner="flip"), laws.cutmix_statistic(images)),
    }
    for name, (policy, (values, chance)) in methods.items():
        mean = (values @ chance).mean()
        for k in (2, K):
            for share in ("pair", "batch"):
                check = f"multi-mix of {name}: variance, K {k}, lambdas of each {share}"
                found = _batch_means(run, check, MultiMix(policy, k, share=share), images, batch)
                expected = laws.variance_of_mean(values, chance, batch, k, share)
                yield rows.mean_of(check, expected, (found - mean) ** 2, tolerance=1e-9)


def _batch_means(
    run: Run, check: str, policy: MultiMix, images: np.ndarray, batch: int
) -> np.ndarray:
    """Mean of the squared pixels of whole batches, whose pairs are drawn from a population.

    By the partner rule "flip" the first half of a batch meets the second, in reverse.
    """
    chosen = run.rng(check).integers(0, len(images), (run.draws(6000), batch))
    size, found = images.shape[2:], np.empty(len(chosen))
    for step, pairs in enumerate(chosen):
        both = np.concatenate([images[pairs, 0], images[pairs[::-1], 1]])[..., None]
        plan = run.plan(check, policy, 2 * batch, *size, step=step)
        mixed = blend(both.astype(np.float32), plan[:batch], threads=1)
        found[step] = np.square(mixed, dtype=np.float64).mean()
    return found


def lamix(run: Run) -> Iterator[Row]:
    """Originals and averaged pairs in turn; lambda, uniform, is the label's alone."""
    size, batch, check = (6, 7), 64, "lamix"
    rng = run.rng(check)
    images, labels = rng.random((batch, *size, 3), np.float32), rng.integers(0, 10, batch)
    plans = [run.plan(check, LaMix(), batch, *size, step=step) for step in range(4)]
    check = "lamix: sources of each sample, batch by batch"
    expected = np.array([1, 2, 1, 2])[:, None]
    yield rows.equal(check, expected, np.stack([plan["sources"] for plan in plans]))
    yield rows.equal("lamix: originals stay", images, blend(images, plans[0]))
    rows_of = targets(labels, plans[0], num_classes=10)
    yield rows.equal("lamix: labels of originals stay", np.eye(10)[labels], rows_of)
    pair = (images + images[plans[1]["partner"]].astype(np.float64)) / 2
    yield rows.equal("lamix: pixels are half and half", pair, blend(images, plans[1]), 1e-7)
    weights = np.stack([plans[1]["weight"], plans[1]["partner_weight"]])
    lam = plans[1]["lam"].astype(np.float64)
    yield rows.equal("lamix: labels are mixed by lambda", [lam, 1 - lam], weights, 1e-7)
    check = "lamix: moments of lambda, uniform"
    lam = run.plan(check, LaMix(), run.draws(200_000), 1, 1, step=1)["lam"].astype(np.float64)
    yield rows.moments_of(check, laws.beta_moments(1, 1), lam)


CHECKS = (nesting, alike, order, variance, lamix)
