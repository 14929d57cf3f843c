"""DALI: the verbs :func:`plan`, :func:`blend` and :func:`mix`, over the operators ``fn.msda.*``.

Importing this module loads the plugin with the operators into DALI, and compiles it first if the
package holds none for the installed DALI. The operators are then in ``nvidia.dali.fn.msda`` and in
dynamic mode's ``msda``, in any order of imports. Without DALI the import fails with an ImportError
that says how to install it.

Mixing in a pipeline::

    from dali_msda.dali import mix

    @pipeline_def(batch_size=256, num_threads=8, device_id=None, seed=0)
    def train():
        jpegs, labels = fn.readers.file(file_root=root, random_shuffle=True, name="reader")
        images = fn.decoders.image_random_crop(jpegs)
        images = fn.resize(images, size=(224, 224))
        return mix(images, labels, CutMix(), num_classes=1000, mean=MEAN, std=STD,
                   mirror=fn.random.coin_flip(), shard_id=rank)

One plan may serve several blends, for example of images and their segmentation maps::

    plans = plan(images, CutMix())
    images = blend(images, plans, mean=MEAN, std=STD)
    maps = blend(maps, plans, dtype="uint8", layout="HWC")
    targets = fn.msda.targets(labels, plans, num_classes=1000)
"""

from dali_msda.dali.plugin import OPERATORS, load
from dali_msda.dali.verbs import blend, mix, plan

__all__ = ["OPERATORS", "blend", "load", "mix", "plan"]

load()
