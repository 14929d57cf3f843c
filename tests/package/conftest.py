"""A checkout with sources of a few lines."""

import shutil
import tempfile

import pytest

from dali_msda import build
from tests.package.sources import CPU, PLUGIN, ROWS, write


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A checkout with tiny sources and a cache of its own."""
    write(tmp_path / "kernels/cpu/api.h", "constexpr int kAnswer = 42;\n")
    write(tmp_path / "kernels/cpu/api.cpp", CPU)
    write(tmp_path / "kernels/cpu/simd/blend_rows.cpp", ROWS)
    shutil.copy(build.KERNELS / "cpu/old_glibc.h", tmp_path / "kernels/cpu")
    write(tmp_path / "dali_msda/dali/native/plan_op.cc", PLUGIN)
    monkeypatch.setattr(build, "KERNELS", tmp_path / "kernels")
    monkeypatch.setattr(build, "NATIVE", tmp_path / "dali_msda/dali/native")
    monkeypatch.setattr(build, "PREBUILT", tmp_path / "dali_msda/_lib")
    monkeypatch.setattr(build, "IN_CHECKOUT", True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path
