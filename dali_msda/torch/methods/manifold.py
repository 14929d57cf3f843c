"""Manifold Mixup: Mixup of the hidden states of a layer that is drawn for each batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from dali_msda import loader_draws
from dali_msda.backends.shapes import whole
from dali_msda.plan import check, draw
from dali_msda.policy import METHODS, Mixup, Policy
from dali_msda.torch.draw_key import CountsBatches, DrawKey
from dali_msda.torch.methods.layers import Mixing, checked_names, hook, weighted_sum
from dali_msda.torch.settings import MixingSettings


class ManifoldMixup(MixingSettings, CountsBatches):
    """Mixes the hidden states of one of several layers, drawn anew for each batch.

    ::

        mix = ManifoldMixup(model, ["", "layer1", "layer2"], num_classes=100, seed=0)
        for images, labels in loader:
            with mix(labels) as targets:
                logits = model(images)
            loss = softmax_binary_cross_entropy(logits, targets)

    Inside the block the model mixes what the drawn layer gives, ``lam * own + (1 - lam) *
    partner``, and gradients flow through the mixture; outside it the model is as it was. The plan
    is a pure function of the seed, the rank and the number of the batch, which is counted;
    ``plan["layer"]`` is the layer's place in ``layers``. Nothing is drawn inside the model, so that
    its copies on other devices and recomputed layers agree.

    The hooks stay on the model; make this before ``torch.compile`` compiles it, which then makes
    one graph for each layer. ``DistributedDataParallel`` may be put around the model before or
    after. Where layers are recomputed in the backward pass (activation checkpointing), call
    ``backward()`` inside the block.

    Args:
        model: Whose layers are mixed; or None, if its ``forward`` calls :meth:`at` itself.
        layers: Names of modules, as ``model.named_modules()`` has them, each of which gives a
            tensor ``(B, ...)`` of floats, or a tuple that begins with one; ``""`` is the model's
            first input.
        policy: What to draw: :class:`dali_msda.Mixup`, or a composition of it. With
            ``MultiMix(Mixup(alpha=2.0), k)`` the layers after the mixed one get ``B * k`` samples,
            the ``k`` of each sample in a row, and so do logits and targets.
        num_classes: Number of classes; needed for dense rows of class indices.
        seed: Key of all random numbers, below 2**64.
        rank: Number of the process; by default that of ``torch.distributed``, or 0.
        compact: Give labels and weights instead of dense rows.
        smoothing: Share of the mass of dense rows that is spread over all classes.

    Attributes:
        plan: What was drawn for the batch before; None at first.

    Raises:
        TypeError, ValueError: If an argument is of the wrong kind or out of range, or the model has
            no such layer.

    Reference:
        Verma et al., Manifold Mixup, ICML 2019, arXiv:1806.05236. In the authors' code the layer is
        drawn inside the model, and lambda and layer from two generators. Interpolations: Shen et
        al., arXiv:2406.01417, eq. 6.
    """

    rule: ClassVar[Callable[[Mixing, Tensor], Tensor]] = staticmethod(weighted_sum)
    most_sources: ClassVar[int] = 4

    def __init__(
        self,
        model: nn.Module | None,
        layers: Sequence[str],
        policy: Policy | None = None,
        num_classes: int | None = None,
        *,
        seed: int = 0,
        rank: int | None = None,
        compact: bool = False,
        smoothing: float = 0.0,
    ):
        policy = Mixup(alpha=2.0) if policy is None else policy
        super().__init__(policy, num_classes, seed=seed, compact=compact, smoothing=smoothing)
        if (policy.leaves()["method"] != METHODS["mixup"].code).any():
            raise ValueError(
                f"policy: expected Mixup or a composition of it, got {policy!r}; boxes and masks "
                "have a meaning in images only"
            )
        if policy.max_sources > self.most_sources:
            raise ValueError(f"policy: expected Mixup of two samples, got {policy!r}")
        self.layers = checked_names(layers)
        self.plan: np.ndarray | None = None
        self._key = DrawKey(self.seed, rank)
        self._mixing = Mixing(self.layers, self.rule)
        if model is not None:
            if not isinstance(model, nn.Module):
                raise TypeError(f"model: expected a torch.nn.Module or None, got {model!r:.80}")
            hook(model, self._mixing)

    @contextmanager
    def __call__(
        self, labels: Tensor, *, step: int | None = None, plan: np.ndarray | None = None
    ) -> Iterator[Tensor | tuple[Tensor, ...]]:
        """Mix inside a ``with`` block, whose body runs the model once on the batch.

        Args:
            labels: Class indices ``(B,)``, int64 or int32, or soft labels ``(B, classes)``.
            step: Number of the batch, instead of the count.
            plan: What to do, instead of a draw: an earlier :attr:`plan`.

        Yields:
            The targets, float32 ``(B * k, classes)``; or, if ``compact``, labels and weights
            ``(B * k, n)``, int64 and float32.

        Raises:
            TypeError, ValueError: If the labels or what the layer gives do not fit.
            RuntimeError: If the layer did not run in the block.
        """
        if not isinstance(labels, Tensor):
            raise TypeError(f"labels: expected a tensor, got {type(labels).__name__}")
        if self._mixing.layer is not None:
            raise RuntimeError("with: expected one block at a time, got one inside another")
        plan = self._drawn(len(labels), step) if plan is None else self._checked(plan, len(labels))
        targets = self._targets(labels, plan)
        self.plan = plan
        if not len(labels):
            yield targets if self.compact else targets[0]
            return
        self._mixing.arm(plan, labels.device, self._flags(plan))
        try:
            yield targets if self.compact else targets[0]
            ran = self._mixing.ran
        finally:
            self._mixing.disarm()
        if not ran:
            raise RuntimeError(
                f"layer {self.layers[plan['layer'].flat[0]]!r}: expected the model to run it in "
                "the with block, since the targets are mixed, got no call of it"
            )

    def at(self, layer: str, hidden: Tensor) -> Tensor:
        """Mix the hidden state of a layer if the plan says so, in a ``forward`` of one's own.

        Args:
            layer: One of the names in :attr:`layers`.
            hidden: Floats ``(B, ...)``.

        Returns:
            The same, outside a block and at layers that were not drawn; else ``(B * k, ...)``.

        Raises:
            TypeError, ValueError: If the layer is not known or the tensor does not fit.
        """
        if layer not in self.layers:
            raise ValueError(f"layer: expected one of {list(self.layers)}, got {layer!r}")
        return self._mixing(layer, hidden)

    def _drawn(self, batch: int, step: int | None) -> np.ndarray:
        key = self._key.arguments()
        if step is not None:
            key["step"] = whole("step", step, 0, 2**32)
        plan = draw(self.policy, batch, 1, 1, **key)
        plan["layer"] = self._layer(**key)
        if step is None:
            self._key.step += 1
        return plan

    def _layer(self, seed: int, step: int, rank: int) -> int:
        uniform = loader_draws.uniforms([rank << 32], 1, purpose="layer", seed=seed, step=step)
        return int(uniform[0, 0] * len(self.layers))

    def _checked(self, plan: np.ndarray, batch: int) -> np.ndarray:
        """A plan that was given; raise TypeError or ValueError unless it fits."""
        plan = check(plan, batch)
        known = (plan["layer"] == plan["layer"].flat[:1]) & (plan["layer"] < len(self.layers))
        mixup = (plan["method"] == METHODS["mixup"].code) | (plan["sources"] == 1)
        own = plan["own"] == np.arange(len(plan)).reshape(-1, *[1] * (plan.ndim - 1))
        if len(plan) != batch or not (known & mixup & own).all():
            raise ValueError(
                f"plan: expected {batch} records of Mixup in order, all of one of "
                f"{len(self.layers)} layers, got another plan"
            )
        return plan

    def _flags(self, plan: np.ndarray) -> np.ndarray | None:
        """What the rule must know of each sample besides its sources and weights."""
        return None
