"""The CPU kernels under ASan, UBSan and TSan; each guard is seen to find a planted fault."""

import os
import subprocess
import sys

import pytest

from dali_msda import build
from tests.guards import sanitizers
from tests.support import ROOT
from tests.support.hostile_files import JPEG, encode, picture

LIMIT = 600  # seconds, many times what one takes


def run(command, **environment):
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, env=environment
    )


def calls(case):
    sanitizers.address_library()
    module = "tests.guards.sanitized_calls"
    return run([sys.executable, "-m", module, case], **sanitizers.preloaded())


@pytest.mark.parametrize("case", ["valid", "hostile"])
def test_no_memory_error_and_nothing_undefined(case):
    done = calls(case)
    assert done.returncode == 0 and "no report" in done.stdout, done.stderr[-5000:]


def test_a_planted_overflow_is_seen():
    assert "heap-buffer-overflow" in calls("planted").stderr


def test_headers_of_images_are_read_within_their_bytes(tmp_path):
    kinds = ["PNG", "WEBP", "BMP", "JPEG2000", "TIFF", "PPM"]
    pictures = [JPEG, encode(picture(), restart_marker_blocks=2)]
    pictures += [encode(picture(), kind) for kind in kinds]
    for number, data in enumerate(pictures):
        (tmp_path / str(number)).write_bytes(data)
    done = run([sanitizers.hostile_headers(), "20000", *sorted(tmp_path.iterdir())])
    assert done.returncode == 0, done.stderr[-5000:]
    assert int(done.stdout.split()[0]) > 1000


def race(program):
    return run([program], **os.environ | {"TSAN_OPTIONS": "halt_on_error=1 exitcode=66"})


def test_callers_do_not_race():
    done = race(sanitizers.racing_callers())
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]


def test_a_planted_race_is_seen(tmp_path):
    """Parts of a job are taken without an atomic step."""
    text = (build.KERNELS / "cpu/threads.cpp").read_text()
    planted = text.replace("std::atomic<int64_t> next{0}", "int64_t next = 0")
    planted = planted.replace("next.load()", "next").replace(
        "while (!next.compare_exchange_weak(*begin, *end));", "while (false); next = *end;"
    )
    assert "next = *end" in planted and "std::atomic<int64_t>" not in planted
    source = tmp_path / "threads.cpp"
    source.write_text(planted)
    assert "data race" in race(sanitizers.racing_callers(source)).stderr
