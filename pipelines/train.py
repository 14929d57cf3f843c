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
from tqdm import tqdm

from dali_msda.pipelines.data.datasets import DatasetError
from dali_msda.pipelines.loaders.choice import make_loaders
from dali_msda.pipelines.loaders.epochs import EvaluationEpochs, TrainingEpochs
from dali_msda.pipelines.training import resuming
from dali_msda.pipelines.training.command_line import parse
from dali_msda.pipelines.training.config import Config
from dali_msda.pipelines.training.learner import Learner
from dali_msda.pipelines.training.metrics import CleanMetrics, MultilabelMetrics, mixed_rows
from dali_msda.pipelines.training.processes import (
    Process,
    Stopped,
    Stopping,
    joined_processes,
    stopping_between_steps,
)
from dali_msda.pipelines.training.run_folder import RunFolder, find_checkpoint, load_checkpoint
from dali_msda.pipelines.training.schedules import learning_rate

PROG = "python -m dali_msda.pipelines.train"
WORKER_ENDED = (
    "loader: expected its worker processes to live as long as the training, got one that ended, "
    "as when memory runs out. Give fewer --threads or a smaller --prefetch; --resume auto goes on."
)
# What is printed of an epoch, where it was measured.
SHOWN = {"train_top1": "train top-1 {:.2f} %", "val_loss": "val loss {:.4f}"}
SHOWN |= {"top1": "top-1 {:.2f} %", "top5": "top-5 {:.2f} %", "ece": "ECE {:.2f} %"}
SHOWN |= {"map": "mAP {:.2f} %", "f1": "F1 {:.2f} %"}
SHOWN |= {"ema_top1": "EMA top-1 {:.2f} %", "ema_map": "EMA mAP {:.2f} %"}
GLANCE = 50  # steps between looks at the loss; each look waits for the GPU


def train(config: Config) -> dict[str, float]:
    """Train, validate after each epoch, and return the last row of the log."""
    with joined_processes(config.device) as process, contextlib.ExitStack() as stack:
        folder = RunFolder(config.out, config.log, config.wandb) if process.rank == 0 else None
        if folder is not None:
            stack.callback(folder.close)
        checkpoint = find_checkpoint(config.out, config.resume)
        loaders = make_loaders(config, process, stack)
        run = Run(config, process, folder, *loaders, resumes=checkpoint is not None)
        if checkpoint is not None:
            run.restore(load_checkpoint(checkpoint))
        if folder is not None:
            folder.start_logs(run.step, dataclasses.asdict(config))
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
        resumes: Whether :meth:`restore` follows, so that no weights are needed to begin with.
    """

    def __init__(
        self,
        config: Config,
        process: Process,
        folder: RunFolder | None,
        loader: TrainingEpochs,
        val_loader: EvaluationEpochs | None,
        *,
        resumes: bool = False,
    ):
        self.config, self.process, self.folder = config, process, folder
        self.loader, self.val_loader = loader, val_loader
        num_classes, rows, self.val_rows = loader.num_classes, None, None
        if config.multilabel:
            sources = loader.source, getattr(val_loader, "source", loader.source)
            rows, self.val_rows = (
                torch.from_numpy(one.rows()).to(process.device) for one in sources
            )
            num_classes = rows.shape[1]
        self.learner = Learner(config, process, num_classes, rows=rows, resumes=resumes)
        self.model, self.mixed = self.learner.model, self.learner.mixed
        self.optimisation, self.sums = self.learner.optimisation, self.learner.sums

    @property
    def step(self) -> int:
        """Steps made since the start of the run."""
        return self.loader.epoch * len(self.loader) + self.loader.position

    def train_epoch(self, stopping: Stopping) -> dict[str, float]:
        """Make the steps that are left of an epoch. At its end a checkpoint is written."""
        config, device, loader = self.config, self.process.device, self.loader
        epoch, first, start = loader.epoch, loader.position, time.perf_counter()
        self.learner.parallel.train()
        done, total = (count * config.batch_size for count in (first, len(loader)))
        with self._bar(f"epoch {epoch + 1}/{config.epochs}", total, done) as bar:
            for images, *targets in loader:
                rate = learning_rate(config, self.step - 1, len(loader))
                loss = self.learner.step(self.step, rate, images, targets)
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
            dist.all_reduce(self.sums)
        loss, correct, samples = self.sums.tolist()
        self.sums.zero_()
        row = {"epoch": epoch + 1, "loss": loss / (len(loader) * self.process.size)}
        if samples:
            row["train_top1"] = 100 * correct / samples
        return row | {"img_s": round(steps * config.batch_size / seconds, 1)}

    @torch.inference_mode()
    def validate(self, stopping: Stopping) -> dict[str, float]:
        """Measure the model, and its average, on the clean validation images, each counted once."""
        if self.val_loader is None:
            return {}
        config, device, several = self.config, self.process.device, self.process.size > 1
        models = {"": self.model}
        if self.optimisation.average is not None:
            models["ema_"] = self.optimisation.average
        metrics = {name: self._metrics() for name in models}
        for model in models.values():
            if several:  # until the next step, batch statistics differ from process to process
                for buffer in model.buffers():
                    dist.broadcast(buffer, 0)
            model.eval()
        with self._bar("validation", self.val_loader.samples) as bar:
            for images, labels in self.val_loader:
                images, labels = (x.to(device, non_blocking=True) for x in (images, labels))
                if self.val_rows is not None:
                    labels = mixed_rows(self.val_rows, labels)
                for name, model in models.items():
                    with torch.autocast(device.type, torch.bfloat16, enabled=config.amp):
                        logits = model(images)
                    metrics[name].add(logits, labels)
                bar.update(len(images) * self.process.size)  # other ranks are about as far
                if stopping.signum and not several:  # if one of several left, the others would wait
                    raise Stopped(self._where_it_stopped(), stopping.signum)
        row = {}
        for name, each in metrics.items():
            if several:
                each.join()
            row |= {name + key: value for key, value in each.result().items()}
        return row

    def _metrics(self) -> CleanMetrics | MultilabelMetrics:
        return MultilabelMetrics() if self.config.multilabel else CleanMetrics(self.process.device)

    def report(self, row: dict[str, float]) -> None:
        """Log an epoch and print it."""
        if self.folder is None:
            return
        self.folder.log(self.step, row)
        parts = [f"epoch {row['epoch']}/{self.config.epochs}", f"loss {row['loss']:.4f}"]
        parts += [text.format(row[name]) for name, text in SHOWN.items() if name in row]
        print("  ".join([*parts, f"{row['img_s']:.0f} img/s"]), flush=True)

    def save(self) -> None:
        """Write all that the next step depends on; every process takes part."""
        on_gpu = self.process.device.type == "cuda"
        mine = {"loader": self.loader.state_dict(), "loss_sum": self.sums[0].clone()}
        mine |= {"mixed": self.mixed.state_dict(), "random": torch.get_rng_state()}
        mine["correct"] = self.sums[1:].clone()
        if on_gpu:
            mine["random_gpu"] = torch.cuda.get_rng_state(self.process.device)
        ranks = [mine]
        if self.process.size > 1:
            ranks = [None] * self.process.size if self.folder else None
            dist.gather_object(mine, ranks)
        if self.folder is not None:
            state = {"config": resuming.settings(self.config, self.process.size)}
            state |= {"step": self.step, **self.optimisation.state_dict()}
            self.folder.save({**state, "ranks": ranks})

    def restore(self, state: dict) -> None:
        """Go on from a checkpoint of a run with the same settings."""
        config, theirs = self.config, state["config"]
        resuming.expect_same_settings(resuming.settings(config, self.process.size), theirs)
        own = state["ranks"][self.process.rank]
        try:
            self.optimisation.load_state_dict(state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"resume: expected weights and an optimiser of {config.model}, got others in "
                "the checkpoint. Give the settings that it was made with, or another --out."
            ) from error
        other_list = theirs.get("train_list") != config.train_list
        how = dict(other_list=other_list, restart=config.restart_epoch)
        if resuming.find_place(self.loader, own["loader"], **how):
            self.sums[0] = own["loss_sum"]
            self.sums[1:] = own.get("correct", torch.zeros(2))  # older versions did not count them
        self.mixed.load_state_dict(own["mixed"])
        if not self.loader.position:
            self.mixed.end_epoch()
        torch.set_rng_state(own["random"])
        if "random_gpu" in own and self.process.device.type == "cuda":
            torch.cuda.set_rng_state(own["random_gpu"], self.process.device)
        if self.folder is not None:
            epoch = min(self.loader.epoch + 1, config.epochs)
            print(f"resumed at step {self.step}, in epoch {epoch}", flush=True)

    def _glance(self, loss: float, bar: tqdm) -> None:
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"loss: expected a finite number, got {loss} at step {self.step}. Give a smaller "
                "--lr or a longer --warmup-epochs. The checkpoint is the one before."
            )
        bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        if self.folder is not None and self.step % GLANCE == 0:
            lr = self.optimisation.optimizer.param_groups[0]["lr"]
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
