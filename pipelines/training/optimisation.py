"""How gradients become weights: the optimiser, clipping, and the moving average of the weights."""

import difflib

import torch
from torch import nn

from dali_msda.pipelines.training.config import Config
from dali_msda.torch.torchvision_cpu import declare_operators

# Of timm's optimisers those that the trainer cannot serve, with the reason.
UNFIT = {
    "adahessian": "which needs second derivatives",
    "kron": "which draws numbers that no checkpoint holds",
}
UNFIT |= dict.fromkeys(("kronc", "kronw"), UNFIT["kron"])


class Optimisation:
    """Steps of the weights.

    The average is timm's ``ModelEmaV3``. PyTorch's ``AveragedModel`` would average the counters of
    batch norm as well, which are whole numbers, or else leave its statistics out, and has no
    warm-up: with a decay of 0.9999 its weights are those of the beginning for many epochs.

    Args:
        config: All settings.
        model: What is trained, with the heads and hooks that it is trained with.

    Attributes:
        optimizer: The optimiser.
        average: A copy of the model with averaged weights, or None.
    """

    def __init__(self, config: Config, model: nn.Module):
        self.model, self.clip_norm = model, config.clip_norm
        self.optimizer = make_optimizer(config, model)
        self.average, self._averaged = None, None
        if config.ema:
            declare_operators()
            from timm.utils import ModelEmaV3

            self._averaged = ModelEmaV3(model, config.ema, use_warmup=config.ema_warmup)
            self.average = self._averaged.module

    def set_rate(self, rate: float) -> None:
        """Set the learning rate; groups of parameters may have a share of it (``layer_decay``)."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)

    def step(self, number: int) -> None:
        """Change the weights by the gradients that lie with them.

        Args:
            number: Of the step, from 1.
        """
        if self.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.optimizer.step()
        if self._averaged is not None:
            self._averaged.update(self.model, step=number)

    def state_dict(self) -> dict[str, dict]:
        """Parts of a checkpoint: the weights, the optimiser, and the average, if there is one."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        return state if self.average is None else state | {"model_ema": self.average.state_dict()}

    def load_state_dict(self, state: dict[str, dict]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["model_ema"])


def make_optimizer(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    """PyTorch's SGD, or what timm's factory makes.

    Raises:
        ValueError: If there is no such optimiser, or it does not take the options.
    """
    how = dict(lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    if config.optimizer == "sgd":
        how["nesterov"] = config.nesterov
        if config.decay_biases and not config.optimizer_options:
            return torch.optim.SGD(model.parameters(), **how)
    declare_operators()
    import timm.optim  # takes a second or two

    _expect_optimizer(config.optimizer, timm.optim.list_optimizers())
    how |= dict(opt=config.optimizer, filter_bias_and_bn=not config.decay_biases)
    options = config.optimizer_options
    try:
        return timm.optim.create_optimizer_v2(model, **how, **options)
    except (AssertionError, ImportError, TypeError, ValueError) as error:
        raise ValueError(
            f"optimizer: expected one of which timm has all packages, with options that it takes, "
            f"got {config.optimizer!r} with {options}: {error}"
        ) from error


def _expect_optimizer(name: str, known: list[str]) -> None:
    plain = name.removeprefix("lookahead_")
    if plain in UNFIT:
        raise ValueError(
            f"optimizer: expected one that a stopped run can go on with, got {name!r}, "
            f"{UNFIT[plain]}. Take another, such as adamw."
        )
    if plain not in known:
        near = difflib.get_close_matches(plain, known, n=1)
        guess = f"Did you mean {near[0]}?" if near else "timm.optim.list_optimizers() lists them."
        raise ValueError(f"optimizer: expected one of timm's, got {name!r}. {guess}")
