"""The plugin loads once, whoever asks for it, in whichever order: DALI aborts on a second one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dali_msda
from dali_msda import build

PACKAGE = Path(dali_msda.__file__).parent
OURS = "from dali_msda import dali, CutMix"
DYNAMIC = "import nvidia.dali.experimental.dynamic as ndd"
MIX = """
import numpy as np
pixels = np.arange(4 * 6 * 5 * 3) % 256
images = ndd.as_batch(list(pixels.astype(np.uint8).reshape(4, 6, 5, 3)), layout="HWC")
labels = ndd.as_batch(list(np.arange(4)))
mixed, targets = dali.mix(images, labels, CutMix(), num_classes=4, rng=ndd.random.RNG(1))
plans = dali.plan(images, CutMix(), rng=ndd.random.RNG(1))
print(np.array(ndd.as_tensor(mixed).cpu()).sum(), np.array(ndd.as_tensor(plans).cpu()).tobytes())
"""
PIPELINE = """
import numpy as np
from nvidia.dali import Pipeline, fn
p = Pipeline(batch_size=4, num_threads=1, device_id=None)
with p:
    images = fn.external_source(lambda: np.zeros((4, 6, 5, 3), np.uint8), layout="HWC", batch=True)
    p.set_outputs(fn.msda.blend(images, dali.plan(images, CutMix())))
p.build(); p.run(); print("ran")
"""


def python(*lines, path=PACKAGE.parent):
    """Runs a script in a new interpreter and returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, cwd=path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_either_order_of_imports_works_in_dynamic_mode():
    assert python(OURS, DYNAMIC, MIX) == python(DYNAMIC, OURS, MIX)


def test_a_reload_is_harmless():
    again = "import importlib; importlib.reload(dali); dali.load(); importlib.reload(dali)"
    assert python(OURS, DYNAMIC, again, MIX, PIPELINE).endswith("ran\n")


def test_a_plugin_that_is_there_already_serves(tmp_path):
    """Loaded by hand, and from another file than ours, with the kernels' library beside it."""
    copy = shutil.copy(build.library("dali"), tmp_path / "libother.so")
    shutil.copy(build.library("cpu"), tmp_path)
    by_hand = f"from nvidia.dali import plugin_manager as p; p.load_library({str(copy)!r})"
    assert python(by_hand, OURS, PIPELINE) == "ran\n"
    assert python(DYNAMIC, by_hand, OURS, MIX) == python(OURS, DYNAMIC, MIX)


def test_two_copies_of_the_package_get_along(tmp_path):
    for folder in ("dali_msda", "kernels"):
        source = build.KERNELS if folder == "kernels" else PACKAGE
        shutil.copytree(source, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    second = f"""
import sys
first = dali
for name in [name for name in sys.modules if name.startswith("dali_msda")]:
    del sys.modules[name]
sys.path.insert(0, {str(tmp_path)!r})
{OURS}
assert dali is not first and dali.__file__.startswith({str(tmp_path)!r}), dali.__file__
"""
    assert python(OURS, second, PIPELINE) == "ran\n"


def test_a_forked_process_leaves_pipelines_alone():
    """DALI's destructor would wait there for threads that only the parent has."""
    fork = """
import gc, os, signal
gc.disable()
cycle = [p]
cycle.append(cycle)
del p, cycle
child = os.fork()
if not child:
    signal.alarm(30)
    gc.collect()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    assert python(OURS, PIPELINE, fork) == "ran\n"


def test_importing_the_package_imports_neither_dali_nor_a_compiler():
    assert python("import sys, dali_msda; print('nvidia.dali' in sys.modules)") == "False\n"


def test_a_missing_plugin_is_reported():
    lines = """
from dali_msda import build
def missing(name): raise RuntimeError("the plugin was built for DALI 2.3.0, but 2.4.0 is installed")
build.library = missing
try:
    from dali_msda import dali
except RuntimeError as error:
    print(error)
"""
    assert "built for DALI 2.3.0" in python(lines)


@pytest.mark.parametrize("name", ["msda__Plan", "msda__Blend", "msda__Targets"])
def test_operators_are_registered_for_the_cpu(name):
    from nvidia.dali import backend

    from dali_msda import dali

    assert name in backend.RegisteredCPUOps() and name in dali.OPERATORS
