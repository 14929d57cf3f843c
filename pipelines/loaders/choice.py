"""The loaders of a training run, of the framework that its settings name."""

import contextlib
import importlib
import os

from dali_msda.pipelines.data import datasets
from dali_msda.pipelines.loaders.epochs import EvaluationEpochs, TrainingEpochs
from dali_msda.pipelines.training.config import Config, policy_from_dict
from dali_msda.pipelines.training.processes import Process

# Name -> module with a TrainingLoader and an EvaluationLoader, what data it finds by itself, and
# whether it can work on a GPU.
KINDS = {
    "dali": ("dali", "", True),
    "ffcv": ("ffcv", ".beton", True),
    "torch": ("torch", "", False),
}


def make_loaders(
    config: Config, process: Process, stack: contextlib.ExitStack
) -> tuple[TrainingEpochs, EvaluationEpochs | None]:
    """Find the data and open the loaders; the stack closes them.

    Raises:
        ValueError, OSError: If the settings or the data do not fit.
        ImportError: If the framework is not installed.
    """
    if config.batch_size % process.size:
        raise ValueError(
            f"batch_size: expected a multiple of the {process.size} processes, got "
            f"{config.batch_size}"
        )
    module, suffix, takes_gpu = KINDS[config.loader]
    path = config.train or os.path.join(config.data, f"train{suffix}")
    source = datasets.find(path, name="train", file_list=config.train_list or None)
    path = config.val or os.path.join(config.data, f"val{suffix}")
    val = None
    if path != "none":
        val = datasets.find(path, name="val", file_list=config.val_list or None)
        datasets.check_same_classes(source, val)
    where = config.loader_device
    on_gpu = where == "gpu" or (where == "auto" and takes_gpu and process.device.type == "cuda")
    options = dict(
        batch_size=config.batch_size // process.size,
        dtype=config.dtype,
        channels_last=config.channels_last,
        seed=config.seed,
        shard_id=process.rank,
        num_shards=process.size,
        threads=config.threads or max(1, len(os.sched_getaffinity(0)) // process.local_size),
        device_id=process.local_rank if on_gpu else None,
        prefetch=config.prefetch,
    )
    kind = importlib.import_module(f"dali_msda.pipelines.loaders.{module}")
    loader = kind.TrainingLoader(
        source,
        num_classes=config.classes or None,
        policy=policy_from_dict(config.policy),
        compact=config.loss == "compact",
        min_area=config.min_area,
        size=config.size,
        sizes=config.sizes,
        copies=config.copies,
        **options,
    )
    stack.enter_context(loader)
    if val is None:
        return loader, None
    val_loader = kind.EvaluationLoader(
        val,
        num_classes=loader.num_classes,
        size=config.val_size,
        resize=config.val_resize,
        **options,
    )
    return loader, stack.enter_context(val_loader)
