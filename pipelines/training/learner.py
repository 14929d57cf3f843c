"""The network and how it learns from a batch: what mixes in the step, the loss, the optimiser."""

import contextlib

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dali_msda.pipelines.training.config import Config
from dali_msda.pipelines.training.metrics import correct_mass, mixed_rows
from dali_msda.pipelines.training.models import compile_model, make_model
from dali_msda.pipelines.training.optimisation import Optimisation
from dali_msda.pipelines.training.policies import policy_from_dict
from dali_msda.pipelines.training.processes import Process
from dali_msda.pipelines.training.step_methods import LoaderMixed, StepMethod
from dali_msda.torch import (
    lamix_loss,
    soft_target_binary_cross_entropy,
    soft_target_cross_entropy,
    softmax_binary_cross_entropy,
)

LOSSES = {
    "cross_entropy": soft_target_cross_entropy,
    "bce": soft_target_binary_cross_entropy,
    "softmax_bce": softmax_binary_cross_entropy,
}


class Learner:
    """A network, with all that changes its weights.

    Args:
        config: All settings.
        process: This process.
        num_classes: Width of the network's output.
        rows: Multi-hot rows ``(S, num_classes)`` of which labels are the numbers, or None where a
            label is a class.
        resumes: Whether a checkpoint follows, so that no weights are needed to begin with.

    Attributes:
        model: The network.
        mixed: What mixes in the step; nothing, where the loader has mixed the batch.
        optimisation: What changes the weights.
        sums: Of the epoch, float64: the losses of its steps; the weights of right answers in their
            labels; samples.
    """

    def __init__(
        self,
        config: Config,
        process: Process,
        num_classes: int,
        *,
        rows: Tensor | None = None,
        resumes: bool = False,
    ):
        self.config, self.process = config, process
        self.num_classes, self.rows = num_classes, rows
        torch.manual_seed(config.seed)
        how = dict(init="" if resumes else config.init, global_head=config.lamix_beta > 0)
        model = make_model(config.model, num_classes, **how)
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.model = model.to(process.device, memory_format=layout)
        self.mixed = self._step_method()
        self.optimisation = Optimisation(config, self.model)
        if config.compile:
            compile_model(self.model, config.compile)
        several = process.size > 1
        self.parallel: nn.Module = DistributedDataParallel(self.model) if several else self.model
        self.sums = torch.zeros(3, dtype=torch.float64, device=process.device)
        torch.manual_seed(config.seed + process.rank)  # dropout differs by rank, weights do not

    def step(self, number: int, rate: float, images: Tensor, targets: list[Tensor]) -> Tensor:
        """Change the weights by one batch.

        Args:
            number: Of the step, from 1.
            rate: Learning rate.
            images: As a loader yields them; so are the targets.
            targets: Labels, labels and weights, or rows.

        Returns:
            The loss, a scalar.
        """
        parts, device = self.config.accumulate, self.process.device
        batch = [tensor.to(device, non_blocking=True) for tensor in (images, *targets)]
        self.optimisation.set_rate(rate)
        self.optimisation.optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=device)
        for part, tensors in enumerate(zip(*(each.chunk(parts) for each in batch), strict=True)):
            # Processes add up their gradients once, with the last part.
            waits = part < parts - 1 and self.process.size > 1
            with self.parallel.no_sync() if waits else contextlib.nullcontext():
                loss += self._add_gradients(*tensors)
        self.optimisation.step(number)
        self.sums[0] += loss
        return loss

    def _add_gradients(self, images: Tensor, *targets: Tensor) -> Tensor:
        """Pass one part of a batch forward and backward; return its share of the loss."""
        config = self.config
        with torch.autocast(self.process.device.type, torch.bfloat16, enabled=config.amp):
            logits, targets = self.mixed.forward(self.parallel, images, list(targets))
        if self.rows is not None:
            targets = [mixed_rows(self.rows, *targets)]
        loss = self.mixed.loss(self._loss, logits, targets) / config.accumulate
        loss.backward()
        if self.rows is None:
            with torch.no_grad():
                self.sums[1] += correct_mass(logits[:, : self.num_classes], *targets)
                self.sums[2] += len(logits)
        return loss.detach()

    def _loss(self, logits: Tensor, targets: list[Tensor]) -> Tensor:
        beta, smoothing = self.config.lamix_beta, self.config.smoothing
        if not beta:
            return LOSSES[self.config.criterion](logits, *targets, smoothing=smoothing)
        local, shared = logits.split(self.num_classes, dim=1)
        return lamix_loss(local, shared, *targets, beta=beta, smoothing=smoothing)

    def _step_method(self) -> LoaderMixed:
        policy, config = policy_from_dict(self.config.policy), self.config
        if not isinstance(policy, StepMethod):
            return LoaderMixed()
        how = dict(seed=config.seed, rank=self.process.rank, compact=config.loss == "compact")
        return policy.start(self.model, self.num_classes, **how)
