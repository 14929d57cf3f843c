"""Hugging Face datasets: samples are dictionaries, and so are the batches."""

from pathlib import Path

import datasets
import torch
import torchvision
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
    changes = v2.Compose([v2.PILToTensor(), v2.RandomResizedCrop(size, antialias=True)])

    def changed(rows: dict[str, list]) -> dict[str, list]:
        return rows | {"image": [changes(image.convert("RGB")) for image in rows["image"]]}

    dataset = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train")
    classes = dataset.features["label"].num_classes
    dataset = dataset.with_transform(changed)
    collate = Collate(msda.CutMix(), num_classes=classes, mirror=0.5, **NORMAL)  # changed
    how = dict(shuffle=True, drop_last=True, num_workers=workers)
    loader = DataLoader(Indexed(dataset), batch, collate_fn=collate, **how)  # changed
    network = torchvision.models.get_model(model, num_classes=classes).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    for epoch in range(epochs):
        collate.set_epoch(epoch)  # changed
        for samples in loader:
            images, targets = samples["image"].to(device), samples["label"].to(device)
            loss = torch.nn.functional.cross_entropy(network(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return loss.item()


main = command.of(train)

if __name__ == "__main__":
    main()
