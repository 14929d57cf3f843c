"""Training runs that are killed at random moments: ``-m tests.training.kill --loader dali``.

A run is started, killed with SIGKILL and started again, until it has been killed so many times and
has come to its end. Its last checkpoint must equal, to the bit, that of a run that nobody killed.
The seed that is printed chooses the same delays again, though a machine is never as busy again.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.training.training_runs import assert_same, flags, train, write_data

SETTINGS = dict(epochs=6, checkpoint_every=1)
START_UP = 0.25  # share of the kills that hit a run before its first step
LONGEST = 2.0  # seconds after the first step; a run of 36 steps takes about as long


# Methods that mix in the training step, which keep what they know in checkpoints.
METHODS = {
    "none": {},
    "manifold": {
        "policy": "{manifoldmixup: mixup, layers: ['', layer1]}",
        "model": "resnet18",
    },
    "recursivemix": {"policy": "recursivemix", "model": "resnet18"},
    "puzzlemix": {"policy": "puzzlemix"},
    "comixup": {"policy": "comixup"},
}


def kill_once(data, out, loader, rng, settings):
    """Start or go on, and kill after a random time; the step reached, or None if the run ended."""
    command = [sys.executable, "-m", "dali_msda.pipelines.train"]
    command += [*flags(data, out, loader=loader, **settings), "--resume", "auto"]
    checkpoint, before = out / "checkpoint.pt", stamp(out / "checkpoint.pt")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    early, delay = rng.random() < START_UP, rng.random()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        started = time.monotonic()
        while not early and process.poll() is None and stamp(checkpoint) == before:
            time.sleep(0.001)
        seconds = delay * (8 if early else LONGEST)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
        said.seek(0)
        text = said.read().decode()
    if process.returncode == -signal.SIGKILL:
        return f"after {time.monotonic() - started:.2f} s"
    assert process.returncode == 0, text
    return None


def stamp(path):
    """What changes with each checkpoint."""
    try:
        return path.stat().st_ino, path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def survive(loader, method, times, seed, room):
    """Raise AssertionError unless the runs of a loader survive so many kills."""
    rng, settings = random.Random(f"{loader} {seed}"), SETTINGS | METHODS[method]
    data = write_data(room / "data")
    if loader == "ffcv":
        from dali_msda.pipelines.write_beton import write_beton

        for split in ("train", "val"):
            write_beton(data / split, data / f"{split}.beton", workers=1)
    whole, table = train(data, room / "whole", loader=loader, **settings)
    killed = runs = 0
    while killed < times:
        out, runs = room / f"killed{runs}", runs + 1
        ended = False
        while not ended and killed < times:
            moment = kill_once(data, out, loader, rng, settings)
            ended = moment is None
            killed += not ended
            print(
                f"{loader}, run {runs}: " + ("ended" if ended else f"kill {killed} {moment}"),
                flush=True,
            )
        state, again = train(data, out, resume="auto", loader=loader, **settings)
        assert_same(state, whole)
        assert again == table
    print(
        f"{loader}: killed {killed} times in {runs} runs, the same weights to the bit", flush=True
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loader", choices=("dali", "ffcv", "torch"), required=True)
    parser.add_argument("--method", choices=METHODS, default="none", help="of the training step")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"--seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as room:
        survive(options.loader, options.method, options.times, options.seed, Path(room))


if __name__ == "__main__":
    main()
