"""Drop-ins for timm: ``from dali_msda.timm import FastCollateMixup, Mixup``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dali_msda.timm.mixup import Mixup, mixup_target

if TYPE_CHECKING:
    from dali_msda.timm.fast_collate import FastCollateMixup

__all__ = ["FastCollateMixup", "Mixup", "mixup_target"]


def __getattr__(name: str) -> object:
    # It derives from timm's class, so timm is imported where it is asked for; Mixup needs none.
    if name != "FastCollateMixup":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dali_msda.timm.fast_collate import FastCollateMixup

    return FastCollateMixup
