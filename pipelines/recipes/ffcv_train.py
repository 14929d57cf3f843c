"""ffcv-imagenet's train_imagenet.py: FFCV's order of operations, with a Mixer's in it."""

from pathlib import Path

import torch
import torchvision
from ffcv.fields.decoders import IntDecoder
from ffcv.loader import OrderOption

import dali_msda as msda  # changed
from dali_msda.ffcv import Loader, Mixer, RandomResizedCrop  # changed
from dali_msda.pipelines.recipes import command

NORMAL = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])  # of uint8 pixels


def train(
    folder: Path,
    classes: int = 1000,
    model: str = "resnet50",
    size: int = 224,
    batch: int = 256,
    workers: int = 8,
    epochs: int = 90,
    device: str = "cuda",
) -> float:
    """Train on ``train.beton`` in the folder, and return the last loss."""
    mixer = Mixer(msda.CutMix(), num_classes=classes, seed=0)  # changed
    pipelines = {
        "image": [
            RandomResizedCrop((size, size), seed=0),  # changed
            *mixer.images(mirror=0.5, **NORMAL),  # changed
        ],
        "label": [IntDecoder(), *mixer.targets(smoothing=0.1)],  # changed
    }
    how = dict(order=OrderOption.RANDOM, num_workers=workers, drop_last=True)
    loader = Loader(str(folder / "train.beton"), batch, pipelines=pipelines, **how)
    network = torchvision.models.get_model(model, num_classes=classes).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    for _ in range(epochs):
        for images, targets in loader:
            loss = torch.nn.functional.cross_entropy(network(images.to(device)), targets.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return loss.item()


main = command.of(train)

if __name__ == "__main__":
    main()
