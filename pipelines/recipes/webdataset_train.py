"""WebDataset: samples of a stream, whose keys tell them apart wherever they are read."""

from pathlib import Path

import torch
import torchvision
import webdataset
from torch.utils.data import DataLoader
from torchvision.transforms import v2

import dali_msda as msda  # changed
from dali_msda.pipelines.recipes import command
from dali_msda.torch import Collate  # changed

NORMAL = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])  # of uint8 pixels
FIELDS = dict(image="jpg", label="cls", key="__key__")


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
    """Train, and return the last loss."""
    changes = v2.Compose([v2.PILToTensor(), v2.RandomResizedCrop(size, antialias=True)])
    shards = sorted(str(path) for path in (folder / "train").glob("*.tar"))
    stream = webdataset.WebDataset(shards, shardshuffle=100, empty_check=False).shuffle(1000)
    stream = stream.decode("pil").map_dict(jpg=changes)
    collate = Collate(msda.CutMix(), classes, mirror=0.5, **FIELDS, **NORMAL)  # changed
    loader = DataLoader(stream, batch, num_workers=workers, collate_fn=collate)
    network = torchvision.models.get_model(model, num_classes=classes).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    for epoch in range(epochs):
        collate.set_epoch(epoch)  # changed
        for samples in loader:
            images, targets = samples["jpg"].to(device), samples["cls"].to(device)
            loss = torch.nn.functional.cross_entropy(network(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return loss.item()


main = command.of(train)

if __name__ == "__main__":
    main()
