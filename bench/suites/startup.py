"""What is paid once: the import, the first batch of a process, and memory.

Every run is a process of its own. ``numpy`` beside it imports NumPy and nothing else. Libraries
have been compiled before. ``memory_mb`` is the most memory that the process took in ten batches
beyond the arrays that it was given.
"""

import subprocess
import sys
from pathlib import Path

from bench.cases import Job, Missing

NUMPY = "import numpy"
ARRAYS = """
import resource
import numpy as np
import dali_msda as msda
images = np.ones((256, 224, 224, 3), np.uint8)
out = np.ones((256, 3, 224, 224), np.float16)
labels = np.arange(256)
def mix(step):
    msda.mix(images, labels, msda.{policy}(), seed=0, step=step, num_classes=1000, mean=127.5,
             std=127.5, dtype="float16", layout="CHW", out=out)
"""
PEAK = "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss"
PIPELINE = """
import numpy as np
from nvidia.dali import fn, pipeline_def
import dali_msda as msda
from dali_msda.dali import mix
@pipeline_def(batch_size=64, num_threads=1, device_id=None, seed=0)
def pipeline():
    images = fn.external_source(lambda: np.ones((64, 224, 224, 3), np.uint8), layout="HWC")
    labels = fn.external_source(lambda: np.ones((64, 1), np.int32))
    return mix(images, labels, msda.{policy}(), num_classes=1000, mean=127.5, std=127.5)
built = pipeline()
built.build()
built.run()
"""
PROGRAMS = {
    "import": "import dali_msda",
    "first_batch": ARRAYS + "mix(0)",
    "memory": ARRAYS + f"old = {PEAK}\n[mix(i) for i in range(10)]\nprint({PEAK} - old)",
    "dali_first_batch": PIPELINE,
}
TABLES = {
    "quick": [{"what": "import", "policy": "none"}],
    "default": [
        {"what": "import", "policy": "none"},
        {"what": ("first_batch", "dali_first_batch", "memory"), "policy": "FMix"},
    ],
    "all": [{"what": ("first_batch", "dali_first_batch", "memory"), "policy": ("Mixup", "FMix")}],
}


def prepare(case: dict[str, object]) -> Job:
    """Processes that do it, and processes that import NumPy only."""
    program = PROGRAMS[case["what"]].replace("{policy}", case["policy"])
    if case["what"].startswith("dali"):
        try:
            import nvidia.dali  # noqa: F401
        except ImportError as error:
            raise Missing(f"nvidia.dali: {error}") from error
    told = []
    runs = {case["what"]: lambda: told.append(python(program)), "numpy": lambda: python(NUMPY)}

    def figures(medians: dict[str, float]) -> dict[str, float]:
        taken = [float(text) / 1024 for text in told if text]
        return {"memory_mb": round(max(taken), 2)} if taken else {}

    return Job(runs, unit="processes", threads=0, clock="wall", loops=False, figures=figures)


def python(program: str) -> str:
    """What a fresh process prints.

    Raises:
        RuntimeError: If it fails.
    """
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return done.stdout
