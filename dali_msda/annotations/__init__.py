"""What else belongs to an image and is mixed by its plan: boxes, maps of classes, real values.

One plan serves everything that shares the images' grid::

    plan = draw(CutMix(), batch=8, height=224, width=224, seed=0, step=17)
    mixed = blend(images, plan, mean=MEAN, std=STD, mirror=flags)
    depth = blend(depth, plan, mirror=flags)  # another view, a depth map: float32 (B, H, W, 1)
    maps = segmentation(maps, plan, mirror=flags)
    boxes_, labels_, weights_ = boxes(boxes_, labels_, plan, mirror=flags)
    ages = values(ages, plan)
    rows = targets(tags, plan)  # several labels a sample: float rows of zeros and ones

Which sample shows where follows from :func:`mask`, the weights that the pixels were mixed with.
:func:`blend` suits maps of classes only where a method cuts (CutMix, FMix, ResizeMix): elsewhere it
averages the numbers of classes, which means nothing.
"""

from dali_msda.annotations.boxes import boxes
from dali_msda.annotations.segmentation import segmentation
from dali_msda.annotations.values import values

__all__ = ["boxes", "segmentation", "values"]
