"""FFCV: operations that mix images and labels inside an FFCV loader.

Both operations of a :class:`Mixer` work from one plan per batch, so that they cannot disagree::

    from dali_msda.ffcv import Loader, Mixer, RandomResizedCrop

    mixer = Mixer(CutMix(), num_classes=1000, seed=0)
    loader = Loader("train.beton", batch_size=256, num_workers=8, order=OrderOption.RANDOM, seed=0,
        pipelines={
            "image": [RandomResizedCrop((224, 224), seed=0),
                      *mixer.images(mean=MEAN, std=STD, mirror=0.5)],
            "label": [IntDecoder(), *mixer.targets(smoothing=0.1)],
        })

:class:`Loader` is FFCV's with an epoch that operations can read. Importing this module imports
FFCV, which sets torch to one thread; it is given back the threads it had.
"""

from dali_msda.ffcv.crop import RandomResizedCrop
from dali_msda.ffcv.loader import Loader
from dali_msda.ffcv.mixer import Mixer

__all__ = ["Loader", "Mixer", "RandomResizedCrop"]
