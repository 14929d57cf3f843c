"""What the system refuses: threads that cannot start, memory that is not there."""

import resource
import subprocess
import sys

import pytest

from dali_msda.backends import cpu
from tests.support import ROOT

FEWER_THREADS = """
import os, resource, numpy as np, dali_msda as msda
images = np.random.default_rng(0).integers(0, 256, (64, 128, 128, 3), np.uint8)
plan = msda.draw(msda.Choice([msda.FMix(), msda.CutMix()]), 64, 128, 128, seed=0, step=0)
want = msda.blend(images, plan, threads=1)
if os.getuid() == 0:  # whom the limit does not bind
    os.setgid(65534), os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
try:
    os.fork() or os._exit(0)
except BlockingIOError:
    for _ in range(3):
        assert (msda.blend(images, plan, threads=4) == want).all()
    print("mixed")
"""

NO_MEMORY = """
import resource, numpy as np, dali_msda as msda
def bound(room):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + room, resource.getrlimit(resource.RLIMIT_AS)[1]))
def refused(call):
    try:
        call()
    except MemoryError as error:
        print(error)
small = msda.draw(msda.FMix(), 2, 40, 50, seed=0, step=0)
images = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), np.uint8)
want, n = msda.blend(images, small), 1 << 13
plan, wide = msda.draw(msda.FMix(), 1, n, n, seed=0, step=0), np.zeros((1, n, n, 1), np.uint8)
msda.saliency(images), msda.mask(small, 40, 50)
bound((256 << 20) + (64 << 20))  # the mask itself fits, what the kernels need for it does not
refused(lambda: msda.mask(plan, n, n))
refused(lambda: msda.saliency(wide))
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
np.testing.assert_array_equal(msda.blend(images, small), want)  # nothing is left half made
want = msda.saliency(images)
bound(16 << 20)
refused(lambda: msda.saliency(wide))
np.testing.assert_array_equal(msda.saliency(images), want)
"""


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )


def test_fewer_threads_do_where_no_more_can_be_started():
    done = run(FEWER_THREADS)
    assert done.returncode == 0 and done.stdout == "mixed\n", done.stdout + done.stderr[-3000:]


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_AS)[1] != resource.RLIM_INFINITY, reason="memory is bounded"
)
def test_memory_that_is_refused_is_a_memory_error_and_leaves_no_trace():
    done = run(NO_MEMORY)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and all("memory: expected" in line for line in lines), done.stdout


@pytest.mark.parametrize("count", [2**31, 2**32 + 5, -(2**31) - 1])
def test_no_count_is_cut_off_on_its_way_to_c(count):
    with pytest.raises(ValueError, match=f"classes: expected .* got {count}"):
        cpu.Targets(None, None, None, 1, count, 0.0)
    with pytest.raises(ValueError, match=f"classes: expected .* got {count}"):
        cpu.Targets(classes=count)
    with pytest.raises(Exception, match=f"size: expected .* got {count}"):
        cpu.library().msda_mask(None, None, None, 0, count, 1, 1)
