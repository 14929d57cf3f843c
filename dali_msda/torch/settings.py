"""What the collate function and the batch transform for PyTorch share: settings, and targets."""

from __future__ import annotations

import numpy as np
import torch

from dali_msda.backends.shapes import whole
from dali_msda.ops import blend, targets
from dali_msda.plan import draw
from dali_msda.policy import Mixup, Policy, expect_loader_policy, number

UNMIXED = Mixup(prob=0.0)


class MixingSettings:
    """Settings of mixing, and targets; the base of :class:`Collate` and :class:`Mixer`.

    Args:
        policy: What to draw. None mixes nothing; the labels then stay as they are.
        num_classes: Number of classes, C; needed for dense rows of class indices.
        seed: Key of all random numbers, below 2**64.
        mean: As :func:`dali_msda.blend` takes it, in units of the input; so are the next two.
        std: Divided by.
        dtype: ``"uint8"``, ``"float32"``, ``"float16"`` or ``"bfloat16"``, or a torch type.
        mirror: Probability that an image is flipped left to right before it is mixed.
        compact: Return labels and weights instead of dense rows.
        smoothing: Share of the mass of dense rows that is spread over all classes.
    """

    def __init__(
        self,
        policy: Policy | None,
        num_classes: int | None = None,
        *,
        seed: int = 0,
        mean: object = None,
        std: object = None,
        dtype: object = None,
        mirror: float = 0.0,
        compact: bool = False,
        smoothing: float = 0.0,
    ):
        if policy is not None:
            expect_loader_policy(policy)
        number("mirror", mirror, 0.0, 1.0, "a probability in [0, 1]")
        if not isinstance(compact, bool):
            raise TypeError(f"compact: expected True or False, got {compact!r}")
        if policy is None and (compact or smoothing):
            raise ValueError("policy: expected one with compact or smoothing, got None")
        self.policy, self.num_classes = policy, num_classes
        self.seed = whole("seed", seed, 0, 2**64)
        self.mirror, self.compact, self.smoothing = float(mirror), compact, smoothing
        self.blending = dict(mean=mean, std=std, dtype=dtype)
        self.drawn = UNMIXED if policy is None else policy
        # A blend of one uint8 pixel checks the other arguments and tells the type of such batches.
        one = draw(UNMIXED, 1, 1, 1, seed=0, step=0)
        channels = max(np.size(mean), np.size(std))
        pixel = torch.zeros((1, 1, 1, channels), dtype=torch.uint8)
        self._output_dtype = blend(pixel, one, **self.blending).dtype
        number("smoothing", smoothing, 0.0, 1.0, "a share in [0, 1]")
        if num_classes is not None or compact:
            options = dict(smoothing=smoothing, compact=compact)
            targets(torch.zeros(1, dtype=torch.int64), one, num_classes=num_classes, **options)

    def _targets(
        self, labels: torch.Tensor, plan: np.ndarray, weights: object = None
    ) -> tuple[torch.Tensor, ...]:
        """Targets of a batch; interpolations, if there are any, follow one another."""
        if self.policy is None:
            return (labels,)
        options = dict(num_classes=self.num_classes, compact=self.compact, weights=weights)
        made = targets(labels, plan, smoothing=self.smoothing, **options)
        if not self.compact:
            return (made.flatten(0, plan.ndim - 1),)
        found, weights = (part.flatten(0, plan.ndim - 1) for part in made)
        # This batch may mix fewer samples than the policy does at most.
        missing = self.drawn.max_sources - found.shape[1]
        if missing:
            found = torch.cat([found, found[:, :1].expand(-1, missing)], 1)
            weights = torch.cat([weights, weights.new_zeros(len(weights), missing)], 1)
        return found, weights
