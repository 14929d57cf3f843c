"""Loaders of others over the same JPEGs, built as their documentation and training scripts say.

All crop by the same law, mirror one of two, and end in normalised float32 CHW images and rows of
soft labels. Each makes something that yields an epoch.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from bench.cases import Missing, cores
from bench.memory import MEAN, STD
from bench.peers.on_dali import dali
from bench.peers.on_torch import MODES, torch_for

OF_ONE = [[value / 255 for value in values] for values in (MEAN, STD)]  # units of others
AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


def torchvision_v2(source: object, case: dict[str, object]) -> object:
    """``ImageFolder``, transforms v2 and ``MixUp`` in the collate function."""
    torch = torch_for(case)
    try:
        from torchvision.datasets import ImageFolder
        from torchvision.transforms import v2
    except (ImportError, RuntimeError) as error:
        raise Missing(f"torchvision: {error}") from error
    steps = v2.Compose([
        v2.RandomResizedCrop(case["size"], scale=AREA, ratio=RATIO, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(*OF_ONE),
        v2.ToPureTensor(),
    ])  # fmt: skip
    mix = v2.MixUp(num_classes=len(source.classes))
    collate = torch.utils.data.default_collate
    return torch.utils.data.DataLoader(
        ImageFolder(source.root, steps),
        case["batch"],
        shuffle=True,
        num_workers=cores(),
        collate_fn=lambda samples: mix(*collate(samples)),
        persistent_workers=True,
        drop_last=True,
    )


def timm_collate(source: object, case: dict[str, object]) -> object:
    """``create_loader`` with ``FastCollateMixup``, which mixes bytes in the workers."""
    return _timm(source, case, "FastCollateMixup")


def timm_mixup(source: object, case: dict[str, object]) -> object:
    """``create_loader`` with ``Mixup`` in the training step."""
    return _timm(source, case, "Mixup")


def _timm(source: object, case: dict[str, object], kind: str) -> object:
    torch = torch_for(case)
    try:
        from timm import data
    except (ImportError, RuntimeError) as error:
        raise Missing(f"timm: {error}") from error
    classes = len(source.classes)
    mixing = getattr(data, kind)(1.0, label_smoothing=0.0, num_classes=classes, mode=MODES["batch"])
    collates = kind == "FastCollateMixup"
    loader = data.create_loader(
        data.create_dataset("", source.root, is_training=True),
        case["size"],
        case["batch"],
        is_training=True,
        scale=AREA,
        ratio=RATIO,
        color_jitter=0.0,
        interpolation="bilinear",
        num_workers=cores(),
        collate_fn=mixing if collates else None,
        device=torch.device("cpu"),
    )
    return loader if collates else _Mixed(loader, mixing)


class _Mixed:
    """Batches that are mixed in the training step."""

    def __init__(self, loader: object, mixing: Callable):
        self.loader, self.mixing = loader, mixing

    def __iter__(self) -> Iterator:
        return (self.mixing(*batch) for batch in self.loader)


def dali_by_hand(source: object, case: dict[str, object]) -> object:
    """Mixup of DALI's own operators: normalise, permute the batch, draw, multiply, add."""
    fn, types, pipeline_def = dali()
    from nvidia.dali.plugin.base_iterator import LastBatchPolicy
    from nvidia.dali.plugin.pytorch import DALIGenericIterator

    size, classes = [case["size"]] * 2, len(source.classes)

    @pipeline_def(batch_size=case["batch"], num_threads=cores(), device_id=None, seed=0)
    def pipeline():
        encoded, labels = fn.readers.file(
            file_root=source.root, shuffle_after_epoch=True, name="reader"
        )
        crop = dict(random_area=list(AREA), random_aspect_ratio=list(RATIO), num_attempts=100)
        images = fn.resize(fn.decoders.image_random_crop(encoded, **crop), size=size)
        images = fn.crop_mirror_normalize(
            images, mirror=fn.random.coin_flip(), dtype=types.FLOAT, mean=list(MEAN), std=list(STD)
        )
        rows = fn.one_hot(labels, num_classes=classes, dtype=types.FLOAT)
        order, lam = fn.batch_permutation(), fn.random.beta(alpha=1.0, beta=1.0)
        return tuple(
            lam * part + (1.0 - lam) * fn.permute_batch(part, indices=order)
            for part in (images, rows)
        )

    made = pipeline()
    made.build()
    names = ["images", "rows"]
    ends = dict(auto_reset=True, last_batch_policy=LastBatchPolicy.DROP)
    return DALIGenericIterator(made, names, reader_name="reader", **ends)


def ffcv_own(path: object, classes: int, case: dict[str, object], indices: Sequence[int]) -> object:
    """FFCV's own decoder, ``ImageMixup`` and ``LabelMixup``, then its normalisation."""
    from ffcv import transforms as own
    from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption

    images = [
        RandomResizedCropRGBImageDecoder((case["size"],) * 2, AREA, RATIO),
        own.RandomHorizontalFlip(),
        own.ImageMixup(1.0, True),
        own.NormalizeImage(np.array(MEAN), np.array(STD), np.float32),
        own.ToTensor(),
        own.ToTorchImage(),
    ]
    labels = [IntDecoder(), own.LabelMixup(1.0, True), own.ToTensor(), own.MixupToOneHot(classes)]
    return Loader(
        str(path),
        batch_size=case["batch"],
        num_workers=cores(),
        order=OrderOption.RANDOM,
        indices=indices,
        drop_last=True,
        pipelines={"image": images, "label": labels},
    )
