"""Accelerate: its loader tells the dataset the epoch, and each process mixes its own batches."""

from pathlib import Path

import torch
import torchvision
from accelerate import Accelerator
from torch.utils.data import DataLoader
from torchvision.transforms import v2

import dali_msda as msda  # changed
from dali_msda.pipelines.recipes import command
from dali_msda.torch import Collate, Indexed  # changed

NORMAL = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])  # of uint8 pixels


def train(
    folder: Path,
    model: str = "resnet50",
    size: int = 224,
    batch: int = 256,
    workers: int = 8,
    epochs: int = 90,
    device: str = "cuda",
) -> float:
    """Train, and return the last loss."""
    accelerator = Accelerator(cpu=device == "cpu")
    changes = v2.Compose([v2.PILToTensor(), v2.RandomResizedCrop(size, antialias=True)])
    dataset = torchvision.datasets.ImageFolder(str(folder / "train"), changes)
    classes = len(dataset.classes)
    collate = Collate(msda.CutMix(), num_classes=classes, mirror=0.5, **NORMAL)  # changed
    how = dict(shuffle=True, drop_last=True, num_workers=workers)
    loader = DataLoader(Indexed(dataset), batch, collate_fn=collate, **how)  # changed
    network = torchvision.models.get_model(model, num_classes=classes)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    network, optimizer, loader = accelerator.prepare(network, optimizer, loader)
    for _ in range(epochs):
        for images, targets in loader:
            loss = torch.nn.functional.cross_entropy(network(images), targets)
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
    return loss.item()


main = command.of(train)

if __name__ == "__main__":
    main()
