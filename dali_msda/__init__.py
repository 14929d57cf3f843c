"""Mixed-sample data augmentation inside the data loader.

A plan is drawn once per batch; pixels and labels are both functions of the plan::

    plan = draw(CutMix(alpha=1.0), batch=len(images), height=224, width=224, seed=0, step=17)
    images = blend(images, plan, mean=MEAN, std=STD, layout="CHW")
    targets_ = targets(labels, plan, num_classes=1000)
"""

from dali_msda.annotations import boxes, segmentation, values
from dali_msda.mix import mix
from dali_msda.ops import blend, mask, targets
from dali_msda.plan import draw, load, save
from dali_msda.policy import Alternate, Choice, MultiMix, Policy, methods
from dali_msda.policy.methods import *  # noqa: F403  all that its __all__ names
from dali_msda.record import PLAN_DTYPE
from dali_msda.saliency import saliency

__version__ = "0.1.0"

__all__ = [
    "PLAN_DTYPE",
    "Alternate",
    "Choice",
    "MultiMix",
    "Policy",
    "blend",
    "boxes",
    "draw",
    "load",
    "mask",
    "mix",
    "saliency",
    "save",
    "segmentation",
    "targets",
    "values",
]
__all__ += methods.__all__
