"""torchdata's StatefulDataLoader: a run that stops in mid-epoch goes on with the next batch."""

from pathlib import Path

import torch
import torchvision
from torch.utils.data import DistributedSampler
from torchdata.stateful_dataloader import StatefulDataLoader
from torchvision.transforms import v2

import dali_msda as msda  # changed
from dali_msda.pipelines.recipes import command
from dali_msda.torch import Collate, Indexed, NumberedBatches  # changed

NORMAL = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])  # of uint8 pixels
EVERY = 1000  # batches from one checkpoint to the next


def train(
    folder: Path,
    model: str = "resnet50",
    size: int = 224,
    batch: int = 256,
    workers: int = 8,
    epochs: int = 90,
    device: str = "cuda",
) -> float:
    """Train, from the last checkpoint on if there is one, and return the last loss."""
    changes = v2.Compose([v2.PILToTensor(), v2.RandomResizedCrop(size, antialias=True)])
    dataset = torchvision.datasets.ImageFolder(str(folder / "train"), changes)
    classes = len(dataset.classes)
    collate = Collate(msda.CutMix(), num_classes=classes, mirror=0.5, **NORMAL)  # changed
    sampler = DistributedSampler(dataset, num_replicas=1, rank=0)  # an order for each epoch
    batches = NumberedBatches(sampler, batch, drop_last=True)  # changed
    how = dict(batch_sampler=batches, num_workers=workers)
    loader = StatefulDataLoader(Indexed(dataset), collate_fn=collate, **how)  # changed
    network = torchvision.models.get_model(model, num_classes=classes).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    held, path = {"network": network, "optimizer": optimizer, "loader": loader}, folder / "last.pt"
    if path.exists():
        states = torch.load(path, weights_only=False)
        for name, part in held.items():
            part.load_state_dict(states[name])
    while batches.epoch < epochs:
        for number, (images, targets) in enumerate(loader):
            loss = torch.nn.functional.cross_entropy(network(images.to(device)), targets.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if number % EVERY == EVERY - 1:
                torch.save({name: part.state_dict() for name, part in held.items()}, path)
    return loss.item()


main = command.of(train)

if __name__ == "__main__":
    main()
