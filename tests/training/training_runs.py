"""Small training runs in processes of their own, and what they are compared by."""

import csv
import os
import socket
import subprocess
import sys

import torch

from dali_msda.pipelines import train as train_module
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
    return [text for name, value in values.items() for text in flag(name.replace("_", "-"), value)]


def flag(name, value):
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    return [f"--{name}", str(value)]


def run(*command, processes=1):
    """Run a script with the test's Python, by torchrun if in several processes.

    Returns:
        Exit code and stderr.
    """
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
    """Run to the end; FFCV and several processes in processes of their own, others here."""
    arguments = flags(data, out, **more)
    if processes == 1 and more.get("loader") != "ffcv":
        torch.set_num_threads(1)  # as in the processes that run() starts
        assert train_module.main(arguments) == 0
    else:
        launch = ["-c", FORKED, str(processes)] if processes > 1 else ["-m", train_module.__name__]
        code, text = run(*launch, *arguments)
        assert code == 0, text
    return torch.load(out / "checkpoint.pt", weights_only=True), rows(out)


def together(processes, job):
    """Do a job in several processes that train together, and say whether all ended well.

    They are forked, which is far quicker than torchrun, where each imports everything: call it in a
    process that has begun nothing else.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free.getsockname()[1]))
    sizes, children = dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(processes)), []
    for rank in map(str, range(processes)):
        child = os.fork()
        if not child:
            os.environ.update(**place, **sizes, RANK=rank, LOCAL_RANK=rank)
            code = 1
            try:
                code = job() or 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    return [os.waitpid(child, 0)[1] for child in children] == [0] * processes


FORKED = """
import sys
from tests.training.training_runs import together, train_module
processes, *arguments = sys.argv[1:]
sys.exit(not together(int(processes), lambda: train_module.main(arguments)))
"""


class Killed(BaseException):
    """Ends a run where it stands, and is caught by nothing in it."""


def train_until(step, data, out, **more):
    """Run here until a step begins, counted from 1; the run then ends without a word."""
    rate, calls = train_module.learning_rate, iter(range(1, step))

    def killing(*arguments):
        if next(calls, None) is None:
            raise Killed
        return rate(*arguments)

    train_module.learning_rate = killing
    try:
        train_module.main(flags(data, out, **more))
    except Killed:
        return
    finally:
        train_module.learning_rate = rate
    raise AssertionError("the run came to its end")


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
