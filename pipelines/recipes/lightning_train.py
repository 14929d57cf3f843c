"""Lightning, on one GPU or several: batches are mixed in the workers, epochs follow the trainer."""

from pathlib import Path

import lightning
import torch
import torchvision
from torch.utils.data import DataLoader, RandomSampler
from torchvision.transforms import v2

import dali_msda as msda  # changed
from dali_msda.pipelines.recipes import command
from dali_msda.torch import Collate, Indexed, NumberedBatches  # changed

NORMAL = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])  # of uint8 pixels


class Classifier(lightning.LightningModule):
    """A network, its data and its optimiser."""

    def __init__(self, model: str, dataset: torch.utils.data.Dataset, batch: int, workers: int):
        super().__init__()
        self.network = torchvision.models.get_model(model, num_classes=len(dataset.classes))
        self.dataset, self.batch, self.workers = dataset, batch, workers

    def train_dataloader(self) -> DataLoader:
        """The loader; Lightning gives its batch sampler a sampler for each process."""
        classes = len(self.dataset.classes)
        collate = Collate(msda.CutMix(), num_classes=classes, mirror=0.5, **NORMAL)  # changed
        sampler, size = RandomSampler(self.dataset), self.batch
        batches = NumberedBatches(sampler, size, True, epoch=self.current_epoch)  # changed
        how = dict(batch_sampler=batches, num_workers=self.workers)
        return DataLoader(Indexed(self.dataset), collate_fn=collate, **how)  # changed

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        """The loss of a batch."""
        images, targets = batch
        loss = torch.nn.functional.cross_entropy(self.network(images), targets)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser."""
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)


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
    dataset = torchvision.datasets.ImageFolder(str(folder / "train"), changes)
    module = Classifier(model, dataset, batch, workers)
    kind = "gpu" if device == "cuda" else device
    trainer = lightning.Trainer(accelerator=kind, max_epochs=epochs, default_root_dir=folder)
    trainer.fit(module)
    return trainer.callback_metrics["loss"].item()


main = command.of(train)

if __name__ == "__main__":
    main()
