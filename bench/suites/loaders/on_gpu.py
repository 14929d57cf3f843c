"""Loaders whose batches end on a GPU: those of the training program, with mixing and without.

DALI decodes by nvJPEG (``device="mixed"``) and does all that follows on the GPU. FFCV decodes and
crops on the CPU and mixes behind ``ToTensor`` and ``ToDevice``. The workers of torch do everything
on the CPU; or they hand on bytes, and :class:`dali_msda.torch.Mixer` does the rest on the GPU.
"""

from collections.abc import Callable, Iterable, Iterator

import dali_msda as msda
from bench.cases import cores
from bench.suites.loaders import ours

UNMIXED = msda.Mixup(prob=0.0)


def opened(
    source: object, spot: object, case: dict[str, object], **options: object
) -> Callable[[msda.Policy | None], "Moved"]:
    """What opens the case's loader over a source of images, for a policy or None.

    Args:
        source: What the loader reads.
        spot: The GPU.
        case: ``loader``, ``batch``, ``size`` and ``dtype``.
        options: Others of the training program's loaders.

    Raises:
        Missing: If the framework is not here.
    """
    kind, takes_gpu = ours.module(case["loader"])
    how = ours.settings(case) | {"threads": cores()} | options
    how["device_id"] = spot.index if takes_gpu else None
    return lambda policy: Moved(kind.TrainingLoader(source, policy=policy, **how), spot.device)


def opened_bytes(
    source: object, spot: object, case: dict[str, object]
) -> Callable[[msda.Policy], "MixedThere"]:
    """The same for torch's workers that do not mix, with a mixer on the GPU behind them."""
    kind, _ = ours.module("torch")
    from dali_msda.pipelines.loaders.torch_workers import CollateCopies
    from dali_msda.torch import Collate

    class Bytes(kind.TrainingLoader):
        """The training program's loader without its last step."""

        def _collate_fn(self) -> CollateCopies:
            return CollateCopies(Collate(None), 1)

    how = ours.settings(case) | {"threads": cores()}
    return lambda policy: MixedThere(
        Moved(Bytes(source, policy=None, **how), spot.device), policy, case["dtype"]
    )


class Moved:
    """An epoch of batches a loop, each moved to the GPU as the training program moves it."""

    def __init__(self, loader: Iterable, device: str):
        self.loader, self.device = loader, device

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[list]:
        for batch in self.loader:
            yield [part.to(self.device, non_blocking=True) for part in batch]


class MixedThere:
    """Batches of bytes that are mirrored, mixed and normalised on the GPU."""

    def __init__(self, moved: Moved, policy: msda.Policy, dtype: str):
        from dali_msda.torch import Mixer

        loader = moved.loader
        how = {"dtype": dtype, "mirror": 0.5, "compact": True, **loader.normalise}
        self.moved, self.mixer = moved, Mixer(policy, loader.num_classes, **how)

    def __len__(self) -> int:
        return len(self.moved)

    def __iter__(self) -> Iterator[tuple]:
        for batch in self.moved:
            yield self.mixer(*batch)
