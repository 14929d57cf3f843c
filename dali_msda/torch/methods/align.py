"""AlignMix: feature maps are mixed after one is moved to fit the other, point by point."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from dali_msda import loader_draws
from dali_msda.policy import SCOPES
from dali_msda.torch.methods.layers import INPUT, Mixing, repeated, weighted_sum
from dali_msda.torch.methods.manifold import ManifoldMixup

ITERATIONS = 20
ALIGNS_OWN = 4  # kPlanAlignsOwn in kernels/msda/plan.h
SMOOTHNESS = 0.1  # the epsilon of Sinkhorn's algorithm


def align(
    own: Tensor,
    partner: Tensor,
    lam: Tensor | float,
    direction: Tensor | int,
    iterations: int = ITERATIONS,
) -> Tensor:
    """Mix two feature maps whose points were assigned to each other by optimal transport.

    A map is ``r`` points of ``C`` features. With the squared distances ``M`` of the points, the
    transport plan is that of Sinkhorn's algorithm with ``epsilon = 0.1`` and equal shares, and
    ``R = r * plan``. In direction 0 the partner takes the layout of the own map, and in direction 1
    the own map that of the partner::

        0: lam * own + (1 - lam) * partner @ R.T
        1: lam * own @ R + (1 - lam) * partner

    The plan is computed in float32 and gradients do not flow through it. Each sample has as many
    iterations as the others, so that its plan does not depend on them; the columns' shares are
    met exactly, the rows' nearly.

    Args:
        own: Floats ``(B, C, ...)``: the axes that follow are those of the points.
        partner: Of the same shape.
        lam: Weight of the own map, a number or ``(B,)``.
        direction: 0 or 1, or one per sample, ``(B,)``.
        iterations: Of Sinkhorn's algorithm, at least 1.

    Returns:
        ``(B, C, ...)``.

    Raises:
        ValueError: If the shapes do not fit, or there are no iterations.

    Reference:
        Venkataramanan et al., AlignMixup, CVPR 2022, arXiv:2103.15375, eqs. 5 to 9. The authors'
        code stops when the mean change over the batch is below 0.1, after 100 iterations at most.
    """
    if own.shape != partner.shape or own.ndim < 2:
        raise ValueError(
            f"partner: expected the shape of own, (B, C, ...), got {tuple(partner.shape)} for "
            f"{tuple(own.shape)}"
        )
    if iterations < 1:
        raise ValueError(f"iterations: expected at least 1, got {iterations}")
    direction = torch.as_tensor(direction, device=own.device).bool().expand(len(own))
    own, partner = aligned(own, partner, direction, iterations)
    lam = torch.as_tensor(lam, device=own.device, dtype=own.dtype).expand(len(own))
    return torch.lerp(own, partner, (1 - lam).reshape(-1, *[1] * (own.ndim - 1)))


def aligned(
    own: Tensor, partner: Tensor, direction: Tensor, iterations: int
) -> tuple[Tensor, Tensor]:
    """Both feature maps, one of each pair moved to fit the other."""
    with torch.autocast(own.device.type, enabled=False):
        a, b = (part.reshape(*part.shape[:2], -1) for part in (own, partner))
        points = a.shape[2]
        shares = points * transport(a.detach().float(), b.detach().float(), iterations)
        backwards = direction[:, None, None]
        matrix = torch.where(backwards, shares, shares.transpose(1, 2)).to(own.dtype)
        moved = torch.where(backwards, a, b) @ matrix
        moved = moved.reshape(own.shape)
    backwards = direction.reshape(-1, *[1] * (own.ndim - 1))
    return torch.where(backwards, moved, own), torch.where(backwards, partner, moved)


def transport(own: Tensor, partner: Tensor, iterations: int) -> Tensor:
    """Transport plans of points ``(B, C, r)``, float32 ``(B, r, r)``: row n for own point n."""
    squares = own.square().sum(1)[:, :, None] + partner.square().sum(1)[:, None, :]
    cost = (squares - 2 * own.transpose(1, 2) @ partner).clamp(min=0)
    share = math.log(1 / own.shape[2] + 1e-8)
    u, v = torch.zeros_like(cost[:, :, :1]), torch.zeros_like(cost[:, :1])
    for _ in range(iterations):
        u = SMOOTHNESS * (share - ((v - cost) / SMOOTHNESS).logsumexp(2, keepdim=True))
        v = SMOOTHNESS * (share - ((u - cost) / SMOOTHNESS).logsumexp(1, keepdim=True))
    return ((u + v - cost) / SMOOTHNESS).exp()


def aligned_sum(mixing: Mixing, hidden: Tensor) -> Tensor:
    """Weighted sums of aligned hidden states: the rule of AlignMix, at layers but the input."""
    if mixing.layer == INPUT or hidden.ndim < 3:
        return weighted_sum(mixing, hidden)
    k = mixing.interpolations
    partners = mixing.sources[::k, 1].to(hidden.device)
    pair = hidden, hidden.index_select(0, partners)
    own, partner = aligned(*pair, mixing.flags.to(hidden.device), ITERATIONS)
    weights = mixing.weights[:, 1].to(hidden.device, hidden.dtype)
    weights = weights.reshape(-1, *[1] * (hidden.ndim - 1))
    return torch.lerp(repeated(own, k), repeated(partner, k), weights)


class AlignMix(ManifoldMixup):
    """Manifold Mixup whose feature maps are aligned before they are mixed.

    ::

        mix = AlignMix(model, ["", "layer4"], num_classes=100, seed=0)

    It is used as :class:`ManifoldMixup` is, and has its arguments. Name the input, which is mixed
    as it is, and the last layer with a feature map ``(B, C, ...)``, where points are assigned to
    each other by :func:`align`. Its direction is a coin for each sample, or for the batch where the
    whole batch shares lambda; it is the flag 4 of the plan's records. The work grows with the
    square of the number of points, so take maps of at most some hundred.

    Reference:
        Venkataramanan et al., AlignMixup, CVPR 2022, arXiv:2103.15375.
    """

    rule: ClassVar[Callable[[Mixing, Tensor], Tensor]] = staticmethod(aligned_sum)
    most_sources: ClassVar[int] = 2

    def _drawn(self, batch: int, step: int | None) -> np.ndarray:
        key = self._key.arguments()
        plan = super()._drawn(batch, step)
        if step is not None:
            key["step"] = step
        seed, step, rank = key["seed"], key["step"], key["rank"]
        shared = (self.policy.leaves()["scope"] == SCOPES["batch"]).all()
        slots = np.uint64(rank << 32) + np.arange(batch, dtype=np.uint64) * np.uint64(not shared)
        coins = loader_draws.uniforms(slots, 1, purpose="direction", seed=seed, step=step)
        backwards = (coins[:, 0] < 0.5).reshape(-1, *[1] * (plan.ndim - 1))
        plan["flags"] |= np.where(backwards, ALIGNS_OWN, 0).astype(np.uint32)
        return plan

    def _flags(self, plan: np.ndarray) -> np.ndarray | None:
        first = plan.reshape(len(plan), -1)[:, 0]
        # A sample that is not mixed has its own features, which direction 0 leaves as they are.
        return ((first["flags"] & ALIGNS_OWN) != 0) & (first["sources"] == 2)
