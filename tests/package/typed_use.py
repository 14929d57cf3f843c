"""Calls as a user writes them, for the type checker: `make check` reads this, nothing runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

import dali_msda as msda

if TYPE_CHECKING:
    from typing_extensions import assert_type

Array = np.ndarray


def arrays(images: Array, labels: Array) -> None:
    policy = msda.Choice([msda.CutMix(alpha=1.0, box="inside"), msda.Mixup(alpha=0.2)])
    plan = msda.draw(policy, 8, 224, 224, seed=0, step=1, ids=[1, 2, 3], lam=0.5)
    mixed = msda.blend(images, plan, mean=[0.5] * 3, std=0.5, dtype="float16", layout="CHW")
    assert_type(mixed, Array)
    assert_type(msda.targets(labels, plan, num_classes=10), Array)
    assert_type(msda.targets(labels, plan, compact=True), tuple[Array, Array])
    assert_type(msda.mask(plan, 224, 224), Array)
    assert_type(msda.saliency(images), Array)
    assert_type(msda.saliency(images, maps=True), tuple[Array, Array])
    assert_type(msda.values(labels, plan), Array)
    msda.blend(images, plan, layout="NCHW")  # type: ignore[arg-type]  # no such layout
    msda.CutMix(box="outside")  # type: ignore[arg-type]  # no such word


def tensors(images: torch.Tensor, labels: torch.Tensor, memory: torch.Tensor) -> None:
    plan = msda.draw(msda.FMix(), 8, 224, 224, seed=0, step=1)
    mixed = msda.blend(images, plan, dtype=torch.float16, out=memory)
    assert_type(mixed, torch.Tensor)
    assert_type(msda.mask(plan, 224, 224, out=memory), torch.Tensor)
    mixed, _ = msda.mix(images, labels, msda.MultiMix(msda.GMix(), k=5), seed=0, step=1)
    assert_type(mixed, torch.Tensor)
