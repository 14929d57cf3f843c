"""A drop-in for ``timm.data.Mixup``: ``from dali_msda.timm import Mixup``."""

from __future__ import annotations

import math

import numpy as np
import torch

from dali_msda.backends.checks import expect_classes
from dali_msda.ops import blend, targets
from dali_msda.plan import draw
from dali_msda.policy import METHODS, Choice, CutMix, Policy, number
from dali_msda.policy import Mixup as MixupPolicy
from dali_msda.torch.batches import (
    blended,
    expect_batch,
    expect_class_indices,
    readable,
    uncompiled,
)
from dali_msda.torch.draw_key import DrawKey

__all__ = ["Mixup"]

SCOPES = {"batch": "batch", "pair": "pair", "elem": "sample"}
LEAST_ALPHA = 0.01  # the least that policies take


class Mixup:
    """Mixup and CutMix of batches with timm's arguments: ``x, target = mixup_fn(x, target)``.

    As there, sample i is mixed with sample B - 1 - i, ``x`` is mixed in place and returned, targets
    are dense rows, and ``mixup_enabled = False`` switches mixing off but not the smoothing. The
    settings are attributes with timm's names (``mix_prob`` is ``prob``); what is set between calls
    holds from the next call on.

    What differs:

    * Draws are functions of the seed, the rank and the number of the batch, not of NumPy's global
      generator; :meth:`state_dict` takes them to a checkpoint. Without ``seed=`` each object, and
      each deep copy, draws something else; with it they draw alike.
    * An odd batch is fine. The sample in the middle has itself for a partner.
    * Sides of the box of CutMix are even, as in the paper's code; timm's have one pixel more where
      they are odd. With ``cutmix_minmax`` the largest side and the last corner are drawn as well.
    * Weights are exact: one rounding for each pixel and each target, in every mode; timm rounds
      lambda to the images' type in ``elem`` and ``pair``.
    * uint8 images are mixed and rounded; timm fails on them.
    * An alpha between 0 and 0.01 is taken for 0.01, which also draws lambda next to 0 or 1.
    * ``mode`` other than the three, and alphas of which neither is above 0, are refused at once.
    * Images and labels that require a gradient are refused.

    Args:
        mixup_alpha: Shape of Mixup's Beta distribution, up to 100; at 0 there is no Mixup.
        cutmix_alpha: The same for CutMix.
        cutmix_minmax: Bounds of the sides of CutMix's box, as shares; CutMix is then active.
        prob: Probability of mixing, for each batch, pair or element.
        switch_prob: Probability of CutMix where both are active.
        mode: Who shares lambda and box: ``"batch"``, ``"pair"`` or ``"elem"`` (nobody).
        correct_lam: Give the label the share of the pixels where a box is cut off at the border,
            not the lambda that was drawn.
        label_smoothing: Share of the mass that is spread over all classes.
        num_classes: Number of classes, C.
        multi_label: Targets are multi-hot rows ``(B, C)``, and are smoothed towards 1/2.
        seed: Key of all random numbers; by default one drawn from torch's generator.
        rank: Number of the process; by default that of ``torch.distributed``.

    Raises:
        TypeError, ValueError: If an argument is of the wrong kind or out of range.

    Reference:
        timm.data.Mixup of timm 1.0.31.
    """

    def __init__(
        self,
        mixup_alpha: float = 1.0,
        cutmix_alpha: float = 0.0,
        cutmix_minmax: tuple[float, float] | None = None,
        prob: float = 1.0,
        switch_prob: float = 0.5,
        mode: str = "batch",
        correct_lam: bool = True,
        label_smoothing: float = 0.1,
        num_classes: int = 1000,
        multi_label: bool = False,
        *,
        seed: int | None = None,
        rank: int | None = None,
    ):
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = 1.0 if cutmix_minmax is not None else cutmix_alpha
        self.cutmix_minmax = cutmix_minmax
        self.mix_prob, self.switch_prob = prob, switch_prob
        self.label_smoothing, self.num_classes = label_smoothing, num_classes
        self.multi_label, self.mode, self.correct_lam = multi_label, mode, correct_lam
        self.mixup_enabled = True
        self._key = DrawKey(seed, rank, kind="timm.Mixup")
        self._expect_settings()
        _ = self.policy  # checks the rest

    def _expect_settings(self) -> None:
        """Raise TypeError or ValueError unless the settings outside the policy can be used."""
        expect_classes(self.num_classes)
        number("label_smoothing", self.label_smoothing, 0.0, 1.0, "a share in [0, 1]")

    @property
    def policy(self) -> Policy:
        """The policy that the settings describe now."""
        if not isinstance(self.mode, str) or self.mode not in SCOPES:
            raise ValueError(f"mode: expected 'batch', 'pair' or 'elem', got {self.mode!r}")
        number("switch_prob", self.switch_prob, 0.0, 1.0, "a probability in [0, 1]")
        number("prob", self.mix_prob, 0.0, 1.0, "a probability in [0, 1]")
        how = dict(scope=SCOPES[self.mode], partner="flip", prob=self.mix_prob)
        methods = []
        if _is_active("mixup_alpha", self.mixup_alpha):
            methods.append(MixupPolicy(alpha=max(self.mixup_alpha, LEAST_ALPHA), **how))
        if _is_active("cutmix_alpha", self.cutmix_alpha):
            alpha = max(self.cutmix_alpha, LEAST_ALPHA)
            methods.append(CutMix(alpha=alpha, minmax=self.cutmix_minmax, **how))
        if not methods:
            raise ValueError(
                "mixup_alpha: expected mixup_alpha > 0, cutmix_alpha > 0 or cutmix_minmax, got "
                f"{self.mixup_alpha}, {self.cutmix_alpha} and None"
            )
        if len(methods) == 2 and 0 < self.switch_prob < 1:
            return Choice(methods, [1 - self.switch_prob, self.switch_prob], scope=how["scope"])
        return methods[-1 if self.switch_prob == 1 else 0]

    @uncompiled
    def __call__(self, x: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix a batch.

        Args:
            x: Images ``(B, C, H, W)`` in any memory order, float32, float16, bfloat16 or uint8, on
                the CPU or a GPU; changed in place. In the two half types, and in strides other
                than contiguous and ``channels_last``, a copy is mixed and written back.
            target: Class indices ``(B,)``; with ``multi_label`` rows ``(B, C)``.

        Returns:
            ``x`` and the targets, float32 ``(B, C)``.

        Raises:
            TypeError, ValueError: If the tensors do not fit.
        """
        self._expect_settings()
        expect_batch(x, target)
        plan = self.plan(len(x), *x.shape[2:])
        rows = self._rows(target, plan)
        if (plan["method"] != 0).any():
            _mix_in_place(x, plan)
        self._key.step += 1
        return x, rows

    def plan(self, batch: int, height: int, width: int) -> np.ndarray:
        """Draw the plan of the next batch, as :func:`dali_msda.draw` does."""
        policy = self.policy if self.mixup_enabled else MixupPolicy(prob=0.0)
        plan = draw(policy, batch, height, width, **self._key.arguments())
        if not self.correct_lam and self.cutmix_minmax is None:
            boxed = plan["method"] == METHODS["cutmix"].code
            plan["weight"][boxed] = plan["lam"][boxed]
            plan["partner_weight"][boxed] = 1 - plan["lam"][boxed]
        return plan

    def _rows(self, target: torch.Tensor, plan: np.ndarray) -> torch.Tensor:
        if not self.multi_label:
            if target.ndim == 2 and target.shape[1] != 1:
                raise ValueError(
                    f"target: expected class indices ({len(target)},), got {tuple(target.shape)}; "
                    "multi_label=True takes rows"
                )
            expect_class_indices("target", target)
            how = dict(num_classes=self.num_classes, smoothing=self.label_smoothing)
            return targets(target.long().view(-1), plan, **how)
        if target.shape != (len(plan), self.num_classes):
            raise ValueError(
                f"target: expected rows ({len(plan)}, {self.num_classes}) with multi_label, got "
                f"{tuple(target.shape)}"
            )
        rows = targets(target.float(), plan)
        return rows * (1 - self.label_smoothing) + 0.5 * self.label_smoothing

    def state_dict(self) -> dict[str, int]:
        """What is needed to go on from the next batch: the seed and the number of the batch."""
        return self._key.state()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from what :meth:`state_dict` returned, with the seed in it."""
        self._key.restore(state)


def _is_active(name: str, alpha: object) -> bool:
    """Whether the method with this alpha takes part."""
    number(name, alpha, -math.inf, 100.0, "a number in [0.01, 100], or 0 for none")
    return alpha > 0


def _mix_in_place(x: torch.Tensor, plan: np.ndarray) -> None:
    """Mix images ``(B, C, H, W)``, and tell autograd that they have changed."""
    images = readable(x)
    if images is not x:
        x.copy_(blended(images, plan, dtype=x.dtype))
        return
    pixels = x.permute(0, 2, 3, 1)
    if pixels.is_contiguous():  # also planes of one channel or one pixel
        blend(pixels, plan, out=pixels)
    else:
        blend(pixels, plan, out=x, layout="CHW")
    torch.autograd.graph.increment_version(x)
