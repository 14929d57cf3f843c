"""Small training runs in processes of their own, and what they are compared by."""

import csv
import os
import subprocess
import sys

import torch

from tests.support.coloured_folders import write_folder

SECONDS = 600  # many times what a run takes
STEPS_PER_EPOCH, EPOCHS = 6, 2
SETTINGS = dict(
    model="mobilenet_v3_small",  # has batch norm and dropout
    size=32,
    val_resize=36,
    batch_size=16,
    epochs=EPOCHS,
    warmup_epochs=1.0,
    lr=0.05,
    smoothing=0.1,
    policy={"choice": ["cutmix", {"mixup": {"alpha": 0.2}}]},
    threads=1,
    device="cpu",
    checkpoint_every=4,
)
# Sends itself a signal at the beginning of a step, or while it writes a checkpoint.
SCRIPT = """
import os, signal, sys
from dali_msda.pipelines import train
from dali_msda.pipelines.loaders import dali
where, number, signum, *arguments = sys.argv[1:]
places = {"start": (dali, "TrainingLoader"), "step": (train, "learning_rate")}
module, name = {**places, "checkpoint": (os, "fsync")}[where]
original, calls = getattr(module, name), 0
def interrupted(*arguments, **options):
    global calls
    calls += 1
    if calls == int(number):
        os.kill(os.getpid(), int(signum))
    return original(*arguments, **options)
setattr(module, name, interrupted)
sys.exit(train.main(arguments))
"""


def write_data(root):
    write_folder(root / "train", (17,) * 6)
    write_folder(root / "val", (5,) * 5 + (6,))
    return root


def flags(data, out, **more):
    values = SETTINGS | {"data": data, "out": out} | more
    flat = [(f"--{name.replace('_', '-')}", str(value)) for name, value in values.items()]
    return [text for pair in flat for text in pair]


def run(*command, processes=1):
    """Run a script with the test's Python; return exit code and stderr."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *(launch if processes > 1 else []), *command],
        env=environment,
        timeout=SECONDS,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr


def train(data, out, processes=1, **more):
    code, text = run(
        "-m", "dali_msda.pipelines.train", *flags(data, out, **more), processes=processes
    )
    assert code == 0, text
    return torch.load(out / "checkpoint.pt", weights_only=True), rows(out)


def rows(out):
    with open(out / "metrics.csv") as file:
        return [{k: v for k, v in row.items() if k != "img_s"} for row in csv.DictReader(file)]


def assert_same(ours, theirs, path=""):
    """Equal to the bit, through dictionaries and lists; where a run lay may differ."""
    assert type(ours) is type(theirs), path
    if isinstance(ours, dict):
        assert list(ours) == list(theirs), path
        for name in ours:
            if name not in ("out", "resume"):
                assert_same(ours[name], theirs[name], f"{path}.{name}")
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs), path
        for index, (mine, yours) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(mine, yours, f"{path}[{index}]")
    elif isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs), path
    else:
        assert ours == theirs, path
