"""Going on from a checkpoint: which settings must be the same, and where the data go on."""

import dataclasses

from dali_msda.pipelines.loaders.epochs import TrainingEpochs
from dali_msda.pipelines.training.config import Config

# Settings that a run need not share with the checkpoint it goes on from: they say where things are
# and how they are watched, not what is computed.
FREE = ("data", "train", "val", "train_list", "val_list", "val_resize", "threads", "prefetch")
FREE += ("out", "resume", "restart_epoch", "checkpoint_every", "log", "wandb", "device")


def settings(config: Config, processes: int) -> dict:
    """What a checkpoint tells of the run that wrote it."""
    return {**dataclasses.asdict(config), "world_size": processes}


def expect_same_settings(ours: dict, theirs: dict) -> None:
    """Raise ValueError if a run cannot go on from a checkpoint.

    Args:
        ours: :func:`settings` of the run.
        theirs: Those in the checkpoint. One that an older version wrote lacks settings that came
            later; what it computed is what their defaults say.
    """
    theirs = dataclasses.asdict(Config(data="any")) | theirs
    for name, value in ours.items():
        if name not in FREE and theirs.get(name) != value:
            raise ValueError(
                f"{name}: expected {theirs.get(name)!r}, as in the checkpoint, got {value!r}. "
                "Give the same settings, or another --out to start anew."
            )


def find_place(loader: TrainingEpochs, state: dict, other_list: bool, restart: bool) -> bool:
    """Go on with the data where a checkpoint stands, or at the beginning of its epoch.

    Args:
        loader: What goes on.
        state: Of the loader in the checkpoint.
        other_list: Whether the run reads another list of files. A list may leave out broken files,
            as the message about them advises.
        restart: Whether an epoch is to begin again where its images or its loader are others.

    Returns:
        Whether it goes on within the epoch, so that sums over the epoch count on.

    Raises:
        ValueError: If the images or the loader are others, and that was not to be expected.
    """
    try:
        loader.load_state_dict(state)
        return True
    except ValueError:
        other_files = not loader.has_files_of(state)
        if not (restart or other_files):
            raise
    if not (restart or other_list):
        raise ValueError(
            "train: expected the images of the checkpoint, got others: files or labels have "
            "changed since. Give --restart-epoch to go on with them from the beginning of the "
            "epoch, or another --out to start anew."
        )
    # A place among the old ones means nothing among the new ones, but for their end.
    end = state["samples"] // state["num_shards"] // state["batch_size"]
    loader.start_epoch(state["epoch"] + (state["position"] == end))
    return False
