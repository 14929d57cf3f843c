"""DALI behind a PyTorch DataLoader: its workers hand paths and labels to one pipeline, which mixes.

This is DALI's proxy. The pipeline runs in the training process, so that the workers open no GPU. It
takes torch for CUDA, also to train on the CPU.
"""

from pathlib import Path

import numpy as np
import torch
import torchvision
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.pytorch.experimental import proxy

import dali_msda as msda  # changed
from dali_msda.dali import mix  # changed
from dali_msda.pipelines.recipes import command

NORMAL = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])  # of uint8 pixels


@pipeline_def
def mixed(size: int, classes: int, decoder: str) -> tuple:
    """Images and targets of a batch."""
    paths = fn.external_source(name="path", no_copy=True)
    labels = fn.external_source(name="label", no_copy=True)  # changed
    images = fn.decoders.image_random_crop(
        fn.io.file.read(paths), device=decoder, output_type=types.RGB
    )
    images = fn.resize(images, size=[size, size])
    how = dict(num_classes=classes, mirror=fn.random.coin_flip(), **NORMAL)
    return mix(images, labels, msda.CutMix(), **how)  # changed


class Pictures(torchvision.datasets.ImageFolder):  # changed: the pipeline takes labels, too
    """Image and target of each file, which are references until the loader makes them a batch."""

    def __getitem__(self, index: int) -> tuple:  # changed
        path, label = self.samples[index]  # changed
        return self.transform(path=encoded(path), label=np.int32([label]))  # changed


def encoded(path: str) -> np.ndarray:
    """A path as DALI's operators take it."""
    return np.frombuffer(path.encode(), np.int8)


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
    classes = sum(path.is_dir() for path in (folder / "train").iterdir())
    on_gpu = device != "cpu"
    how = dict(batch_size=batch, num_threads=4, device_id=0 if on_gpu else None)
    pipeline = mixed(size, classes, "mixed" if on_gpu else "cpu", **how)
    network = torchvision.models.get_model(model, num_classes=classes).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    right, seen = 0, 0
    with proxy.DALIServer(pipeline, deterministic=True) as server:  # changed: batches in order
        dataset = Pictures(str(folder / "train"), server.proxy)
        how = dict(shuffle=True, drop_last=True, num_workers=workers)
        loader = proxy.DataLoader(server, dataset, batch, **how)
        for _ in range(epochs):
            for images, targets in loader:
                logits = network(images.to(device))
                targets = targets.to(device)
                loss = torch.nn.functional.cross_entropy(logits, targets)
                right += (logits.argmax(1) == targets.argmax(1)).sum().item()  # changed: .argmax(1)
                seen += len(targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    print(f"accuracy {right / seen:.3f} of the labels that weigh most")
    return loss.item()


main = command.of(train)

if __name__ == "__main__":
    main()
