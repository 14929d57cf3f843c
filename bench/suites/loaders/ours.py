"""Our loaders: those of the training program, and FFCV's with our crops and mixing."""

from collections.abc import Sequence

import numpy as np

import dali_msda as msda
from bench.cases import Missing, cores
from bench.memory import MEAN, STD


def training_loader(
    name: str, source: object, case: dict[str, object], policy: msda.Policy | None
) -> object:
    """A loader of the training program, with as many threads or workers as there are cores.

    Raises:
        Missing: If its framework is not here.
    """
    kind, _ = module(name)
    return kind.TrainingLoader(source, policy=policy, **settings(case), threads=cores())


def module(loader: str) -> tuple[object, bool]:
    """The module of a loader, and whether it works on a GPU by itself."""
    try:
        from dali_msda.pipelines.loaders.choice import KINDS

        return KINDS[loader].load(), KINDS[loader].takes_gpu
    except ImportError as error:
        raise Missing(f"{loader}: {error}") from error


def settings(case: dict[str, object]) -> dict[str, object]:
    """Arguments of a loader that a case names."""
    return {"batch_size": case["batch"], "size": case["size"], "dtype": case["dtype"]}


def ffcv_loader(
    path: object,
    classes: int,
    case: dict[str, object],
    policy: msda.Policy | None,
    indices: Sequence[int] | None = None,
) -> object:
    """FFCV's loader with our crops; it mixes, or mirrors and normalises by its own operations."""
    try:  # ours first: it keeps FFCV from setting torch to one thread
        from dali_msda.ffcv import Loader, Mixer, RandomResizedCrop
    except ImportError as error:
        raise Missing(f"ffcv: {error}") from error
    from ffcv import transforms as own
    from ffcv.fields.decoders import IntDecoder

    mean, std = np.array(MEAN), np.array(STD)
    if policy is None:
        normalise = own.NormalizeImage(mean, std, np.dtype(case["dtype"]).type)
        images = [own.RandomHorizontalFlip(), normalise, own.ToTensor()]
        labels = [own.ToTensor(), own.Squeeze()]
    else:
        mixer = Mixer(policy, classes)
        how = dict(mean=mean, std=std, mirror=0.5, layout="HWC", dtype=case["dtype"])
        images, labels = mixer.images(**how), mixer.targets()
    crop = RandomResizedCrop((case["size"], case["size"]))
    pipelines = {"image": [crop, *images, own.ToTorchImage()], "label": [IntDecoder(), *labels]}
    how = dict(batch_size=case["batch"], num_workers=cores(), drop_last=True, indices=indices)
    return Loader(str(path), pipelines=pipelines, **how)
