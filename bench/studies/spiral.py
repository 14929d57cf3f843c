"""Manifold Mixup on the noisy spiral: accuracy by number of interpolations, and what is learned.

Shen et al., Mixup Augmentation with Multiple Interpolations, arXiv:2406.01417, figure 4: 1000
points, 40 % for training, 20 % of whose labels are flipped; eight hidden layers of six units, Adam
with 0.01, 3000 epochs of batches of 256; hidden layer 1 or 2 is mixed, drawn for each batch.

The paper does not say which spiral, noise, activation, first weights, weight decay and alpha it
had. Here: two arms of one turn, noise of 0.05 of their length, leaky ReLU (slope 0.1) or ReLU,
Kaiming's normal weights, decay 1e-4 and alpha 1. The lambdas of a batch are shared by its pairs.

The networks of all seeds are trained at once. They differ in data, flipped labels and first
weights, and share the order of batches, the layers and the lambdas.
"""

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from bench.studies.lines import line, mean_and_deviation
from dali_msda import Mixup, MultiMix
from dali_msda.torch import ManifoldMixup, soft_target_cross_entropy

SEEDS, EPOCHS = 10, 3000
POINTS, TRAINING, FLIPPED, BATCH = 1000, 400, 80, 256
WIDTHS = [2, *[6] * 8, 2]
LAYERS = ("1", "2")
NOISE, SLOPE, DECAY = 0.05, 0.1, 1e-4
ACTIVATIONS = {"leaky ReLU": SLOPE, "ReLU": 0.0}
POLICIES = {
    0: None,
    1: Mixup(alpha=1.0, scope="batch"),
    5: MultiMix(Mixup(alpha=1.0, scope="batch"), 5, share="batch"),
}
GRID, EDGE = 56, 2.6  # points of the picture along each side, and how far it reaches


def run(seeds: int = SEEDS, epochs: int = EPOCHS) -> Iterator[dict]:
    """Train all networks; yield a line for each activation and number of interpolations."""
    sets = [points(seed) for seed in range(seeds)]
    for activation, slope in ACTIVATIONS.items():
        for k, policy in POLICIES.items():
            layers = train(sets, slope, policy, epochs)
            with torch.no_grad():
                inputs, labels = (torch.stack([made[part] for made in sets]) for part in (2, 3))
                right = forward(layers, inputs, slope).argmax(2) == labels
                shown = forward(layers, grid().expand(seeds, -1, -1), slope).argmax(2)[0]
            shares = [100 * share for share in right.double().mean(1).tolist()]
            figures = mean_and_deviation("accuracy", shares)
            figures["classes"] = [
                "".join(map(str, row)) for row in shown.reshape(GRID, GRID).tolist()
            ]
            yield line(
                "spiral", dict(activation=activation, k=k, seeds=seeds, epochs=epochs), figures
            )


def points(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points and labels to train with, some of them wrong, then those to test with."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(POINTS) % 2
    radius = torch.rand(POINTS, generator=random).sqrt()
    angle = 2 * math.pi * radius + math.pi * labels
    arms = radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    arms = 2 * (arms + NOISE * torch.randn(POINTS, 2, generator=random))
    order = torch.randperm(POINTS, generator=random)
    arms, labels = arms[order], labels[order]
    given = labels[:TRAINING].clone()
    wrong = torch.randperm(TRAINING, generator=random)[:FLIPPED]
    given[wrong] = 1 - given[wrong]
    return arms[:TRAINING], given, arms[TRAINING:], labels[TRAINING:]


def train(sets: list, slope: float, policy: object, epochs: int) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of each layer after training, those of all seeds in one tensor."""
    layers = first_weights(len(sets))
    inputs = torch.stack([made[0] for made in sets])
    rows = functional.one_hot(torch.stack([made[1] for made in sets]), 2).float()
    mix = policy and ManifoldMixup(None, LAYERS, policy, seed=0, rank=0)
    parameters = [each for layer in layers for each in layer]
    steps = torch.optim.Adam(parameters, 0.01, weight_decay=DECAY, fused=True)
    random = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for batch in torch.randperm(TRAINING, generator=random).split(BATCH):
            x, targets = inputs[:, batch], rows[:, batch]
            if mix:  # whose batches are in front, while the seeds are part of a sample
                with mix(targets.transpose(0, 1).flatten(1)) as mixed:
                    logits = forward(layers, x, slope, mix)
                targets = mixed.reshape(len(mixed), *targets.shape[::2]).transpose(0, 1)
            else:
                logits = forward(layers, x, slope)
            loss = soft_target_cross_entropy(logits.flatten(0, 1), targets.flatten(0, 1))
            steps.zero_grad()
            (len(sets) * loss).backward()  # the sum over seeds of each one's mean
            steps.step()
    return layers


def first_weights(seeds: int) -> list[tuple[Tensor, Tensor]]:
    """Weights ``(seeds, inputs, outputs)`` and biases ``(seeds, 1, outputs)`` of each layer."""
    randoms = [torch.Generator().manual_seed(1000 + seed) for seed in range(seeds)]
    layers = []
    for width, outputs in itertools.pairwise(WIDTHS):
        drawn = [torch.randn(width, outputs, generator=random) for random in randoms]
        weight = math.sqrt(2 / width) * torch.stack(drawn)
        layers.append((weight.requires_grad_(), torch.zeros(seeds, 1, outputs).requires_grad_()))
    return layers


def forward(layers: list, x: Tensor, slope: float, mix: ManifoldMixup | None = None) -> Tensor:
    """Logits ``(seeds, batch, 2)`` of points ``(seeds, batch, 2)``."""
    for number, (weight, bias) in enumerate(layers, 1):
        x = torch.baddbmm(bias, x, weight)
        if number < len(layers):
            x = functional.leaky_relu(x, slope)
        if mix and str(number) in LAYERS:
            x = mix.at(str(number), x.transpose(0, 1)).transpose(0, 1)
    return x


def grid() -> Tensor:
    """The points of the picture, row by row from its top."""
    along = torch.linspace(-EDGE, EDGE, GRID)
    y, x = torch.meshgrid(along.flip(0), along, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], 1)
