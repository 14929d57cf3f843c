"""The squared norm of a batch's gradient over the number of interpolations.

Shen et al., Mixup Augmentation with Multiple Interpolations, arXiv:2406.01417, figure 8 has it for
CIFAR-100 and a ResNeXt-29 over 300 epochs: it falls with the number of interpolations. Here a net
2-32-32-2 is trained on two arms of a spiral with Mixup, and then, its weights fixed, the gradients
of many batches of 64 pairs are taken. The lambdas are shared by the batch, as in the paper, or
drawn for each pair. Alpha is 1, which the paper leaves open.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bench.studies.lines import line, mean_and_deviation
from dali_msda import Mixup, MultiMix, Policy
from dali_msda.torch import ManifoldMixup, soft_target_cross_entropy

SEEDS, DRAWS, STEPS = 5, 400, 600
POINTS, BATCH, WIDTH = 400, 64, 32
INTERPOLATIONS = (1, 3, 5, 7, 9)
LAMBDAS = {"batch": "batch", "pair": "sample"}  # who shares them, and the scope of Mixup


def run(seeds: int = SEEDS, draws: int = DRAWS, steps: int = STEPS) -> Iterator[dict]:
    """Measure each number of interpolations; yield a line for each, over several networks."""
    trained = [trained_net(seed, steps) for seed in range(seeds)]
    for lambdas in LAMBDAS:
        for k in INTERPOLATIONS:
            found = [norms(*each, policy(k, lambdas), draws) for each in trained]
            figures = mean_and_deviation("squared_norm", [total for total, _ in found])
            figures |= mean_and_deviation("variance", [variance for _, variance in found])
            yield line(
                "gradient_norms", dict(lambdas=lambdas, k=k, seeds=seeds, draws=draws), figures
            )


def policy(k: int, lambdas: str) -> Policy:
    """What is drawn for a batch."""
    mixup = Mixup(alpha=1.0, scope=LAMBDAS[lambdas])
    return mixup if k == 1 else MultiMix(mixup, k, share=lambdas)


def trained_net(seed: int, steps: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network, the points that it was trained with, and their labels."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (POINTS,), generator=random)
    radius = torch.rand(POINTS, generator=random).sqrt()
    angle = 2 * math.pi * radius + math.pi * labels
    points = 2 * radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = ((2, WIDTH), (WIDTH, WIDTH))
        hidden = [part for size in sizes for part in (nn.Linear(*size), nn.ReLU())]
        net = nn.Sequential(*hidden, nn.Linear(WIDTH, 2))
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    mix = ManifoldMixup(None, [""], policy(1, "batch"), 2, seed=seed, rank=0)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(net, mix, points, labels, random).backward()
        optimizer.step()
    return net, points, labels


def loss(net: nn.Module, mix: ManifoldMixup, points: Tensor, labels: Tensor, random) -> Tensor:
    """The loss of a batch, drawn from all points, mixed at the input."""
    batch = torch.randperm(POINTS, generator=random)[:BATCH]
    with mix(labels[batch]) as targets:
        logits = net(mix.at("", points[batch]))
    return soft_target_cross_entropy(logits, targets)


def norms(
    net: nn.Module, points: Tensor, labels: Tensor, policy: Policy, draws: int
) -> tuple[float, float]:
    """Mean squared norm of the gradients of batches, and its part that is their variance."""
    mix = ManifoldMixup(None, [""], policy, 2, seed=1, rank=0)
    random = torch.Generator().manual_seed(1)  # the same batches for each policy
    total, mean = 0.0, 0.0
    for _ in range(draws):
        parts = torch.autograd.grad(loss(net, mix, points, labels, random), [*net.parameters()])
        gradient = torch.cat([part.flatten() for part in parts]).double()
        total += float(gradient.square().sum()) / draws
        mean = mean + gradient / draws
    return total, total - float(mean.square().sum())
