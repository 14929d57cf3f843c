"""Calls as a user writes them, for the type checker: `make check` reads this, nothing runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import dali_msda as msda
from dali_msda import timm, torchvision
from dali_msda.torch import Collate, Indexed, Mixer, PuzzleMix, saliency, soft_target_cross_entropy

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


def doors(images: torch.Tensor, labels: torch.Tensor, data: torch.utils.data.Dataset[Any]) -> None:
    mixer = Mixer(msda.CutMix(), num_classes=10, mean=[0.5] * 3, dtype=torch.float16, mirror=0.5)
    torch.nn.Sequential(mixer, torch.nn.Identity())
    torch.utils.data.DataLoader(Indexed(data), 8, collate_fn=Collate(msda.Mixup(), num_classes=10))
    assert_type(soft_target_cross_entropy(images, labels, smoothing=0.1), torch.Tensor)
    puzzle = PuzzleMix(num_classes=10, alpha=0.5, scope="batch", blocks=(4, 8))
    puzzle(images, labels, saliency(torch.nn.Flatten(), images, labels))
    timm.Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, mode="elem", num_classes=10)(images, labels)
    torchvision.CutMix(num_classes=10, seed=0)(images, labels)
    Mixer(msda.CutMix(), num_clases=10)  # type: ignore[call-arg]  # misspelt
    timm.Mixup(mixup_aplha=0.8)  # type: ignore[call-arg]  # misspelt
