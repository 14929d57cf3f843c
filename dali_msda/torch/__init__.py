"""PyTorch: mixing in a ``DataLoader``'s workers or in the training step, and the losses.

The collate function is in collate.py, the dataset and the sampler for it in indexed.py, the
transform of batches in transform.py, the losses in losses.py and softmax_loss.py, and methods that
mix what a model computes in methods/. Puzzle Mix is in puzzle.py and Co-Mixup in comixup.py, with
what they need of a model in gradient_saliency.py. Drop-ins for timm's and torchvision's transforms
are :mod:`dali_msda.timm` and :mod:`dali_msda.torchvision`.
"""

from dali_msda.torch.collate import Collate
from dali_msda.torch.gradient_saliency import saliency
from dali_msda.torch.indexed import Indexed, Indices, NumberedBatches, Place, Sample
from dali_msda.torch.losses import (
    lamix_loss,
    soft_target_binary_cross_entropy,
    soft_target_cross_entropy,
)
from dali_msda.torch.methods.align import AlignMix, align
from dali_msda.torch.methods.comixup import CoMixup
from dali_msda.torch.methods.manifold import ManifoldMixup
from dali_msda.torch.methods.puzzle import PuzzleMix
from dali_msda.torch.methods.recursive import RecursiveMix
from dali_msda.torch.methods.regions import roi_features
from dali_msda.torch.methods.style import StyleCutMix, StyleMix
from dali_msda.torch.methods.style_arithmetic import (
    adain,
    style_gammas,
    style_vectors,
    stylecutmix,
    stylemix,
)
from dali_msda.torch.softmax_loss import softmax_binary_cross_entropy
from dali_msda.torch.transform import Mixer

__all__ = [
    "AlignMix",
    "CoMixup",
    "Collate",
    "Indexed",
    "Indices",
    "ManifoldMixup",
    "Mixer",
    "NumberedBatches",
    "Place",
    "PuzzleMix",
    "RecursiveMix",
    "Sample",
    "StyleCutMix",
    "StyleMix",
    "adain",
    "align",
    "lamix_loss",
    "roi_features",
    "saliency",
    "soft_target_binary_cross_entropy",
    "soft_target_cross_entropy",
    "softmax_binary_cross_entropy",
    "style_gammas",
    "style_vectors",
    "stylecutmix",
    "stylemix",
]
