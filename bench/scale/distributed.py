"""One to four processes that train together by gloo, on the cores of this machine.

All together they read the same images in an epoch, in batches of the same size, however many they
are; a run is an epoch of the training program's loader, in which each batch is mixed, a small
network takes a step and its gradients are averaged over the processes. So the cores do the same
work, and what more processes cost shows: their waiting for one another, and more threads than
cores. The first candidate is one process; ``times`` are those of more over it.

What the processes saw is compared: as many images of each class as there are.
"""

import json
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path

import numpy as np

from bench.cases import Job, Mismatch, cores
from bench.scale import folder
from bench.scale.start import PACKAGES, ROOT, answer, expect

ISOLATED = True  # its processes end with it
COUNTS = (1, 2, 4)
IMAGES, CLASSES = 720, 16
TABLES = {
    "quick": [],
    "default": [{"loader": tuple(PACKAGES), "batch": 48, "size": 224}],
}
TURNS = 5


def prepare(case: dict[str, object]) -> Job:
    """Epochs by one process and by more."""
    expect(case["loader"])
    images = folder.linked(IMAGES, CLASSES)
    groups = {str(count): Group(count, images, case) for count in COUNTS}
    runs = {name: group.epoch for name, group in groups.items()}
    how = {"threads": 0, "clock": "wall", "loops": False, "turns": TURNS}
    return Job(runs, None, IMAGES, "images", **how)


class Group:
    """Processes that train together.

    Args:
        count: How many they are.
        images: The folder that they read.
        case: Loader, batch of all together, size.
    """

    def __init__(self, count: int, images: Path, case: dict[str, object]):
        meeting = tempfile.TemporaryDirectory(prefix="dali_msda_gloo_")
        order = {name: case[name] for name in ("loader", "size")}
        order |= {"folder": str(images), "batch": case["batch"] // count, "ranks": count}
        order |= {"threads": max(1, cores() // count), "meeting": f"file://{meeting.name}/store"}
        command = [sys.executable, "-m", "bench.scale.rank"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self._processes = [
            subprocess.Popen(
                [*command, json.dumps({**order, "rank": rank})], cwd=ROOT, text=True, **pipes
            )
            for rank in range(count)
        ]
        weakref.finalize(self, _end, self._processes, meeting)

    def epoch(self) -> None:
        """Let them go through an epoch.

        Raises:
            Mismatch: If they did not see all images.
            RuntimeError: If one fails.
        """
        for process in self._processes:
            process.stdin.write("\n")
            process.stdin.flush()
        seen = np.sum([answer(process)["seen"] for process in self._processes], 0)
        if (seen != IMAGES // CLASSES).any():
            raise Mismatch(
                f"{len(self._processes)} processes: expected {IMAGES // CLASSES} images of each "
                f"class, got {seen.tolist()}"
            )


def _end(processes: list[subprocess.Popen], meeting: tempfile.TemporaryDirectory) -> None:
    for process in processes:  # all at once, since they end together
        process.stdin.close()
    for process in processes:
        process.wait()
        process.stdout.close()
        process.stderr.close()
    meeting.cleanup()
