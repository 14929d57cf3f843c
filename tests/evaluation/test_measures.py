"""Measures and harder images against NumPy that is written from their definitions."""

import numpy as np
import pytest
import torch
from torch import nn

from dali_msda.pipelines.evaluation import attacks, measures
from dali_msda.pipelines.training.metrics import BINS, CleanMetrics
from tests.evaluation.numpy_measures import softmax, wanted

NAMES = [f"c{number}" for number in range(7)]


def drawn(images=60, classes=7, present=(0, 2, 3, 6), seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (images, classes)).astype(np.float32)
    return logits, rng.choice(present, images)


def answers_of(logits, labels):
    return measures.answers_of(torch.from_numpy(logits), torch.from_numpy(labels))


@pytest.mark.parametrize("bins", [10, 15])
@pytest.mark.parametrize("classes", [7, 3, 1])
def test_measures_are_those_of_numpy(classes, bins):
    logits, labels = drawn(classes=classes, present=range(classes))
    halves = [answers_of(logits[part], labels[part]) for part in (np.s_[:25], np.s_[25:])]
    assert measures.summary(measures.joined(halves), bins) == pytest.approx(
        wanted(logits, labels, bins), rel=1e-9
    )


def test_measures_are_those_of_the_trainers_validation():
    logits, labels = drawn()
    theirs = CleanMetrics()
    theirs.add(torch.from_numpy(logits), torch.from_numpy(labels))
    ours = measures.summary(answers_of(logits, labels), BINS)
    assert ours.pop("images") == 60
    assert theirs.result() == pytest.approx({"val_loss": ours.pop("loss"), **ours}, rel=1e-5)


def test_bins_are_closed_above_and_empty_ones_say_so():
    told = measures.Answers(
        np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([0.5, 0.500001, 1.0]),
        np.array([True] * 3), np.zeros(3),
    )  # fmt: skip
    rows = measures.calibration(told, 4)
    assert [row["images"] for row in rows] == [0, 1, 1, 1]
    assert rows[0] == {"above": 0, "to": 0.25, "images": 0, "accuracy": None, "confidence": None}
    assert rows[1] == {"above": 0.25, "to": 0.5, "images": 1, "accuracy": 100, "confidence": 50}
    mistakes = [row["mistaken_for"] for row in measures.by_class(told, NAMES[:2])]
    assert mistakes == ["c1", None]


def test_classes_without_images_have_no_measures():
    logits, labels = drawn()
    rows = measures.by_class(answers_of(logits, labels), NAMES)
    assert [row["class"] for row in rows] == NAMES
    for label, row in enumerate(rows):
        own = labels == label
        if not own.any():
            assert set(row.values()) == {NAMES[label], 0, None}
            continue
        want = wanted(logits[own], labels[own], 10)
        assert {key: row[key] for key in ("images", "top1", "top5", "loss")} == pytest.approx(
            {key: want[key] for key in ("images", "top1", "top5", "loss")}
        )
        wrong = [best for best in logits[own].argmax(1).tolist() if best != label]
        most = max(map(wrong.count, wrong))
        assert row["mistaken_for"] == NAMES[min(c for c in wrong if wrong.count(c) == most)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(value):
    logits, labels = drawn()
    logits[[3, 5], 1] = value
    with pytest.raises(FloatingPointError, match="logits: expected finite .* 2 of the 60 images"):
        answers_of(logits, labels)


# Harder images.


def test_fgsm_is_that_of_a_linear_model():
    """Whose gradient is known: (softmax - one-hot) times the weights."""
    rng = np.random.default_rng(1)
    layer = nn.Linear(48, 5)
    weights, bias = (one.detach().double().numpy() for one in (layer.weight, layer.bias))
    pixels = rng.random((6, 3, 4, 4), np.float32)
    pixels[0, 0, 0] = [0, 1, 0, 1]  # ends, at which some steps are clipped
    labels = rng.integers(0, 5, 6)
    found = attacks.fgsm(
        nn.Sequential(nn.Flatten(), layer), torch.from_numpy(pixels), torch.from_numpy(labels),
        [1, 8],
    )  # fmt: skip
    shares = softmax(pixels.reshape(6, -1) @ weights.T + bias)
    gradient = ((shares - np.eye(5)[labels]) @ weights).reshape(pixels.shape)
    for step, one in zip((1, 8), found, strict=True):
        want = np.clip(pixels + step / 255 * np.sign(gradient), 0, 1)
        np.testing.assert_allclose(one.numpy(), want, atol=1e-7)


def test_backgrounds_change_and_boxes_do_not():
    rng = np.random.default_rng(2)
    pixels, others = (torch.from_numpy(rng.random((5, 3, 6, 6), np.float32)) for _ in range(2))
    inside = torch.from_numpy(rng.random((5, 6, 6)) < 0.4)
    replaced = attacks.replace_background(pixels, others, inside)
    noisy = attacks.add_noise_to_background(pixels, inside, np.random.default_rng(3))
    noise = np.random.default_rng(3).standard_normal((5, 3, 6, 6), np.float32)
    for index in np.ndindex(5, 3, 6, 6):
        kept = bool(inside[index[0], index[2], index[3]])
        assert replaced[index] == (pixels if kept else others)[index]
        moved = min(max(float(pixels[index]) + 0.1 * noise[index], 0), 1)
        assert float(noisy[index]) == pytest.approx(float(pixels[index]) if kept else moved)
    again = np.random.default_rng(3)  # in two batches
    parts = [attacks.add_noise_to_background(pixels[part], inside[part], again)
             for part in (np.s_[:2], np.s_[2:])]  # fmt: skip
    assert torch.equal(torch.cat(parts), noisy)


def test_other_images_are_others():
    for count in (2, 3, 50):
        others = attacks.other_images(count, np.random.default_rng(count))
        assert sorted(others) == list(range(count)) and (others != np.arange(count)).all()
    with pytest.raises(ValueError, match="boxes: expected at least 2 images .* got 1"):
        attacks.other_images(1, np.random.default_rng(0))
