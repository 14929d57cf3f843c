"""Co-Mixup in the training step."""

from __future__ import annotations

import torch

from dali_msda import comixup
from dali_msda.backends.shapes import whole
from dali_msda.loader_draws import uniforms
from dali_msda.policy import Mixup
from dali_msda.torch.batches import as_images, as_pixels, expect_batch, uncompiled
from dali_msda.torch.draw_key import CountsBatches, DrawKey
from dali_msda.torch.gradient_saliency import expect_maps, warn_of_uniform_maps
from dali_msda.torch.settings import MixingSettings


class CoMixup(CountsBatches):
    """Mixes parts of batches by their saliency: each output shows blocks of a few inputs.

    ::

        mix = CoMixup(num_classes=100, seed=0)
        for images, labels in loader:
            mixed, targets = mix(images, labels, saliency(model, images, labels))

    The random numbers with which the search begins follow from the seed, the rank and the number of
    the batch, which is counted; all else follows from the saliency, to the bit. A label weighs as
    much as an output shows of its image.

    Args:
        num_classes: Number of classes; needed for dense rows of class indices.
        blocks: Blocks of an output along each side; one of these is drawn for each batch. Their
            number must divide the height and the width of the images.
        settings: How the inputs of a part are shared out.
        via_cpu: Whether to serve images on another device, as a GPU. Their saliency is then copied
            to the CPU, where the outputs are found, and the images are mixed where they are, with
            the same bits. The CPU waits for the device once for each batch. Without it such
            images are refused.
        seed: Key of all random numbers, below 2**64.
        rank: Number of the process; by default that of ``torch.distributed``, or 0.
        compact: Return labels and weights, of as many samples as a part has, instead of dense rows.
        smoothing: Share of the mass of dense rows that is spread over all classes.

    Attributes:
        solution: What was found for the batch before, :class:`dali_msda.comixup.Solution`; None at
            first.
        uniform_maps: Saliency maps that had a value that is negative or not finite, or nothing
            above 0, and were taken to be uniform. The first are warned of.

    Raises:
        TypeError, ValueError: If an argument is of the wrong kind or out of range.

    Reference:
        Kim, Choo, Jeong and Song, Co-Mixup, ICLR 2021, arXiv:2102.03065.
    """

    _state_name = "co-mixup state"

    def __init__(
        self,
        num_classes: int | None = None,
        *,
        blocks: tuple[int, ...] = (4,),
        settings: comixup.CoMixupSettings | None = None,
        via_cpu: bool = False,
        seed: int = 0,
        rank: int | None = None,
        compact: bool = False,
        smoothing: float = 0.0,
    ):
        if not isinstance(blocks, tuple | list) or not blocks:
            raise TypeError(f"blocks: expected numbers such as (4,), got {blocks!r}")
        self.blocks = tuple(
            whole("blocks", count, 2, 17, "2 to 16 along each side, whole numbers")
            for count in blocks
        )
        self.settings = comixup.CoMixupSettings() if settings is None else settings
        if not isinstance(self.settings, comixup.CoMixupSettings):
            raise TypeError(f"settings: expected CoMixupSettings, got {settings!r}")
        if not isinstance(via_cpu, bool):
            raise TypeError(f"via_cpu: expected True or False, got {via_cpu!r}")
        checked = MixingSettings(
            Mixup(), num_classes, seed=seed, compact=compact, smoothing=smoothing
        )
        self.num_classes, self.compact, self.smoothing = num_classes, compact, smoothing
        self._via_cpu = via_cpu
        self._key = DrawKey(checked.seed, rank)
        self.solution: comixup.Solution | None = None
        self.uniform_maps = 0

    @uncompiled
    def __call__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        saliency: torch.Tensor,
        *,
        step: int | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Mix a batch.

        Args:
            images: uint8, float32, float16 or bfloat16 ``(B, C, H, W)``.
            labels: Class indices ``(B,)`` or soft labels ``(B, classes)``.
            saliency: Floats ``(B, H, W)``, as :func:`dali_msda.torch.saliency` finds them.
            step: Number of the batch, instead of the count.

        Returns:
            ``images, targets``: ``(B, C, H, W)`` of the images' type and memory order, and float32
            ``(B, classes)``; or, if ``compact``, ``images, labels, weights``, as
            :func:`dali_msda.comixup.targets` makes them.

        Raises:
            TypeError, ValueError: If the tensors do not fit, or any of ``blocks`` does not divide
                the images.
            RuntimeError: In a worker of a ``DataLoader``, whose copies would all draw the same.
        """
        expect_batch(images, labels)
        _expect_maps(saliency, images)
        if images.device.type != "cpu" and not self._via_cpu:
            raise ValueError(
                f"images: expected a tensor in CPU memory, got one on {images.device}; copy it "
                "with .cpu(), or give via_cpu=True, which finds the outputs on the CPU"
            )
        for count in self.blocks:
            comixup.expect_divided("images", count, *images.shape[2:])
        key = self._key.arguments()
        if step is not None:
            key["step"] = whole("step", step, 0, 2**32)
        maps = saliency.detach().float().cpu()
        found = comixup.solve(
            maps, blocks=_drawn(self.blocks, **key), settings=self.settings, **key
        )
        self._count(found)
        mixed = self._mixed(images, found)
        smoothed = dict(num_classes=self.num_classes, smoothing=self.smoothing)
        targets = comixup.targets(labels.cpu(), found, compact=self.compact, **smoothed)
        targets = targets if self.compact else (targets,)
        self.solution = found
        if step is None:
            self._key.step += 1
        return mixed, *(part.to(images.device) for part in targets)

    def _mixed(self, images: torch.Tensor, found: comixup.Solution) -> torch.Tensor:
        if images.device.type != "cpu":
            return blended(images, torch.from_numpy(found.sources).to(images.device))
        pixels, half = as_pixels(images)
        return as_images(comixup.blend(pixels, found, dtype=half), pixels)

    def _count(self, found: comixup.Solution) -> None:
        bad = int(found.uniform.sum())
        if bad and not self.uniform_maps:
            warn_of_uniform_maps(int(bad), len(found.uniform))
        self.uniform_maps += bad


def blended(images: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """Mix images on any device, with the bits of :func:`dali_msda.comixup.blend`.

    Args:
        images: ``(B, C, H, W)``.
        sources: As in :class:`dali_msda.comixup.Solution`, on the images' device.
    """
    blocks = sources.shape[1]
    rows, columns = (size // blocks for size in images.shape[2:])
    at = sources.repeat_interleave(rows, 1).repeat_interleave(columns, 2)[:, None].long()
    halves = [images.gather(0, at[..., k].expand(images.shape)) for k in range(2)]
    first, second = (half.float() for half in halves)
    mixed = torch.where(at[..., 0] == at[..., 1], first, first + 0.5 * (second - first))
    mixed = mixed.round() if images.dtype == torch.uint8 else mixed
    order = torch.contiguous_format if images.is_contiguous() else torch.channels_last
    return mixed.to(images.dtype).contiguous(memory_format=order)


def _drawn(counts: tuple[int, ...], *, seed: int, step: int, rank: int) -> int:
    """One of these numbers of blocks, drawn for a batch as Puzzle Mix draws it."""
    drawn = uniforms([rank << 32], 1, purpose="blocks", seed=seed, step=step)[0, 0]
    return counts[int(drawn * len(counts))]


def _expect_maps(saliency: object, images: torch.Tensor) -> None:
    maps = expect_maps(saliency)
    shape = (len(images), *images.shape[2:])
    if maps.shape != shape:
        raise ValueError(
            f"saliency: expected shape {shape}, one per pixel, got {tuple(maps.shape)}"
        )
