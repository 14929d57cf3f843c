"""RecursiveMix: the batch before, shrunk and pasted, so that what was mixed is mixed again."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dali_msda import loader_draws
from dali_msda.backends.shapes import whole
from dali_msda.ops import targets as soft_targets
from dali_msda.plan import draw
from dali_msda.policy import METHODS, number
from dali_msda.torch.batches import blended, expect_batch, readable, uncompiled
from dali_msda.torch.draw_key import DrawKey, state_values
from dali_msda.torch.losses import soft_target_cross_entropy
from dali_msda.torch.methods.regions import roi_features
from dali_msda.torch.settings import UNMIXED

SCOPES = ("sample", "batch")
REGIONS = ("box", "transposed")
HISTORY = ("images", "targets", "logits")


class RecursiveMix:
    """Pastes the mixed batch before, shrunk, into each batch, and compares what is seen there.

    ::

        mix = RecursiveMix(num_classes=100, seed=0)
        for epoch in range(300):
            mix.reset()
            for images, labels in loader:
                images, targets = mix(images, labels)
                features = backbone(images)  # (B, C, h, w), the last map
                logits = fc(features.mean((2, 3)))
                loss = mix.loss(logits, fc_roi(mix.regions(features)), targets)

    Sample i of the batch before, as it was mixed itself, is shrunk into a box of sample i. With
    ``w`` the share of pixels that stay own, its label is ``w * label + (1 - w) * mixed label
    before``. The loss is cross-entropy, and ``omega * (1 - w)`` times the cross-entropy of what the
    model says of the box with what it said of the batch before. The first batch, samples without a
    box, and those that the batch before has no sample for stay as they are; images of another size
    begin anew.

    The state is that of a process: the last batch and its logits. Boxes are a pure function of the
    seed, the rank and the number of the batch.

    Args:
        num_classes: Number of classes.
        alpha: Greatest area of a box, as a share of the image; it is uniform from 0.
        omega: Weight of the loss of the boxes.
        scope: Each ``"sample"`` has a box of its own, or the whole ``"batch"`` has one, as in the
            authors' code.
        regions: ``"box"``: the features of the box; ``"transposed"``: those of the box with its
            axes exchanged, which the released code takes by mistake.
        seed: Key of all random numbers, below 2**64.
        rank: Number of the process; by default that of ``torch.distributed``, or 0.

    Attributes:
        plan: Records of the batch: of ResizeMix, whose partner ``B + i`` is sample i of the batch
            before. None at first.

    Raises:
        TypeError, ValueError: If an argument is of the wrong kind or out of range.

    Reference:
        Yang et al., RecursiveMix, NeurIPS 2022, arXiv:2203.06844.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        alpha: float = 0.5,
        omega: float = 0.1,
        scope: str = "sample",
        regions: str = "box",
        seed: int = 0,
        rank: int | None = None,
    ):
        self.num_classes = whole("num_classes", num_classes, 1, 2**31)
        number("alpha", alpha, 0.0, 1.0, "a share in [0, 1]")
        number("omega", omega, 0.0, 1e6, "a number >= 0")
        for name, value, words in (("scope", scope, SCOPES), ("regions", regions, REGIONS)):
            if value not in words:
                raise ValueError(f"{name}: expected one of {', '.join(words)}, got {value!r}")
        self.alpha, self.omega, self.scope = float(alpha), float(omega), scope
        self.transposed = regions == "transposed"
        self.plan: np.ndarray | None = None
        self._key = DrawKey(seed, rank)
        self._teacher: Tensor | None = None  # logits of what is pasted
        self.reset()

    @property
    def step(self) -> int:
        """Number of the next batch."""
        return self._key.step

    def reset(self) -> None:
        """Forget the batch before, as the authors' code does when an epoch begins."""
        self._history: dict[str, Tensor | None] = dict.fromkeys(HISTORY)

    @uncompiled
    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mix a batch with the one before.

        Args:
            images: float32, float16 or bfloat16 ``(B, C, H, W)``.
            labels: Class indices ``(B,)``, int64 or int32, or soft labels ``(B, classes)``.

        Returns:
            Images of the same shape and type, and targets, float32 ``(B, classes)``. They are kept
            for the next batch, so do not change them in place.

        Raises:
            TypeError, ValueError: If the tensors do not fit.
            RuntimeError: If nothing was remembered of the batch before.
        """
        expect_batch(images, labels)
        if not images.is_floating_point():
            raise TypeError(f"images: expected floats, normalised, got {images.dtype}")
        before = self._before(images)
        self.plan = self._drawn(len(images), len(before["images"]), images.shape[2:])
        rows = soft_targets(labels, draw(UNMIXED, len(images), 1, 1, seed=0, step=0),
                            num_classes=self.num_classes)  # fmt: skip
        # Images of the batch before, if there are any, follow its own in its memory order.
        both = images if not len(before["images"]) else torch.cat([images, before["images"]])
        if images.is_contiguous(memory_format=torch.channels_last):
            both = both.contiguous(memory_format=torch.channels_last)
        name = str(images.dtype).removeprefix("torch.")
        mixed = blended(readable(both), self.plan, dtype=name)
        targets = soft_targets(torch.cat([rows, before["targets"]]), self.plan)
        self._teacher = rows.new_zeros(rows.shape)
        count = min(len(images), len(before["logits"]))
        self._teacher[:count] = before["logits"][:count].softmax(1)
        self._history = dict(images=mixed, targets=targets, logits=None)
        self._key.step += 1
        return mixed, targets

    def regions(self, feature_map: Tensor) -> Tensor:
        """Features of what was pasted into each image of the batch, ``(B, C)``.

        Args:
            feature_map: Of the mixed images, ``(B, C, h, w)``; samples without a box give the mean
                over the image, for which the loss has no use.
        """
        plan = self._last_plan()
        boxes = np.column_stack([plan[name] for name in ("y0", "x0", "y1", "x1")])
        size = int(plan["height"][0]), int(plan["width"][0])
        boxes[plan["sources"] == 1] = (0, 0, *size)
        return roi_features(feature_map, boxes, size, transposed=self.transposed)

    def region_loss(self, region_logits: Tensor) -> Tensor:
        """The loss of the boxes: ``omega`` times the mean of ``(1 - w)`` times cross-entropy.

        It is 0 where nothing is pasted, and depends on all logits even so: no parameter is unused.

        Args:
            region_logits: What the model says of :meth:`regions`, ``(B, classes)``.
        """
        shares = torch.from_numpy(self._last_plan()["partner_weight"].copy())
        each = soft_target_cross_entropy(region_logits, self._teacher, reduction="none")
        return self.omega * (shares.to(each) * each).mean()

    def loss(self, logits: Tensor, region_logits: Tensor, targets: Tensor) -> Tensor:
        """Both losses, and :meth:`remember`.

        Args:
            logits: Of the mixed images, ``(B, classes)``.
            region_logits: Of :meth:`regions`, ``(B, classes)``.
            targets: Of the mixed images, ``(B, classes)``.

        Returns:
            A scalar.
        """
        self.remember(logits)
        return soft_target_cross_entropy(logits, targets) + self.region_loss(region_logits)

    def remember(self, logits: Tensor) -> None:
        """Keep the logits of the mixed images for the next batch; :meth:`loss` does it, too."""
        self._history["logits"] = logits.detach().float()

    def state_dict(self) -> dict[str, Any]:
        """What another of the same arguments needs to go on from the next batch.

        It holds the last batch; with ``reset()`` before it, only the count.
        """
        return {**self._key.state(), **self._history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned.

        Raises:
            TypeError, ValueError: If it is not such a state, or had another seed.
        """
        _, _, *history = state_values("mixer state", state, ("seed", "step", *HISTORY))
        self._key.go_on("mixer state", state)
        self._history = dict(zip(HISTORY, history, strict=True))

    def _before(self, images: Tensor) -> dict[str, Tensor]:
        """The batch before, where the images are; of no samples, if there is none that fits."""
        kept = self._history
        if kept["images"] is None or kept["images"].shape[1:] != images.shape[1:]:
            rows = images.new_zeros((0, self.num_classes), dtype=torch.float32)
            return dict(images=images[:0], targets=rows, logits=rows)
        if kept["logits"] is None:
            raise RuntimeError(
                "remember: expected the logits of the batch before, got none; call loss(), or "
                "remember(logits), after each batch"
            )
        made = {name: kept[name].to(images.device) for name in HISTORY}
        return made | {"images": made["images"].to(images.dtype)}

    def _drawn(self, batch: int, before: int, size: tuple[int, ...]) -> np.ndarray:
        """The plan: a box of ResizeMix for each sample that the batch before has one for."""
        key = self._key.arguments()
        plan = draw(UNMIXED, batch, *size, **key)
        slots = np.uint64(key["rank"] << 32) + np.arange(batch, dtype=np.uint64)
        if self.scope == "batch":
            slots[:] = key["rank"] << 32
        area, *centre = loader_draws.uniforms(
            slots, 3, purpose="paste", seed=key["seed"], step=key["step"]
        ).T
        area = area * self.alpha
        ends = [_interval(n, area, at) for n, at in zip(size, centre, strict=True)]
        pixels = np.prod([end - start for start, end in ends], axis=0)
        made = (np.arange(batch) < before) & (pixels > 0)
        fields = dict(method=METHODS["resizemix"].code, sources=2, inside=0, lam=1 - area)
        fields |= dict(partner=batch + np.arange(batch), partner_weight=pixels / np.prod(size))
        for axis, (name, n, (start, end)) in enumerate(zip("yx", size, ends, strict=True)):
            fields |= {f"{name}0": start, f"{name}1": end}
            plan["falloff"][made, 1 + axis] = (n / np.maximum(end - start, 1))[made]
        for name, value in fields.items():
            plan[name][made] = np.broadcast_to(value, batch)[made]
        plan["weight"][made] = 1 - plan["partner_weight"][made]
        return plan

    def _last_plan(self) -> np.ndarray:
        if self.plan is None:
            raise RuntimeError("mix: expected a batch to be mixed before, got none")
        return self.plan


def _interval(n: int, area: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and end of a box along an axis of n pixels, cut off at the border as CutMix's is."""
    half = (n * np.sqrt(area)).astype(np.int64) // 2
    middle = (centre * n).astype(np.int64)
    return np.maximum(middle - half, 0), np.minimum(middle + half, n)
