"""torchvision's references/classification/train.py: MixUp or CutMix in the collate function."""

from pathlib import Path

import torch
import torchvision
from torch.utils.data import DataLoader, default_collate
from torchvision.transforms import v2

from dali_msda.pipelines.recipes import command
from dali_msda.torchvision import CutMix, MixUp  # changed


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
    changes = [v2.PILToTensor(), v2.RandomResizedCrop(size, antialias=True)]
    changes += [v2.RandomHorizontalFlip(), v2.ToDtype(torch.float, scale=True)]
    dataset = torchvision.datasets.ImageFolder(str(folder / "train"), v2.Compose(changes))
    classes = len(dataset.classes)
    mix = v2.RandomChoice([MixUp(num_classes=classes), CutMix(num_classes=classes)])

    def collate(samples: list) -> tuple[torch.Tensor, torch.Tensor]:
        return mix(*default_collate(samples))

    how = dict(shuffle=True, drop_last=True, num_workers=workers)
    loader = DataLoader(dataset, batch, collate_fn=collate, **how)
    network = torchvision.models.get_model(model, num_classes=classes).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    for _ in range(epochs):
        for images, targets in loader:
            loss = criterion(network(images.to(device)), targets.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return loss.item()


main = command.of(train)

if __name__ == "__main__":
    main()
