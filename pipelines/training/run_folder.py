"""What a training run writes: its checkpoint, whole or not at all, and its logs."""

import contextlib
import csv
import fcntl
import os
import secrets
import tempfile
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

PARTS = ("config", "step", "model", "optimizer", "ranks")  # of a checkpoint
PARTS_OF_A_RANK = ("loader", "loss_sum", "mixed", "random")
WANDB_NUMBER = "wandb_id.txt"


class RunFolder:
    """The output folder of a run; only the first process has one. No two runs share it.

    Args:
        path: Folder, made if it is not there.
        log: "csv", "tensorboard" or "both".
        project: Of Weights & Biases, for the log as well; or "".

    Raises:
        ImportError: If Weights & Biases is wanted and not installed.
        OSError: If nothing can be written there; better now than after the first epoch.
        ValueError: If another run writes there.
    """

    CHECKPOINT = "checkpoint.pt"
    TABLE = "metrics.csv"
    LOCK = ".lock"

    def __init__(self, path: str | os.PathLike, log: str, project: str = ""):
        self.path = Path(path)
        self.checkpoint = self.path / self.CHECKPOINT
        self._table = self.path / self.TABLE if log != "tensorboard" else None
        self._board = None
        self._wants_board = log != "csv"
        self._project, self._tracker = project, None
        if project:
            _expect_wandb()  # better now than after the data were found
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
            self._lock = _locked(self.path / self.LOCK)
        except OSError as error:
            raise OSError(
                f"out: expected a folder that can be written to, got {str(self.path)!r}: "
                f"{error.strerror}. Give another --out."
            ) from error

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint. Whenever this is interrupted, a whole one is there.

        Raises:
            OSError: If it cannot be written, as on a full disk; the last one is kept.
        """
        unfinished = self.checkpoint.with_suffix(".tmp")
        try:
            with open(unfinished, "wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())  # the new name must not reach the disk before the contents
            os.replace(unfinished, self.checkpoint)
        except (OSError, RuntimeError) as error:  # torch's own writer raises the latter
            unfinished.unlink(missing_ok=True)
            kept = "The one before is kept." if self.checkpoint.exists() else "There is none yet."
            raise OSError(
                f"{self.checkpoint}: expected to write a checkpoint, got {_reason(error)}. {kept}"
            ) from error

    def start_logs(self, step: int, settings: dict[str, Any] | None = None) -> None:
        """Open the logs at a step, without what a run that was interrupted wrote later on.

        Args:
            step: Steps made so far.
            settings: Of the run, for those logs that show them.
        """
        if self._project:
            self._tracker = _wandb_run(self.path, self._project, settings)
        if self._wants_board:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.path), purge_step=step)
        if self._table is not None and self._table.exists():
            rows = [row for row in self._rows() if int(row["step"]) < step]
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
        if self._tracker is not None:
            self._tracker.log(values, step=step)

    def _add_row(self, row: dict[str, Any]) -> None:
        before = self._rows()
        names = list(dict.fromkeys(name for one in (*before, row) for name in one))
        appends = bool(before) and names == list(before[0])  # an older run had fewer columns
        try:
            with open(self._table, "a" if appends else "w", newline="") as file:
                writer = csv.DictWriter(file, names)
                if not appends:
                    writer.writeheader()
                    writer.writerows(before)
                writer.writerow(row)
        except OSError as error:
            raise OSError(
                f"{self._table}: expected to write a row, got {_reason(error)}"
            ) from error

    def _rows(self) -> list[dict[str, str]]:
        """The table as it is."""
        if not self._table.exists():
            return []
        with open(self._table, newline="") as file:
            return list(csv.DictReader(file))

    def close(self) -> None:
        """Finish the logs, and let other runs write here."""
        if self._board is not None:
            self._board.close()
        if self._tracker is not None:
            self._tracker.finish()
        (self.path / self.LOCK).unlink(missing_ok=True)
        self._lock.close()


def _expect_wandb() -> None:
    try:
        import wandb  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "wandb: expected the package of that name, for --wandb, got none that can be imported. "
            "`pip install wandb` installs it; without --wandb it is not needed."
        ) from error


def _wandb_run(path: Path, project: str, settings: dict[str, Any] | None) -> Any:
    """Open the log of Weights & Biases; a run that goes on keeps the number that it had there."""
    import wandb

    number = path / WANDB_NUMBER
    if not number.exists():
        number.write_text(secrets.token_hex(4))
    mode = os.environ.get("WANDB_MODE", "offline")
    return wandb.init(
        project=project,
        dir=str(path),
        id=number.read_text(),
        resume="allow" if mode == "online" else None,  # offline, `wandb sync` puts parts together
        mode=mode,
        config=settings,
        settings=wandb.Settings(console="off"),  # the terminal stays as it is
    )


def _locked(path: Path) -> IO[bytes]:
    """Lock a file for this process; when the process ends, however it does, the lock ends too.

    The lock is one of POSIX: it holds on network disks as well, where a job that was started anew
    on another machine meets the old one, and processes that this one starts do not inherit it.

    Raises:
        ValueError: If another process has it.
    """
    while True:
        file = open(path, "ab")  # noqa: SIM115  it stays open
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.close()
            raise ValueError(
                f"out: expected a folder that no other run writes to, got {str(path.parent)!r}, "
                "where one is at work. Wait for its end, or give another --out."
            ) from None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        file.close()  # another run took it away between the two calls


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0]


def load_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        OSError: If there is no such file, or it may not be read.
        ValueError: If the file is damaged, or is not a checkpoint of the trainer.
    """
    refused = f"resume: expected a whole checkpoint of this trainer, got {str(path)!r}"
    way_out = "Give another checkpoint, or another --out to start anew."
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:  # torch.load does not check its checksums
                damaged = archive.testzip()
            file.seek(0)
            state = None if damaged else torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # zipfile and torch.load raise whatever they meet
            raise ValueError(f"{refused}, which cannot be read as one. {way_out}") from error
    if damaged:
        raise ValueError(f"{refused}, which is damaged: a checksum of it is wrong. {way_out}")
    ranks = state.get("ranks") if isinstance(state, dict) else None
    whole = isinstance(ranks, list) and all(name in state for name in PARTS)
    if not whole or not all(
        isinstance(rank, dict) and name in rank for rank in ranks for name in PARTS_OF_A_RANK
    ):
        raise ValueError(f"{refused}, which lacks some of its parts. {way_out}")
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
