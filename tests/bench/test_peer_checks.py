"""A peer's output is checked before it is timed: every altered one is refused."""

import numpy as np
import pytest

import dali_msda as msda
from bench import run
from bench.cases import Mismatch
from bench.memory import normalisation
from bench.peers import checks, suite
from tests.bench.small_cases import one


def ours(method, batch=8, size=24, seed=3):
    images, labels = checks.samples(batch, size, size), np.arange(batch)
    options = {"layout": "CHW", **normalisation("float32")}
    policy = suite.POLICIES[method]
    mixed, rows = msda.mix(images, labels, policy, seed=seed, step=0, num_classes=50, **options)
    return images, mixed, rows


def shifted(mixed, rows):
    mixed[3, :, 5:9, 7:11] += 0.01


def other_labels(mixed, rows):
    rows[:] = rows[::-1].copy()


def own_labels(mixed, rows):
    rows[:] = np.eye(*rows.shape)


def swapped_weights(mixed, rows):
    for row in rows:
        first, second = np.argsort(row)[-2:]
        row[first], row[second] = row[second], row[first]


def no_sum(mixed, rows):
    rows[2] *= 0.9


def one_image_unmixed(mixed, rows):
    i = int(np.argmin(np.diag(rows)))  # the one with the most of its partner
    mixed[i] = normalised(checks.samples(len(rows), *mixed.shape[2:]))[i]


def normalised(images):
    options = {"layout": "CHW", **normalisation("float32")}
    plan = msda.draw(msda.Mixup(prob=0.0), *images.shape[:3], seed=0, step=0)
    return msda.blend(images, plan, **options)


def not_normalised(mixed, rows):
    mixed *= 58.0


def mirrored(mixed, rows):
    mixed[:] = mixed[..., ::-1].copy()


ALTERED = [shifted, other_labels, own_labels, swapped_weights, no_sum, one_image_unmixed,
           not_normalised, mirrored]  # fmt: skip


@pytest.mark.parametrize("method", suite.POLICIES)
def test_what_is_right_passes(method):
    for seed in range(40):
        images, mixed, rows = ours(method, seed=seed)
        checks.check(images, method, mixed, rows)


def test_samples_differ_in_every_pixel():
    made = checks.samples(suite.CHECKED, 5, 7).astype(float)
    apart = np.sqrt(((made[:, None] - made[None]) ** 2).sum(-1)).min((2, 3))
    assert apart[~np.eye(len(made), dtype=bool)].min() > checks.CLEAR


@pytest.mark.parametrize("alter", ALTERED, ids=lambda alter: alter.__name__)
@pytest.mark.parametrize("method", suite.POLICIES)
def test_what_is_altered_does_not(method, alter):
    images, mixed, rows = ours(method)
    alter(mixed, rows)
    with pytest.raises(Mismatch):
        checks.check(images, method, mixed, rows)


def test_types_and_shapes_of_a_peer():
    images, mixed, rows = ours("mixup")
    for wrong in (mixed.astype(np.float64), mixed.transpose(0, 2, 3, 1), mixed[:4]):
        with pytest.raises(Mismatch, match="images: expected"):
            checks.check(images, "mixup", wrong, rows)
    with pytest.raises(Mismatch, match="targets: expected"):
        checks.check(images, "mixup", mixed, rows.astype(np.float64))


def test_a_box_of_another_method_is_no_mixup():
    images, mixed, rows = ours("cutmix")
    with pytest.raises(Mismatch, match="mixup: expected the label's weight"):
        checks.check(images, "mixup", mixed, rows)
    images, mixed, rows = ours("mixup")
    with pytest.raises(Mismatch, match="got a mixture"):
        checks.check(images, "cutmix", mixed, rows)


def test_a_peer_that_errs_is_not_timed(monkeypatch):
    def wrong(images, labels, case):
        def work():
            mixed, rows = suite.ours(images, labels, case)()
            return mixed, rows[::-1].copy()

        return work

    monkeypatch.setitem(suite.MAKERS, "timm.Mixup", wrong)
    made = run.here(one("peers"), 2)
    assert made["failed"].startswith("outputs differ") and "ms" not in made
