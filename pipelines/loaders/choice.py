"""Opens the loaders of a training run, in the framework that its settings name."""

import contextlib
import importlib
import os
import warnings
from types import ModuleType
from typing import NamedTuple

from dali_msda.pipelines.data import datasets
from dali_msda.pipelines.loaders.epochs import EvaluationEpochs, TrainingEpochs
from dali_msda.pipelines.training.config import Config
from dali_msda.pipelines.training.policies import policy_from_dict
from dali_msda.pipelines.training.processes import Process
from dali_msda.policy import Policy


class Kind(NamedTuple):
    """A framework that reads, decodes and mixes.

    Attributes:
        module: The module here with its TrainingLoader and its EvaluationLoader.
        suffix: What follows "train" and "val" in the names of its files or folders below --data.
        takes_gpu: Whether it can work on a GPU.
    """

    module: str
    suffix: str
    takes_gpu: bool

    def load(self) -> ModuleType:
        """Import the module. Raises ImportError if the framework is not installed."""
        return importlib.import_module(f"dali_msda.pipelines.loaders.{self.module}")


KINDS = {
    "dali": Kind("dali", "", True),
    "ffcv": Kind("ffcv", ".beton", True),
    "torch": Kind("torch", "", False),
}


def make_loaders(
    config: Config, process: Process, stack: contextlib.ExitStack
) -> tuple[TrainingEpochs, EvaluationEpochs | None]:
    """Find the data and open the loaders; the stack closes them.

    Raises:
        ValueError, OSError: If the settings or the data do not fit.
        ImportError: If the framework is not installed.
    """
    if config.batch_size % (process.size * config.accumulate):
        parts = f" times the {config.accumulate} parts of accumulate" * (config.accumulate > 1)
        raise ValueError(
            f"batch_size: expected a multiple of the {process.size} processes{parts}, got "
            f"{config.batch_size}"
        )
    kind = KINDS[config.loader]
    loaders = kind.load()
    with warnings.catch_warnings():
        if process.rank:  # the first process says it for all
            warnings.simplefilter("ignore", UserWarning)
        source, val = _sources(config, kind.suffix)
    options = _options(config, process, kind)
    policy = policy_from_dict(config.policy)
    loader = loaders.TrainingLoader(
        source,
        num_classes=(not config.multilabel and config.classes) or None,
        policy=policy if isinstance(policy, Policy) else None,  # others mix in the training step
        compact=config.multilabel or config.loss == "compact",
        min_area=config.min_area,
        max_area=config.max_area,
        size=config.size,
        sizes=config.sizes,
        copies=config.copies,
        **options,
    )
    stack.enter_context(loader)
    if val is None:
        return loader, None
    val_loader = loaders.EvaluationLoader(
        val,
        num_classes=None if config.multilabel else loader.num_classes,
        size=config.val_size,
        resize=config.val_resize,
        **options,
    )
    return loader, stack.enter_context(val_loader)


def _sources(config: Config, suffix: str) -> tuple[datasets.Source, datasets.Source | None]:
    """The training images, and those of validation, if there are any."""
    path = config.train or os.path.join(config.data, f"train{suffix}")
    how = dict(multilabel=config.multilabel)
    source = datasets.find(path, name="train", file_list=config.train_list or None, **how)
    if config.multilabel and config.classes not in (0, len(source.names)):
        raise ValueError(
            f"classes: expected {len(source.names)}, those of the list, or 0, got {config.classes}"
        )
    path = config.val or os.path.join(config.data, f"val{suffix}")
    if path == "none":
        return source, None
    tells = "names" if config.multilabel else "classes"  # which only folders have
    how["classes"] = getattr(source, tells, None)
    val = datasets.find(path, name="val", file_list=config.val_list or None, **how)
    datasets.check_same_classes(source, val)
    return source, val


def _options(config: Config, process: Process, kind: Kind) -> dict[str, object]:
    """The arguments that the training and the evaluation loader share."""
    where = config.loader_device
    on_gpu = where == "gpu" or (
        where == "auto" and kind.takes_gpu and process.device.type == "cuda"
    )
    cpus = len(os.sched_getaffinity(0))
    return dict(
        batch_size=config.batch_size // process.size,
        dtype=config.dtype,
        channels_last=config.channels_last,
        seed=config.seed,
        shard_id=process.rank,
        num_shards=process.size,
        threads=config.threads or max(1, cpus // process.local_size),
        device_id=process.local_rank if on_gpu else None,
        prefetch=config.prefetch,
    )
