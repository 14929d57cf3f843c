"""Small cases of every suite, a line of results, and GPUs that are none."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from bench import cases
from bench.cases import Case
from tests.cuda.host_gpu import HostArray

ROOT = Path(__file__).parents[2]


TINY = {  # parameters that make a case of each module small
    "blend": {"batch": 2, "size": 16},
    "fields": {"size": 32},
    "multimix": {"batch": 2, "size": 16},
    "saliency": {"batch": 2, "size": 16},
    "targets": {"batch": 4, "classes": 10},
    "losses": {"batch": 4, "classes": 10},
    "puzzle": {"batch": 2},
    "comixup": {"batch": 20},
    "peers": {"batch": 16, "size": 16},
    "pipeline": {"batch": 4, "size": 16},
    "loaders": {"batch": 2, "size": 32},
    "side_by_side": {"batch": 4, "size": 32, "images": 9},
    "stages": {"batch": 4, "size": 32, "images": 9},
    "training": {"batch": 2, "size": 32},
    "startup": {},
    "scale": {"loader": "torch", "names": 400, "classes": 40},
    "distributed": {"loader": "torch", "size": 24},
    "scaling": {"axis": "classes"},
    "calls": {"what": "draw"},
}


NEEDED = {"bench", "case", "of", "ms", "spread", "repeats", "clock", "per_s", "unit", "others",
          "figures", "versions", "commit", "machine"}  # fmt: skip


def one(bench, **changed):
    """The first case of a module, with other parameters."""
    table = importlib.import_module(cases.MODULES[bench]).TABLES["default"][0]
    row = next(cases.expand([table]))
    return Case(bench, tuple({**row, **TINY[bench], **changed}.items()))


def line(bench="blend", ms=10.0, spread=0.02, copy=20.0, **case):
    made = {"bench": bench, "case": {"device": "cpu", **case}, "clock": "cpu", "of": "ours"}
    made |= {"ms": ms, "spread": spread, "cpu_ms": ms, "repeats": 15, "items": 4, "unit": "images"}
    made |= {"per_s": 4e3 / ms, "moved_mb": 1.0, "gb_s": 1 / ms, "copy_gb_s": copy, "share": 0.5}
    made |= {"copy_spread": 0.01, "others": {}, "figures": {}, "commit": "abc"}
    made["versions"], made["machine"] = {"numpy": "1"}, {"processor": "x", "isa": "y", "cores": 1}
    return made


class FakeGpu:
    """A GPU that is none, whose clock every call moves by a microsecond."""

    def __init__(self):
        self.done, self.now = [], 0.0

    def put(self, values):
        return HostArray(np.ascontiguousarray(values))

    def empty(self, shape, dtype):
        return HostArray(np.zeros(shape, {"bfloat16": "uint16"}.get(dtype, dtype)))

    def copy(self, moved, threads=1):
        return lambda: self.work("copy", moved / 1e9)

    def work(self, name, seconds):
        self.done.append(name)
        self.now += seconds

    def flush(self):
        self.work("flush", 1.0)

    def mark(self):
        self.work("mark", 1e-6)
        return self.now

    def seconds(self, start, end):
        return end - start

    def wait(self):
        self.work("wait", 0.0)

    def captured(self, run):
        self.work("capture", 0.0)
        run()
        return lambda: (self.work("replay", 1e-6), run())

    def used(self):
        return 1000 * len(self.done)

    def about(self):
        return {"gpu": "none", "driver": "1.2", "cuda": "3.4"}


class FakeTorchGpu(FakeGpu):
    """The same for torch; what lies there is on the CPU."""

    device, index = "cpu", None

    def __init__(self):
        super().__init__()
        self.torch = pytest.importorskip("torch")
