"""Drop-ins for timm's ``Mixup``, which mixes batches, and for its arithmetic of targets."""

from __future__ import annotations

import math
from typing import ClassVar

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
    mixed_doubles,
    readable,
    uncompiled,
)
from dali_msda.torch.draw_key import DrawKey, SharedNumber

SHAPES = "(B, H, W)", "(B, C, H, W)", "(B, C, D, H, W)"
LEAST_ALPHA = 0.01  # the least that policies take


class Mixup:
    """Mixup and CutMix of batches with timm's arguments: ``x, target = mixup_fn(x, target)``.

    As there, sample i is mixed with sample B - 1 - i, ``x`` is mixed in place and returned, targets
    are dense rows, and ``mixup_enabled = False`` switches mixing off but not the smoothing. The
    settings are attributes with timm's names (``mix_prob`` is ``prob``); what is set between calls
    holds from the next call on, and ``mixup_enabled`` in running workers as well.

    What one can see from outside and differs; types are those of what is returned.

    =============================  ====================================  ================
    what                           theirs                                here
    =============================  ====================================  ================
    argument seed                  absent                                None by name
    argument rank                  absent                                None by name
    member load_state_dict         absent                                there
    member mixup_enabled           absent                                there
    member plan                    absent                                there
    member policy                  absent                                there
    member state_dict              absent                                there
    x of uint8                     RuntimeError or uint8, float32        uint8, float32
    x of int64                     RuntimeError or int64, float32        TypeError
    x of bool                      RuntimeError or bool, float32         TypeError
    x of float64                   float64, float32 or float64, float64  float64, float32
    x of complex64, one lambda     complex64, float32                    TypeError
    x (B, F), Mixup                float32, float32                      ValueError
    x (B, H, W), CutMix            IndexError                            float32, float32
    x of six axes, Mixup           float32, float32                      ValueError
    x of six axes, CutMix          float32, float32                      ValueError
    x that is an array             AttributeError                        TypeError
    x that needs a gradient        float32, float32                      ValueError
    an odd batch                   AssertionError                        float32, float32
    target of rows                 float32, float32 or RuntimeError      ValueError
    target of floats               float32, float32                      TypeError
    target that is a list          AttributeError                        TypeError
    target of another length       float32, float32 or RuntimeError      ValueError
    both alphas 0                  AssertionError                        ValueError
    an alpha above 100             float32, float32                      ValueError
    minmax of another length       AssertionError                        TypeError
    prob not in [0, 1]             float32, float32                      ValueError
    switch_prob not in [0, 1]      float32, float32                      ValueError
    switch_prob that is no number  float32, float32                      TypeError
    another mode                   float32, float32                      ValueError
    mode='half'                    float32, float32                      ValueError
    smoothing not in [0, 1]        float32, float32                      ValueError
    no class                       ZeroDivisionError                     ValueError
    fewer classes than labels      RuntimeError                          ValueError
    =============================  ====================================  ================

    What differs in numbers:

    * Draws are functions of the seed, the rank and the number of the batch, not of NumPy's global
      generator; :meth:`state_dict` takes them to a checkpoint. Without ``seed=`` each object, and
      each deep copy, draws something else; with it they draw alike.
    * The sample in the middle of an odd batch has itself for a partner.
    * Sides of the box of CutMix are even, as in the paper's code; timm's have one pixel more where
      they are odd. With ``cutmix_minmax`` the largest side and the last corner are drawn as well.
    * The box of a volume is the same in each of its planes; timm's lies across their axis.
    * Weights are exact: one rounding for each pixel and each target, in every mode; timm rounds
      lambda to the images' type in ``elem`` and ``pair``.
    * An alpha between 0 and 0.01 is taken for 0.01, which also draws lambda next to 0 or 1.

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

    _scopes: ClassVar[dict[str, str]] = {"batch": "batch", "pair": "pair", "elem": "sample"}
    _draws_in_workers = False  # with a seed of its own

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
        self._enabled = SharedNumber(1)
        kind = f"timm.{type(self).__name__}"
        self._key = DrawKey(seed, rank, kind=kind, in_workers=self._draws_in_workers)
        self._expect_settings()
        _ = self.policy  # checks the rest

    def _expect_settings(self) -> None:
        """Raise TypeError or ValueError unless the settings outside the policy can be used."""
        expect_classes(self.num_classes)
        number("label_smoothing", self.label_smoothing, 0.0, 1.0, "a share in [0, 1]")

    @property
    def policy(self) -> Policy:
        """The policy that the settings describe now."""
        if not isinstance(self.mode, str) or self.mode not in self._scopes:
            *others, last = map(repr, self._scopes)
            raise ValueError(f"mode: expected {', '.join(others)} or {last}, got {self.mode!r}")
        number("switch_prob", self.switch_prob, 0.0, 1.0, "a probability in [0, 1]")
        number("prob", self.mix_prob, 0.0, 1.0, "a probability in [0, 1]")
        how = dict(scope=self._scopes[self.mode], partner="flip", prob=self.mix_prob)
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

    @property
    def mixup_enabled(self) -> bool:
        """Whether batches are mixed; set it to False to switch mixing off."""
        return bool(self._enabled.value)

    @mixup_enabled.setter
    def mixup_enabled(self, enabled: bool) -> None:
        self._enabled.value = int(bool(enabled))

    @uncompiled
    def __call__(self, x: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix a batch.

        Args:
            x: Images ``(B, C, H, W)`` or ``(B, H, W)``, or volumes ``(B, C, D, H, W)``, in any
                memory order, uint8 or of a float type, on the CPU or a GPU; changed in place. In
                the two half types and float64, and in strides other than contiguous and
                ``channels_last``, a copy is mixed and written back.
            target: Class indices ``(B,)``; with ``multi_label`` rows ``(B, C)``.

        Returns:
            ``x`` and the targets, float32 ``(B, C)``.

        Raises:
            TypeError, ValueError: If the tensors do not fit.
        """
        self._expect_settings()
        expect_batch(x, target, shapes=SHAPES, doubles=True)
        plan = self.plan(len(x), *x.shape[-2:])
        rows = self._rows(target, plan)
        if (plan["method"] != 0).any():
            images = x.unsqueeze(1) if x.ndim == 3 else x.flatten(1, -3)
            _mix_in_place(images, plan)
            if images.data_ptr() != x.data_ptr():  # no view has the channels and planes on one axis
                x.copy_(images.view(x.shape))
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
        return _rows(target, plan, self.num_classes, self.label_smoothing, self.multi_label)

    def state_dict(self) -> dict[str, int]:
        """What is needed to go on from the next batch: the seed and the number of the batch."""
        return self._key.state()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from what :meth:`state_dict` returned, with the seed in it."""
        self._key.restore(state)


def mixup_target(
    target: torch.Tensor,
    num_classes: int,
    lam: float | torch.Tensor = 1.0,
    smoothing: float = 0.0,
    multi_label: bool = False,
) -> torch.Tensor:
    """Soft targets of a batch that was mixed with its reverse, as ``timm.data.mixup_target``.

    Args:
        target: Class indices ``(B,)``; with ``multi_label`` rows ``(B, C)``.
        num_classes: Number of classes, C.
        lam: Own weight, in [0, 1]: a number, or one per sample, ``(B,)`` or ``(B, 1)``.
        smoothing: Share of the mass that is spread over all classes; in rows, towards 1/2.
        multi_label: Whether targets are rows.

    ========================  ============  ==========
    what                      theirs        here
    ========================  ============  ==========
    lam of float64            float64       float32
    lam not in [0, 1]         float32       ValueError
    a label that is no class  RuntimeError  ValueError
    smoothing not in [0, 1]   float32       ValueError
    labels of floats          float32       TypeError
    ========================  ============  ==========

    Returns:
        float32 ``(B, C)``.

    Raises:
        TypeError, ValueError: If an argument is of the wrong kind or out of range.

    Reference:
        timm.data.mixup.mixup_target of timm 1.0.31.
    """
    if isinstance(lam, torch.Tensor):
        lam = lam.detach().cpu().double().numpy()
    lam = np.ravel(lam) if np.size(lam) > 1 else np.asarray(lam).reshape(())
    plan = draw(MixupPolicy(partner="flip"), len(target), 1, 1, seed=0, step=0, lam=lam)
    return _rows(target, plan, num_classes, smoothing, multi_label)


def _rows(
    target: torch.Tensor, plan: np.ndarray, classes: int, smoothing: float, multi_label: bool
) -> torch.Tensor:
    """Targets of a plan, which may have fewer records than there are samples."""
    if not multi_label:
        if target.ndim == 2 and target.shape[1] != 1:
            raise ValueError(
                f"target: expected class indices ({len(target)},), got {tuple(target.shape)}; "
                "multi_label=True takes rows"
            )
        expect_class_indices("target", target)
        return targets(target.long().view(-1), plan, num_classes=classes, smoothing=smoothing)
    if target.ndim != 2 or target.shape[1] != classes:
        raise ValueError(
            f"target: expected rows ({len(target)}, {classes}) with multi_label, got "
            f"{tuple(target.shape)}"
        )
    return targets(target.float(), plan) * (1 - smoothing) + 0.5 * smoothing


def _is_active(name: str, alpha: object) -> bool:
    """Whether the method with this alpha takes part."""
    number(name, alpha, -math.inf, 100.0, "a number in [0.01, 100], or 0 for none")
    return alpha > 0


def _mix_in_place(x: torch.Tensor, plan: np.ndarray) -> None:
    """Mix images ``(B, C, H, W)``, and tell autograd that they have changed."""
    if x.dtype == torch.float64:
        x.copy_(mixed_doubles(x, plan))
        return
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
