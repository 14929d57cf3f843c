"""Trains an image classifier on mixed samples, on one device or on several.

    python -m dali_msda.pipelines.train resnet101_cutmix_mixup --data imagenet --out runs/a
    torchrun --nproc-per-node 8 -m dali_msda.pipelines.train resnet101_cutmix_mixup --data imagenet

A run that was stopped, or killed, goes on with --resume auto from its last checkpoint, in mid-epoch
and as if nothing had happened: on a CPU with one thread to the same final weights, bit by bit.
"""

import contextlib
import dataclasses
import math
import os
import sys
import time
from collections.abc import Sequence

if __name__ == "__main__":
    # OpenMP's idle threads would otherwise spin on the cores that decode, which makes training on
    # a busy CPU ten times slower. It is read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from dali_msda.pipelines.data.datasets import DatasetError
from dali_msda.pipelines.loaders.choice import make_loaders
from dali_msda.pipelines.loaders.epochs import EvaluationEpochs, TrainingEpochs
from dali_msda.pipelines.training.command_line import parse
from dali_msda.pipelines.training.config import Config
from dali_msda.pipelines.training.metrics import CleanMetrics
from dali_msda.pipelines.training.models import make_model
from dali_msda.pipelines.training.policies import policy_from_dict
from dali_msda.pipelines.training.processes import (
    Process,
    Stopped,
    Stopping,
    joined_processes,
    stopping_between_steps,
)
from dali_msda.pipelines.training.run_folder import RunFolder, find_checkpoint, load_checkpoint
from dali_msda.pipelines.training.schedules import learning_rate
from dali_msda.pipelines.training.step_methods import LoaderMixed, StepMethod
from dali_msda.torch import lamix_loss, soft_target_cross_entropy, softmax_binary_cross_entropy

PROG = "python -m dali_msda.pipelines.train"
WORKER_ENDED = (
    "loader: expected its worker processes to live as long as the training, got one that ended, "
    "as when memory runs out. Give fewer --threads or a smaller --prefetch; --resume auto goes on."
)
GLANCE = 50  # steps between looks at the loss; each look waits for the GPU
# Settings that a run need not share with the checkpoint it goes on from: they say where things are
# and how they are watched, not what is computed.
FREE = ("data", "train", "val", "train_list", "val_list", "val_resize", "threads", "prefetch")
FREE += ("out", "resume", "restart_epoch", "checkpoint_every", "log", "device")


def train(config: Config) -> dict[str, float]:
    """Train, validate after each epoch, and return the last row of the log."""
    with joined_processes(config.device) as process, contextlib.ExitStack() as stack:
        folder = RunFolder(config.out, config.log) if process.rank == 0 else None
        if folder is not None:
            stack.callback(folder.close)
        checkpoint = find_checkpoint(config.out, config.resume)
        loaders = make_loaders(config, process, stack)
        run = Run(config, process, folder, *loaders)
        if checkpoint is not None:
            run.restore(load_checkpoint(checkpoint))
        if folder is not None:
            folder.start_logs(run.step)
        row = {}
        with stopping_between_steps(process) as stopping:
            while run.loader.epoch < config.epochs:
                row = run.train_epoch(stopping)
                row |= run.validate(stopping)
                run.report(row)
        return row


class Run:
    """What changes in the course of training: the weights, the optimiser and the place in the data.

    Args:
        config: All settings.
        process: This process.
        folder: Where to write; None in all processes but the first.
        loader: Training batches.
        val_loader: Validation batches, or None.
    """

    def __init__(
        self,
        config: Config,
        process: Process,
        folder: RunFolder | None,
        loader: TrainingEpochs,
        val_loader: EvaluationEpochs | None,
    ):
        self.config, self.process, self.folder = config, process, folder
        self.loader, self.val_loader = loader, val_loader
        torch.manual_seed(config.seed)
        model = make_model(config.model, loader.num_classes, global_head=config.lamix_beta > 0)
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.model = model.to(process.device, memory_format=layout)
        self.mixed = self._step_method()
        self.parallel = DistributedDataParallel(self.model) if process.size > 1 else self.model
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
        )
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=process.device)  # of the epoch
        torch.manual_seed(config.seed + process.rank)  # dropout differs by rank, weights do not

    @property
    def step(self) -> int:
        """Steps made since the start of the run."""
        return self.loader.epoch * len(self.loader) + self.loader.position

    def train_epoch(self, stopping: Stopping) -> dict[str, float]:
        """Make the steps that are left of an epoch. At its end a checkpoint is written."""
        config, device, loader = self.config, self.process.device, self.loader
        epoch, first, start = loader.epoch, loader.position, time.perf_counter()
        self.parallel.train()
        done, total = (count * config.batch_size for count in (first, len(loader)))
        with self._bar(f"epoch {epoch + 1}/{config.epochs}", total, done) as bar:
            for images, *targets in loader:
                for group in self.optimizer.param_groups:
                    group["lr"] = learning_rate(config, self.step - 1, len(loader))
                images = images.to(device, non_blocking=True)
                targets = [target.to(device, non_blocking=True) for target in targets]
                with torch.autocast(device.type, torch.bfloat16, enabled=config.amp):
                    logits, targets = self.mixed.forward(self.parallel, images, targets)
                loss = self.mixed.loss(self._loss, logits, targets)
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self.optimizer.step()
                loss = loss.detach()
                self.loss_sum += loss
                bar.update(config.batch_size)

                every = config.checkpoint_every
                saves = loader.position == len(loader) or (every and self.step % every == 0)
                stops = stopping.agreed(self.step)
                if loader.position == len(loader):
                    self.mixed.end_epoch()
                if saves or stops or self.step % GLANCE == 0 or device.type == "cpu":
                    self._glance(float(loss), bar)
                if saves or stops:
                    self.save()
                if stops:
                    raise Stopped(self._where_it_stopped(), stops)
        steps, seconds = len(loader) - first, time.perf_counter() - start
        if self.process.size > 1:
            dist.all_reduce(self.loss_sum)
        loss = float(self.loss_sum) / (len(loader) * self.process.size)
        self.loss_sum.zero_()
        rate = round(steps * config.batch_size / seconds, 1)
        return {"epoch": epoch + 1, "loss": loss, "img_s": rate}

    @torch.inference_mode()
    def validate(self, stopping: Stopping) -> dict[str, float]:
        """Measure the model on the clean validation images, each counted once."""
        if self.val_loader is None:
            return {}
        config, device, several = self.config, self.process.device, self.process.size > 1
        metrics = CleanMetrics(device)
        if several:  # until the next step, batch statistics differ from process to process
            for buffer in self.model.buffers():
                dist.broadcast(buffer, 0)
        self.model.eval()
        with self._bar("validation", self.val_loader.samples) as bar:
            for images, labels in self.val_loader:
                with torch.autocast(device.type, torch.bfloat16, enabled=config.amp):
                    logits = self.model(images.to(device, non_blocking=True))
                metrics.add(logits, labels.to(device, non_blocking=True))
                bar.update(len(images) * self.process.size)  # other ranks are about as far
                if stopping.signum and not several:  # if one of several left, the others would wait
                    raise Stopped(self._where_it_stopped(), stopping.signum)
        if several:
            dist.all_reduce(metrics.sums)
        return metrics.result()

    def report(self, row: dict[str, float]) -> None:
        """Log an epoch and print it."""
        if self.folder is None:
            return
        self.folder.log(self.step, row)
        parts = [f"epoch {row['epoch']}/{self.config.epochs}", f"loss {row['loss']:.4f}"]
        if "top1" in row:
            parts += [f"val loss {row['val_loss']:.4f}", f"top-1 {row['top1']:.2f} %"]
            parts += [f"top-5 {row['top5']:.2f} %", f"ECE {row['ece']:.2f} %"]
        print("  ".join([*parts, f"{row['img_s']:.0f} img/s"]), flush=True)

    def save(self) -> None:
        """Write all that the next step depends on; every process takes part."""
        on_gpu = self.process.device.type == "cuda"
        mine = {"loader": self.loader.state_dict(), "loss_sum": self.loss_sum}
        mine |= {"mixed": self.mixed.state_dict(), "random": torch.get_rng_state()}
        if on_gpu:
            mine["random_gpu"] = torch.cuda.get_rng_state(self.process.device)
        ranks = [mine]
        if self.process.size > 1:
            ranks = [None] * self.process.size if self.folder else None
            dist.gather_object(mine, ranks)
        if self.folder is not None:
            config = {**dataclasses.asdict(self.config), "world_size": self.process.size}
            state = {"config": config, "step": self.step}
            state |= {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
            self.folder.save({**state, "ranks": ranks})

    def restore(self, state: dict) -> None:
        """Go on from a checkpoint of a run with the same settings."""
        mine = {**dataclasses.asdict(self.config), "world_size": self.process.size}
        for name, value in mine.items():
            if name not in FREE and state["config"].get(name) != value:
                raise ValueError(
                    f"{name}: expected {state['config'].get(name)!r}, as in the checkpoint, got "
                    f"{value!r}. Give the same settings, or another --out to start anew."
                )
        own = state["ranks"][self.process.rank]
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"resume: expected weights and an optimiser of {self.config.model}, got others in "
                "the checkpoint. Give the settings that it was made with, or another --out."
            ) from error
        self._find_place(own, state["config"].get("train_list"))
        self.mixed.load_state_dict(own["mixed"])
        if not self.loader.position:
            self.mixed.end_epoch()
        torch.set_rng_state(own["random"])
        if "random_gpu" in own and self.process.device.type == "cuda":
            torch.cuda.set_rng_state(own["random_gpu"], self.process.device)
        if self.folder is not None:
            epoch = min(self.loader.epoch + 1, self.config.epochs)
            print(f"resumed at step {self.step}, in epoch {epoch}", flush=True)

    def _find_place(self, own: dict, list_before: str) -> None:
        """Go on with the data where a checkpoint stands, or at the beginning of its epoch."""
        try:
            self.loader.load_state_dict(own["loader"])
            self.loss_sum.copy_(own["loss_sum"])
        except ValueError:
            # A list may leave out broken files, as the message about them advises.
            other_list = list_before != self.config.train_list
            other_files = not self.loader.has_files_of(own["loader"])
            if self.config.restart_epoch or (other_list and other_files):
                # A place among the old ones means nothing among the new ones, but for their end.
                old = own["loader"]
                end = old["samples"] // old["num_shards"] // old["batch_size"]
                self.loader.start_epoch(old["epoch"] + (old["position"] == end))
            elif other_files:
                raise ValueError(
                    "train: expected the images of the checkpoint, got others: files or labels "
                    "have changed since. Give --restart-epoch to go on with them from the "
                    "beginning of the epoch, or another --out to start anew."
                ) from None
            else:
                raise

    def _step_method(self) -> LoaderMixed:
        """What mixes in the step; nothing, where the loader has mixed the batch."""
        policy, config = policy_from_dict(self.config.policy), self.config
        if not isinstance(policy, StepMethod):
            return LoaderMixed()
        how = dict(seed=config.seed, rank=self.process.rank, compact=config.loss == "compact")
        return policy.start(self.model, self.loader.num_classes, **how)

    def _loss(self, logits: torch.Tensor, targets: list[torch.Tensor]) -> torch.Tensor:
        beta, smoothing = self.config.lamix_beta, self.config.smoothing
        if not beta:
            softmax_bce = self.config.criterion == "softmax_bce"
            loss = softmax_binary_cross_entropy if softmax_bce else soft_target_cross_entropy
            return loss(logits, *targets, smoothing=smoothing)
        local, shared = logits.split(self.loader.num_classes, dim=1)
        return lamix_loss(local, shared, *targets, beta=beta, smoothing=smoothing)

    def _glance(self, loss: float, bar: tqdm) -> None:
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"loss: expected a finite number, got {loss} at step {self.step}. Give a smaller "
                "--lr or a longer --warmup-epochs. The checkpoint is the one before."
            )
        bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        if self.folder is not None and self.step % GLANCE == 0:
            lr = self.optimizer.param_groups[0]["lr"]
            self.folder.plot(self.step, {"step_loss": loss, "lr": lr})

    def _bar(self, text: str, total: int, done: int = 0) -> tqdm:
        """A bar that counts images. The first process alone shows it, and on a terminal only."""
        hidden = None if self.folder else True  # None hides it where there is no terminal
        return tqdm(desc=text, total=total, initial=done, unit="img", disable=hidden, leave=False)

    def _where_it_stopped(self) -> str:
        if self.folder is None or not self.folder.checkpoint.exists():
            return f"stopped at step {self.step}; nothing was written"
        return f"stopped at step {self.step}; --resume auto goes on from {self.folder.checkpoint}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    config = parse(arguments, prog=PROG, description=__doc__)
    try:
        train(config)
    except Stopped as stopped:
        code, text = 128 + stopped.signum, stopped
    except KeyboardInterrupt:
        code, text = 130, "stopped at once; a checkpoint, if there was one, is whole"
    except (OSError, ValueError, ImportError, FloatingPointError, DatasetError) as error:
        code, text = 1, f"error: {error}"
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        code, text = 1, f"error: {WORKER_ENDED}"
    else:
        return 0
    if os.environ.get("RANK", "0") == "0" or code == 1:
        print(text, file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
