"""timm's train.py: its loader with the prefetcher, which mixes in the workers."""

from pathlib import Path

import torch
from timm.data import create_dataset, create_loader
from timm.loss import SoftTargetCrossEntropy
from timm.models import create_model
from timm.optim import create_optimizer_v2

from dali_msda.pipelines.recipes import command
from dali_msda.timm import FastCollateMixup  # changed


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
    dataset = create_dataset("", root=folder, split="train")
    classes = len(dataset.reader.class_to_idx)
    collate = FastCollateMixup(mixup_alpha=0.8, cutmix_alpha=1.0, num_classes=classes)
    how = dict(is_training=True, num_workers=workers, device=torch.device(device))
    loader = create_loader(dataset, (3, size, size), batch, collate_fn=collate, **how)
    network = create_model(model, num_classes=classes).to(device)
    optimizer = create_optimizer_v2(network, opt="sgd", lr=0.1, weight_decay=1e-4)
    criterion = SoftTargetCrossEntropy()
    for epoch in range(epochs):
        if epoch == epochs - epochs // 10:
            loader.mixup_enabled = False  # timm's --mixup-off-epoch
        for images, targets in loader:
            loss = criterion(network(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return loss.item()


main = command.of(train)

if __name__ == "__main__":
    main()
