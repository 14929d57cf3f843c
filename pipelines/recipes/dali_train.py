"""DALI's example for ImageNet: the pipeline mixes, and two lines behind its iterator change."""

from pathlib import Path

import torch
import torchvision
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.pytorch import DALIClassificationIterator, LastBatchPolicy

import dali_msda as msda  # changed
from dali_msda.dali import mix  # changed
from dali_msda.pipelines.recipes import command

NORMAL = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])  # of uint8 pixels


@pipeline_def
def mixed(folder: Path, size: int, classes: int, decoder: str) -> tuple:
    """Images and targets of a batch."""
    jpegs, labels = fn.readers.file(file_root=folder, random_shuffle=True, name="reader")
    images = fn.decoders.image_random_crop(jpegs, device=decoder, output_type=types.RGB)
    images = fn.resize(images, size=[size, size])
    how = dict(num_classes=classes, mirror=fn.random.coin_flip(), **NORMAL)
    return mix(images, labels, msda.CutMix(), **how)  # changed


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
    how = dict(batch_size=batch, num_threads=workers, device_id=0 if on_gpu else None)
    pipeline = mixed(folder / "train", size, classes, "mixed" if on_gpu else "cpu", **how)
    policy = dict(last_batch_policy=LastBatchPolicy.DROP, auto_reset=True)
    loader = DALIClassificationIterator(pipeline, reader_name="reader", **policy)
    network = torchvision.models.get_model(model, num_classes=classes).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    right, seen = 0, 0
    for _ in range(epochs):
        for data in loader:
            images = data[0]["data"].to(device)
            targets = data[0]["label"].to(device)  # changed: rows, so no .squeeze(-1).long()
            logits = network(images)
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
