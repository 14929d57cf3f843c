"""StyleMix and StyleCutMix: content and style are mixed apart, by an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dali_msda import loader_draws
from dali_msda.backends.shapes import whole
from dali_msda.ops import mask
from dali_msda.plan import draw
from dali_msda.policy import CutMix, Leaf, Mixup, Partner, number
from dali_msda.torch.batches import expect_batch, uncompiled
from dali_msda.torch.draw_key import CountsBatches, DrawKey, derived_seed
from dali_msda.torch.methods.style_arithmetic import adain, stylecutmix, stylemix
from dali_msda.torch.settings import MixingSettings


class StyleMixer(MixingSettings, CountsBatches):
    """What :class:`StyleMix` and :class:`StyleCutMix` share: draws, targets and state.

    Args:
        encoder: Makes features ``(B, C, h, w)`` of images, such as VGG-19 up to ``relu4_1``. It is
            given the images as they are, so it has to take their normalisation.
        decoder: Makes images of such features: trained for AdaIN with that encoder.
        num_classes: Number of classes; needed for dense rows of class indices.
        alpha: Shape of the Beta(alpha, alpha) of the draws; None: the method's own.
        prob: Probability that mixing happens at all, drawn once per scope; None: the method's own.
        scope: Each ``"sample"`` has its own draws, or the whole ``"batch"`` shares them.
        partner: As in :class:`dali_msda.policy.Leaf`.
        share: Weight of the content's label; the style's has the rest.
        size: Side to which images are enlarged for the encoder, in pixels; None: they are not.
        seed: Key of all random numbers, below 2**64.
        rank: Number of the process; by default that of ``torch.distributed``, or 0.
        compact: Return labels and weights instead of dense rows.
        smoothing: Share of the mass of dense rows that is spread over all classes.

    Attributes:
        plan: Partners and label weights of the batch before; None at first.
    """

    kind: ClassVar[type[Leaf]]
    alpha: ClassVar[float]
    prob: ClassVar[float]

    def __init__(
        self,
        encoder: Callable[[Tensor], Tensor],
        decoder: Callable[[Tensor], Tensor],
        num_classes: int | None = None,
        *,
        alpha: float | None = None,
        prob: float | None = None,
        scope: Literal["sample", "batch"] = "sample",
        partner: Partner = "permutation",
        share: float = 0.7,
        size: int | None = None,
        seed: int = 0,
        rank: int | None = None,
        compact: bool = False,
        smoothing: float = 0.0,
    ):
        alpha = self.alpha if alpha is None else alpha
        prob = self.prob if prob is None else prob
        policy = self.kind(alpha=alpha, prob=prob, scope=scope, partner=partner)
        super().__init__(policy, num_classes, seed=seed, compact=compact, smoothing=smoothing)
        number("share", share, 0.0, 1.0, "a share in [0, 1]")
        self.encoder, self.decoder, self.share = encoder, decoder, float(share)
        self.size = None if size is None else whole("size", size, 1, 2**31)
        self.plan: np.ndarray | None = None
        self._key = DrawKey(self.seed, rank)

    @uncompiled
    @torch.no_grad()
    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Mix a batch.

        Args:
            images: float32, float16 or bfloat16 ``(B, C, H, W)``.
            labels: Class indices ``(B,)``, int64 or int32, or soft labels ``(B, classes)``.

        Returns:
            ``images, targets``: of the same shape and type, and float32 ``(B, classes)``; or, if
            ``compact``, ``images, labels, weights``.

        Raises:
            TypeError, ValueError: If the tensors do not fit.
        """
        expect_batch(images, labels)
        if not images.is_floating_point():
            raise TypeError(f"images: expected floats, normalised, got {images.dtype}")
        key = self._key.arguments()
        plan = draw(self.policy, len(images), *images.shape[2:], **key)
        mixes = plan["sources"] == 2
        mixed, content, style = images, 1, 1
        if mixes.any():
            mixed, content, style = self._mixed(images, labels, plan, key)
        weight = self.share * content + (1 - self.share) * style
        plan["weight"] = np.where(mixes, weight, plan["weight"])
        plan["partner_weight"] = np.where(mixes, 1 - plan["weight"], plan["partner_weight"])
        self.plan = plan
        self._key.step += 1
        changed = torch.from_numpy(mixes).to(images.device)[:, None, None, None]
        return torch.where(changed, mixed.to(images.dtype), images), *self._targets(labels, plan)

    def _mixed(
        self, images: Tensor, labels: Tensor, plan: np.ndarray, key: dict[str, int]
    ) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """Mixed images, and the own shares of content and style."""
        raise NotImplementedError

    def _ratios(self, alpha: float, what: str, batch: int, key: dict[str, int]) -> np.ndarray:
        """Beta(alpha, alpha) variates of their own, float64 ``(B,)``, shared as lambda is."""
        policy = Mixup(alpha=alpha, scope=self.policy.scope, partner=self.policy.partner)
        key = key | {"seed": derived_seed(key["seed"], what)}
        return draw(policy, batch, 1, 1, **key)["lam"].astype(np.float64)

    def _features(self, images: Tensor) -> Tensor:
        if self.size is not None:
            images = functional.interpolate(images, size=self.size, mode="bilinear")
        return self.encoder(images)

    def _decoded(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        images = self.decoder(features)
        if images.shape[2:] != size:
            images = functional.interpolate(images, size=size, mode="bilinear")
        return images


class StyleMix(StyleMixer):
    """Mixes content and style of two images with a ratio each, in the space of features.

    ::

        mix = StyleMix(vgg, decoder, num_classes=100, size=224, seed=0)
        images, targets = mix(images, labels)

    With own shares ``r_c`` of content and ``r_s`` of style, both Beta(alpha, alpha), and ``t ~
    U(max(0, r_c + r_s - 1), min(r_c, r_s))``, features are those of :func:`stylemix`, and the own
    label weight is ``share * r_c + (1 - share) * r_s``. Encoder and decoder are yours; no gradient
    flows through them. ``alpha`` is 0.5 and ``prob`` 0.2 by default, as in the README of the
    authors' code; see :class:`StyleMixer` for the arguments.

    Reference:
        Hong et al., StyleMix, CVPR 2021.
    """

    kind: ClassVar[type[Leaf]] = Mixup
    alpha: ClassVar[float] = 0.5
    prob: ClassVar[float] = 0.2

    def _mixed(
        self, images: Tensor, labels: Tensor, plan: np.ndarray, key: dict[str, int]
    ) -> tuple[Tensor, np.ndarray, np.ndarray]:
        content = plan["lam"].astype(np.float64)
        style = self._ratios(self.policy.alpha, "style", len(plan), key)
        slots = np.uint64(key["rank"] << 32) + np.arange(len(plan), dtype=np.uint64)
        if self.policy.scope == "batch":
            slots[:] = key["rank"] << 32
        uniform = loader_draws.uniforms(
            slots, 1, purpose="style", seed=key["seed"], step=key["step"]
        )[:, 0]
        low, high = np.maximum(0, content + style - 1), np.minimum(content, style)
        both = low + (high - low) * uniform
        own = self._features(images)
        partner = own[_on(own, plan["partner"].astype(np.int64))]
        shares = (_on(own, part)[:, None, None, None] for part in (content, style, both))
        return self._decoded(stylemix(own, partner, *shares), images.shape[2:]), content, style


class StyleCutMix(StyleMixer):
    """CutMix of the content, whose box is that of the own image, and a mixture of the styles.

    With an own share ``r_s`` of style, Beta(alpha, alpha), and a ``gamma`` that says how much of an
    image's style stays, Beta(0.8, 0.8), images are those of :func:`stylecutmix`. With ``lam`` the
    box's share of the pixels the own label weight is ``share * lam + (1 - share) * (gamma * lam +
    (1 - gamma) * r_s)``. ``alpha`` is 1 and ``prob`` 0.5 by default, as in the README of the
    authors' code; see :class:`StyleMixer` for the other arguments.

    Args:
        gammas: Instead of draws: the gamma of every pair of classes, ``(classes, classes)``, as
            :func:`style_gammas` makes them; labels are then class indices.

    Reference:
        Hong et al., StyleMix, CVPR 2021.
    """

    kind: ClassVar[type[Leaf]] = CutMix
    alpha: ClassVar[float] = 1.0
    prob: ClassVar[float] = 0.5
    GAMMA_ALPHA = 0.8

    def __init__(
        self,
        encoder: Callable[[Tensor], Tensor],
        decoder: Callable[[Tensor], Tensor],
        num_classes: int | None = None,
        *,
        alpha: float | None = None,
        prob: float | None = None,
        scope: Literal["sample", "batch"] = "sample",
        partner: Partner = "permutation",
        share: float = 0.7,
        size: int | None = None,
        gammas: Tensor | None = None,
        seed: int = 0,
        rank: int | None = None,
        compact: bool = False,
        smoothing: float = 0.0,
    ):
        super().__init__(
            encoder,
            decoder,
            num_classes,
            alpha=alpha,
            prob=prob,
            scope=scope,
            partner=partner,
            share=share,
            size=size,
            seed=seed,
            rank=rank,
            compact=compact,
            smoothing=smoothing,
        )
        self.gammas = None if gammas is None else gammas.detach().cpu().double().numpy()

    def _mixed(
        self, images: Tensor, labels: Tensor, plan: np.ndarray, key: dict[str, int]
    ) -> tuple[Tensor, np.ndarray, np.ndarray]:
        partners = plan["partner"].astype(np.int64)
        content = 1 - plan["weight"].astype(np.float64)
        ratio = self._ratios(self.policy.alpha, "style", len(plan), key)
        gamma = self._gammas(labels, partners, key)
        box = 1 - torch.from_numpy(mask(plan, *images.shape[2:])).to(images)[:, None]
        own = self._features(images)
        index = _on(own, partners)
        partner = own[index]
        styled = [
            self._decoded(adain(*pair), images.shape[2:])
            for pair in ((own, partner), (partner, own))
        ]
        shares = (_on(images, part)[:, None, None, None] for part in (ratio, gamma))
        mixed = stylecutmix(images, images[index], *styled, box, *shares)
        return mixed, content, gamma * content + (1 - gamma) * ratio

    def _gammas(self, labels: Tensor, partners: np.ndarray, key: dict[str, int]) -> np.ndarray:
        if self.gammas is None:
            return self._ratios(self.GAMMA_ALPHA, "gamma", len(partners), key)
        if labels.ndim != 1:
            raise ValueError(
                f"labels: expected class indices (B,) with gammas, got {tuple(labels.shape)}"
            )
        classes = labels.cpu().numpy()
        return self.gammas[classes, classes[partners]]


def _on(tensor: Tensor, values: np.ndarray) -> Tensor:
    """Values where a tensor is; floats in its type."""
    made = torch.from_numpy(values).to(tensor.device)
    return made.to(tensor.dtype) if made.is_floating_point() else made
