"""Plans for what is mixed beside the images."""

import dali_msda as msda
from dali_msda.policy import METHODS
from tests.support.variants import IN_LOADERS, draw_any

RESIZEMIX, CUTOUT = METHODS["resizemix"].code, METHODS["cutout"].code


CLASSES = 5


VARIANTS = [
    *(kind() for kind in IN_LOADERS.values()),
    msda.Mixup(n=3),
    msda.Mixup(n=4, partner="roll"),
    msda.CutMix(box="wrap", prob=0.5),
    msda.CutMix(minmax=(0.3, 0.6)),
    msda.FMix(max_soft=0.3),
    msda.HMix(gamma=0.3, box="wrap"),
    msda.GMix(mode="exact", partner="flip"),
    msda.ResizeMix(tau=(0.2, 1.0), partner="derangement"),
    msda.Choice([msda.Mixup(n=3), msda.CutMix(), msda.ResizeMix(), msda.Cutout(length=4)]),
]


def plan_of(policy, shape, step=0, **options):
    return draw_any(policy, *shape, seed=3, step=step, **options)
