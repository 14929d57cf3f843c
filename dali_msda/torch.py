"""PyTorch: mixing in a ``DataLoader``'s workers, and losses for soft labels.

The collate function is in torch_collate.py, the losses in torch_losses.py.
"""

from dali_msda.torch_collate import Collate, Indexed, Indices, NumberedBatches, Place, Sample
from dali_msda.torch_losses import lamix_loss, soft_target_cross_entropy

__all__ = [
    "Collate",
    "Indexed",
    "Indices",
    "NumberedBatches",
    "Place",
    "Sample",
    "lamix_loss",
    "soft_target_cross_entropy",
]
