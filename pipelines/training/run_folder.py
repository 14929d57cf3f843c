"""What a training run writes: its checkpoint, whole or not at all, and its logs."""

import csv
import os
import tempfile
from pathlib import Path
from typing import Any

import torch


class RunFolder:
    """The output folder of a run; only the first process has one.

    Args:
        path: Folder, made if it is not there.
        log: "csv", "tensorboard" or "both".

    Raises:
        OSError: If nothing can be written there; better now than after the first epoch.
    """

    CHECKPOINT = "checkpoint.pt"
    TABLE = "metrics.csv"

    def __init__(self, path: str | os.PathLike, log: str):
        self.path = Path(path)
        self.checkpoint = self.path / self.CHECKPOINT
        self._table = self.path / self.TABLE if log != "tensorboard" else None
        self._board = None
        self._wants_board = log != "csv"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise OSError(
                f"out: expected a folder that can be written to, got {str(self.path)!r}: "
                f"{error.strerror}. Give another --out."
            ) from error

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint. Whenever this is interrupted, a whole one is there."""
        unfinished = self.checkpoint.with_suffix(".tmp")
        with open(unfinished, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())  # the new name must not reach the disk before the contents
        os.replace(unfinished, self.checkpoint)

    def start_logs(self, step: int) -> None:
        """Open the logs at a step, without what a run that was interrupted wrote later on."""
        if self._wants_board:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.path), purge_step=step)
        if self._table is not None and self._table.exists():
            with open(self._table, newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) < step]
            self._table.unlink()
            for row in rows:
                self._add_row(row)

    def log(self, step: int, values: dict[str, float]) -> None:
        """Write one row of the table and one point of each curve."""
        if self._table is not None:
            self._add_row({"step": step, **values})
        self.plot(step, values)

    def plot(self, step: int, values: dict[str, float]) -> None:
        """Write points of curves only, if there are any curves."""
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
            self._board.flush()

    def _add_row(self, row: dict[str, Any]) -> None:
        new = not self._table.exists()
        with open(self._table, "a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)

    def close(self) -> None:
        """Finish the logs."""
        if self._board is not None:
            self._board.close()


def load_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        ValueError: If the file is not a checkpoint of the trainer.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state["config"], state["model"], state["ranks"]
    except OSError:
        raise
    except Exception as error:  # torch.load raises whatever its unpickling meets
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"resume: expected a checkpoint of this trainer, got {str(path)!r}: {reason}"
        ) from error
    return state


def find_checkpoint(out: str, resume: str) -> Path | None:
    """The checkpoint to go on from, if there is one. A run never overwrites another's.

    Args:
        out: Output folder of the run.
        resume: "never", "auto" for the checkpoint in that folder if there is one, or a path.

    Raises:
        ValueError: If there is a checkpoint that is not to be resumed.
    """
    own = Path(out, RunFolder.CHECKPOINT)
    if resume not in ("never", "auto"):
        return Path(resume)
    if not own.exists():
        return None
    if resume == "never":
        raise ValueError(
            f"out: expected a folder without a checkpoint, got {out!r}. Give --resume auto to go "
            "on from it, or another --out."
        )
    return own
