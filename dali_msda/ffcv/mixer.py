"""The operations that mix images and labels inside an FFCV loader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dali_msda import loader_draws
from dali_msda.backends.shapes import whole
from dali_msda.ffcv.epoch import current_epoch

# torch comes from there as well: that module says what to do if torch or FFCV is missing.
from dali_msda.ffcv.library import AllocationQuery, State, torch
from dali_msda.ffcv.operations import MixerOperation, expect_our_loader
from dali_msda.ops import blend, targets
from dali_msda.plan import draw
from dali_msda.policy import Mixup, Policy, expect_loader_policy, number
from dali_msda.saliency import saliency

CHANNELS = 3  # of all images in FFCV


class Mixer:
    """Mixes the images and the labels of an FFCV loader, as one plan per batch says.

    The plan is a pure function of the seed, the epoch and the dataset indices of the batch: the
    same for any number of workers and batches ahead, another in every epoch, and the same again
    when a run is resumed with ``loader.next_epoch = n``. Ranks of distributed training may share a
    seed, since their batches hold other samples.

    A loader needs one pipeline with :meth:`images` and at least one with :meth:`targets`. Several
    loaders may use one mixer.

    Args:
        policy: What to draw. :class:`dali_msda.MultiMix` gives images and targets the axes
            ``(B, k)`` in front.
        num_classes: Number of classes, C.
        seed: Key of all random numbers, below 2**64.

    Raises:
        TypeError, ValueError: If an argument is of the wrong kind or out of range.
    """

    def __init__(self, policy: Policy, num_classes: int, *, seed: int = 0):
        expect_loader_policy(policy)
        self.policy = policy
        self.num_classes = whole("num_classes", num_classes, 1, 2**31)
        self.seed = whole("seed", seed, 0, 2**64)

    def images(
        self,
        *,
        mean: object = None,
        std: object = None,
        dtype: object = None,
        layout: str = "CHW",
        mirror: float = 0.0,
    ) -> list[MixerOperation]:
        """Make the operation that mixes, mirrors, normalises and rearranges images in one pass.

        It takes the decoder's uint8 pixels, so it stands before ``ToTensor`` and in place of
        ``NormalizeImage``, ``RandomHorizontalFlip``, ``ToTensor`` and ``ToTorchImage``; what
        follows it must take tensors, such as ``ToDevice``. It runs on the loader's ``num_workers``
        threads without the interpreter lock and writes into FFCV's own memory: as with all of
        FFCV, a batch is valid until the next one is asked for.

        Behind ``ToTensor()`` and ``ToDevice(torch.device("cuda", n))`` it runs on that GPU instead,
        on the stream that FFCV gives the batch, to the same bits; before ``ToTorchImage()`` or
        behind it, in the place of ``NormalizeImage``. Policies with
        :class:`dali_msda.SaliencyMix` cannot stand there.

        Args:
            mean: As :func:`dali_msda.blend` takes it; so are the next three.
            std: Divided by.
            dtype: ``"uint8"``, ``"float32"``, ``"float16"`` or ``"bfloat16"``.
            layout: ``"CHW"``, or ``"HWC"``, of which ``ToTorchImage()`` makes the view in torch's
                ``channels_last``; behind ``ToTorchImage()`` the view is made here.
            mirror: Probability that an image is flipped left to right before it is mixed, drawn
                for each by :meth:`flips`.

        Returns:
            The operation, in a list to be unpacked into a pipeline. It makes tensors ``(B, C, H,
            W)`` or ``(B, H, W, C)``.

        Raises:
            TypeError, ValueError: If an argument is of the wrong kind or out of range.
        """
        number("mirror", mirror, 0.0, 1.0, "a probability in [0, 1]")
        return [
            _MixImages(self, float(mirror), dict(mean=mean, std=std, dtype=dtype, layout=layout))
        ]

    def targets(self, *, smoothing: float = 0.0, compact: bool = False) -> list[MixerOperation]:
        """Make the operation that mixes labels.

        It stands after ``IntDecoder``, or after an ``NDArrayDecoder`` of soft labels, float
        ``(C,)``, and before ``ToTensor``, whose place it takes; or behind ``ToTensor``, perhaps
        ``Squeeze``, and ``ToDevice`` of a GPU.

        Args:
            smoothing: Share of the mass that is spread over all classes, in [0, 1].
            compact: Make a pair of class indices and weights instead of dense rows, ``(B, n)``
                each, n = 2 or the greatest number of sources that the policy mixes. A source that
                takes no part repeats the own label with weight 0. No operation can follow, since
                FFCV's take one tensor.

        Returns:
            The operation, in a list to be unpacked into a pipeline. It makes a tensor float32
            ``(B, C)``; or, if ``compact``, a tuple of int64 and float32.

        Raises:
            TypeError, ValueError: If an argument is of the wrong kind or out of range.
        """
        return [_MixTargets(self, smoothing, compact)]

    def step(self, epoch: int, batch: int, batches: int) -> int:
        """Step of a batch's draws: the epoch, since the indices differ from batch to batch.

        For policies that take turns batch by batch (:class:`dali_msda.Alternate`,
        :class:`dali_msda.LaMix`) it is the number of the batch since the first epoch.

        Args:
            epoch: Number of the epoch, from 0.
            batch: Number of the batch in its epoch, from 0.
            batches: Batches in an epoch, ``len(loader)``.
        """
        return epoch * batches + batch if self.policy.takes_turns else epoch

    def plan(
        self, ids: object, height: int, width: int, *, step: int, peaks: object = None
    ) -> np.ndarray:
        """Draw the plan of a batch again, for example to mix something else alike.

        Args:
            ids: Dataset indices of the batch, ``(B,)``.
            height: Height of the decoded images, in pixels.
            width: Width of the decoded images, in pixels.
            step: What :meth:`step` says.
            peaks: As :func:`dali_msda.draw` takes them, for :class:`dali_msda.SaliencyMix`.

        Returns:
            Records as :func:`dali_msda.draw` makes them.

        Raises:
            TypeError, ValueError: As :func:`dali_msda.draw` does.
        """
        return draw(
            self.policy, len(ids), height, width, seed=self.seed, step=step, ids=ids, peaks=peaks
        )

    def flips(self, ids: object, probability: float, *, epoch: int) -> np.ndarray:
        """Draw which images of a batch are mirrored, each by its dataset index.

        Args:
            ids: Dataset indices of the batch, ``(B,)``.
            probability: What ``mirror`` was given to :meth:`images`.
            epoch: Number of the epoch, from 0.

        Returns:
            Flags, bool ``(B,)``.
        """
        return loader_draws.flips(ids, probability, seed=self.seed, step=epoch)


class _MixImages(MixerOperation):
    """Draws the plan of each batch and mixes its images."""

    draws_plan = True

    def __init__(self, mixer: Mixer, mirror: float, blending: dict[str, object]):
        super().__init__(mixer)
        self.mirror, self.blending = mirror, blending
        pixel = torch.zeros((1, 1, 1, CHANNELS), dtype=torch.uint8)
        self.dtype = blend(pixel, draw(Mixup(), 1, 1, 1, seed=0, step=0), **blending).dtype

    def declare_state_and_memory(self, previous_state: State) -> tuple[State, AllocationQuery]:
        """See FFCV; called when the loader is built and at the start of each epoch."""
        expect_our_loader()
        shape, device = tuple(map(int, previous_state.shape)), previous_state.device
        self.is_view = shape[2:] != (CHANNELS,) and shape[:1] == (CHANNELS,)  # by ToTorchImage
        if self.is_view:
            shape = (*shape[1:], CHANNELS)
        if self.input_dtype(previous_state) != np.uint8 or shape[2:] != (CHANNELS,):
            raise TypeError(
                f"pipelines: expected uint8 arrays (H, W, {CHANNELS}), or tensors on a GPU, before "
                f"mixer.images(), got {previous_state.dtype} {shape} on {device}; put it behind "
                "the decoder, before ToTensor, or behind ToTensor and ToDevice of a GPU; and in "
                "place of NormalizeImage"
            )
        height, width, channels = shape
        policy = self.mixer.policy
        if policy.needs_peaks and torch.device(device).type == "cuda":
            raise ValueError(
                "policy: expected one without SaliencyMix behind ToDevice, since the saliency of "
                "images is found on the CPU; put mixer.images() behind the decoder, and ToDevice "
                "behind it"
            )
        # This raises an error unless the policy serves images of this size.
        self.mixer.plan([0], height, width, step=0, peaks=[[0, 0]] if policy.needs_peaks else None)
        if self.blending["layout"] == "CHW":
            shape = channels, height, width
        state, memory = self.tensor_state((*self.interpolations, *shape), self.dtype, device)
        if self._makes_view:
            state = replace(state, shape=(*self.interpolations, channels, height, width))
        return state, memory

    @property
    def _makes_view(self) -> bool:
        """Whether to make ``channels_last`` images as ToTorchImage does, since it came before."""
        return self.is_view and self.blending["layout"] == "HWC"

    def generate_code(self) -> Callable[..., torch.Tensor]:
        """See FFCV; what this returns is called for each batch."""

        def mix_images(images: object, memory: torch.Tensor, ids: np.ndarray) -> torch.Tensor:
            epoch = current_epoch()
            threads = epoch.loader.num_workers
            if self.is_view:
                images = images.permute(0, 2, 3, 1)
            step = self.mixer.step(epoch.number, epoch.batch, len(epoch.loader))
            flips = None
            if self.mirror:
                flips = self.mixer.flips(ids, self.mirror, epoch=epoch.number)
            peaks = None
            if self.mixer.policy.needs_peaks:
                peaks = saliency(images, mirror=flips, threads=threads)
            plan = self.mixer.plan(ids, *images.shape[1:3], step=step, peaks=peaks)
            epoch.plans[self.mixer] = plan
            how = dict(mirror=flips, out=memory, threads=threads)
            mixed = blend(images, plan, **how, **self.blending)
            return mixed.movedim(-1, -3) if self._makes_view else mixed

        mix_images.with_indices = True
        return mix_images


class _MixTargets(MixerOperation):
    """Mixes labels by the plan that the images of their batch were mixed by."""

    def __init__(self, mixer: Mixer, smoothing: float, compact: bool):
        super().__init__(mixer)
        self.smoothing, self.makes_pair = smoothing, compact
        one = draw(Mixup(), 1, 1, 1, seed=0, step=0)
        options = dict(num_classes=mixer.num_classes, smoothing=smoothing, compact=compact)
        targets(np.zeros(1, np.int64), one, **options)  # checks them
        self.classes = mixer.num_classes

    def declare_state_and_memory(self, previous_state: State) -> tuple[State, AllocationQuery]:
        """See FFCV; called when the loader is built and at the start of each epoch."""
        expect_our_loader()
        shape, device = tuple(map(int, previous_state.shape)), previous_state.device
        kind = getattr(self.input_dtype(previous_state), "kind", None)
        self.soft = kind == "f" and shape == (self.classes,) and not self.makes_pair
        if not self.soft and not (kind in ("i", "u") and shape in ((1,), ())):
            wanted = "" if self.makes_pair else f" or float ({self.classes},)"
            raise TypeError(
                f"pipelines: expected arrays of integer (1,){wanted}, or tensors on a GPU, before "
                f"mixer.targets(), got {previous_state.dtype} {shape} on {device}; put it behind "
                "the decoder, before ToTensor, or behind ToTensor and ToDevice of a GPU"
            )
        if not self.makes_pair:
            return self.tensor_state((*self.interpolations, self.classes), torch.float32, device)
        shape = (*self.interpolations, self.mixer.policy.max_sources)
        (state, labels), (_, weights) = (
            self.tensor_state(shape, kind, device) for kind in (torch.int64, torch.float32)
        )
        return state, (labels, weights)

    def generate_code(self) -> Callable[..., torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        """See FFCV; what this returns is called for each batch."""

        def mix_labels(labels: object, memory: object) -> object:
            plan = current_epoch().plans[self.mixer]
            # Squeeze takes the first axis away as well, where a batch has one sample.
            labels = labels.reshape(-1, self.classes) if self.soft else labels.reshape(-1)
            if not self.makes_pair:
                options = dict(num_classes=self.classes, smoothing=self.smoothing)
                return targets(labels, plan, out=memory, **options)
            found, weights = targets(labels, plan, num_classes=self.classes, compact=True)
            all_labels, all_weights = memory
            # This batch may mix fewer samples than the policy does at most.
            used = found.shape[-1]
            all_labels[..., used:], all_weights[..., used:] = torch.as_tensor(found[..., :1]), 0
            all_labels[..., :used] = torch.as_tensor(found)
            all_weights[..., :used] = torch.as_tensor(weights)
            return memory

        return mix_labels
