"""Does mixing help? Accuracy, calibration and robustness of a small network, method by method.

The images are the handwritten digits of scikit-learn, 8 x 8, enlarged to 32 x 32; 100 of them, ten
of each class, are for training and 1,697 for testing. Nothing else is done to them. Each seed has
a choice of training images, first weights, an order and draws of its own; the methods have those
in common. Every method gets as many steps, and the settings of the optimizer are those that suit
training without mixing.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.cases import Missing
from bench.studies.lines import line, mean_and_deviation
from bench.studies.methods import CLASSES, DEVIATION, MEAN, METHODS
from dali_msda.pipelines.evaluation.attacks import gradient_signs
from dali_msda.pipelines.evaluation.measures import answers_of, summary
from dali_msda.torch import soft_target_cross_entropy

SEEDS, EPOCHS = 5, 100
OF_A_CLASS, BATCH, SIZE = 10, 50, 32
RATE, DECAY = 0.05, 5e-4
BINS = 10  # of confidence, for the calibration error
ATTACKS = (1, 2, 4)  # steps of FGSM, in units of 1/255


class Net(nn.Module):
    """Three convolutions and a linear layer; 6,402 parameters."""

    def __init__(self):
        super().__init__()
        self.layer1, self.layer2 = _convolved(1, 8, 5), _convolved(8, 16, 3)
        self.layer3, self.fc = _convolved(16, 32, 3), nn.Linear(32, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images ``(B, 1, 32, 32)``."""
        return self.fc(self.layer3(self.layer2(self.layer1(images))).mean((2, 3)))


def _convolved(inputs: int, outputs: int, size: int) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, size, 2, size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def run(
    seeds: int = SEEDS, epochs: int = EPOCHS, methods: dict[tuple[str, str], Callable] = METHODS
) -> Iterator[dict]:
    """Train with each method from each seed; yield a line for each method.

    Raises:
        Missing: If scikit-learn is not installed.
    """
    images, labels = digits()
    data = images, labels, torch.ones(len(labels), dtype=torch.bool)
    yield from compared("accuracy", data, seeds, epochs, methods)


def compared(
    study: str,
    data: tuple[Tensor, Tensor, Tensor],
    seeds: int,
    epochs: int,
    methods: dict[tuple[str, str], Callable],
) -> Iterator[dict]:
    """Train with each method from each seed.

    Args:
        study: What the lines are called.
        data: Images, labels, and which images may be trained on. Tests are made on those that are
            not, or, if all are, on those that a seed does not choose.
        seeds: How often each method trains.
        epochs: How long.
        methods: What makes the training step, by method and settings.
    """
    for (method, settings), make in methods.items():
        found = [measured(data, make, seed, epochs) for seed in range(seeds)]
        figures: dict = {}
        for name in found[0]:
            figures |= mean_and_deviation(name, [each[name] for each in found])
        case = dict(method=method, settings=settings, seeds=seeds, epochs=epochs)
        yield line(study, case, figures)


def digits() -> tuple[Tensor, Tensor]:
    """Images ``(1797, 1, 32, 32)`` in [0, 1], and labels.

    Raises:
        Missing: If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise Missing(f"{error}; pip install scikit-learn") from error
    data = load_digits()
    small = torch.from_numpy(data.images).float()[:, None] / 16
    images = functional.interpolate(small, size=(SIZE, SIZE), mode="bilinear")
    return images, torch.from_numpy(data.target).long()


def measured(
    data: tuple[Tensor, Tensor, Tensor], make: Callable, seed: int, epochs: int
) -> dict[str, float]:
    """Train once, and measure what came out, in percent."""
    images, labels, trainable = data
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=random)
    order, others = order[trainable[order]], order[~trainable[order]]
    ranks = functional.one_hot(labels[order], CLASSES).cumsum(0).gather(1, labels[order, None])
    few = ranks[:, 0] <= OF_A_CLASS
    seen, unseen = order[few], others if len(others) else order[~few]
    images = (images - MEAN) / DEVIATION
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Net()
        step = make(model, seed)
    train(model, step, images[seen], labels[seen], epochs, random)
    model.eval()
    images, labels = images[unseen], labels[unseen]
    logits = model(images).detach()
    figures = {"accuracy": _share(logits, labels)}
    figures["calibration_error"] = summary(answers_of(logits, labels), BINS)["ece"]
    direction = gradient_signs(model, images, labels)
    bounds = -MEAN / DEVIATION, (1 - MEAN) / DEVIATION
    for size in ATTACKS:
        moved = (images + size / 255 / DEVIATION * direction).clamp(*bounds)
        figures[f"accuracy_under_attack_{size}"] = _share(model(moved).detach(), labels)
    return figures


def train(
    model: nn.Module,
    step: object,
    images: Tensor,
    labels: Tensor,
    epochs: int,
    random: torch.Generator,
) -> None:
    """Train by gradient descent with momentum and a rate that falls as a cosine does."""
    optimizer = torch.optim.SGD(
        model.parameters(), RATE, momentum=0.9, weight_decay=DECAY, nesterov=True
    )
    batches = -(-len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(labels), generator=random).split(BATCH):
            logits, targets = step.forward(model, images[batch], [labels[batch]])
            loss = step.loss(_criterion, logits, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        step.end_epoch()


def _criterion(logits: Tensor, targets: list[Tensor]) -> Tensor:
    return soft_target_cross_entropy(logits, *targets)


def _share(logits: Tensor, labels: Tensor) -> float:
    return 100 * (logits.argmax(1) == labels).double().mean().item()
