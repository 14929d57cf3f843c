"""The doctor: a line for everything, and next to whatever is missing what mends it."""

import importlib.metadata

import pytest

from dali_msda import build, cache
from dali_msda.backends import cpu, nvrtc, packs
from dali_msda.commands import cli, doctor
from dali_msda.commands import cuda_driver as driver


def report(capsys):
    """Exit code, and (name, what was found, remedy) of each line."""
    code = cli.main(["doctor"])
    lines = []
    for line in capsys.readouterr().out.splitlines():
        if line.startswith(" "):
            assert line.startswith(f"{'':12} -> ")
            lines[-1][2] = line[16:]
        else:
            lines.append([line[:12].strip(), line[13:], ""])
    return code, {name: (found, remedy) for name, found, remedy in lines}


@pytest.fixture
def no_driver(monkeypatch):
    def missing(name, *how):
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", missing)
    driver.library.cache_clear()
    nvrtc.library(), cpu.library()  # loaded before
    yield
    driver.library.cache_clear()


@pytest.fixture(autouse=True)
def loaded():
    nvrtc.library(), cpu.library()


def test_versions(capsys):
    code, lines = report(capsys)
    assert code == 0
    assert list(lines)[:6] == ["dali_msda", "C++", "CPU backend", "DALI", "NVRTC", "driver"]
    assert lines["DALI"][0].startswith(build.dali_version())
    assert lines["torch"] == (importlib.metadata.version("torch"), "")
    assert lines["NVRTC"][0].startswith("{}.{}, for sm_75 to sm_".format(*nvrtc.version()))
    assert cpu.isas()[-1] in lines["CPU backend"][0]
    assert lines["cache"][0].startswith(str(cache.folder()))


def test_without_a_driver(capsys, no_driver):
    code, lines = report(capsys)
    assert code == 0  # the CPU does everything
    assert lines["driver"][0] == "CUDA: no driver (libcuda.so.1 was not found)"
    assert "without it the CPU does everything" in lines["driver"][1]
    assert lines["GPU"] == ("none", "")


def test_what_is_missing_and_what_mends_it(capsys, monkeypatch, tmp_path):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    def fails(*_):
        raise RuntimeError("NVRTC: not found; run `pip install it`\nand more")

    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(doctor.build, "library", lambda name: "libmsda_cpu.so")
    monkeypatch.setattr(doctor.importlib.metadata, "version", missing)
    monkeypatch.setattr(nvrtc, "version", fails)
    monkeypatch.setenv("CXX", "/nowhere/g++")
    monkeypatch.setattr(doctor, "CHECKS", doctor.CHECKS[1:])
    _, lines = report(capsys)
    assert lines["NVRTC"] == (
        "NVRTC: not found; run `pip install it`",
        f"pip install {nvrtc.PACKAGE}",
    )
    assert lines["torch"] == ("not installed", "pip install torch")
    assert lines["CuPy"] == ("not installed", "pip install cupy-cuda13x")
    assert lines["FFCV"][0] == "not installed"
    assert lines["C++"][0] == "/nowhere/g++: not found" and "apt-get" in lines["C++"][1]
    found, remedy = lines["cache"]
    assert "cannot be written" in found and remedy.startswith("export XDG_CACHE_HOME=")


def test_nothing_works_without_the_cpu_backend(capsys, monkeypatch):
    def fails(name):
        raise RuntimeError("g++: not found")

    monkeypatch.setattr(build, "library", fails)
    assert cli.main(["doctor"]) == 1
    assert "CPU backend: missing; see above" in capsys.readouterr().err


class HostDriver:
    """A driver that serves CUDA 12.4 and has one card of the future."""

    arch = "sm_990"

    @staticmethod
    def call(name, *arguments):
        values = {"cuDriverGetVersion": (0, 12040), "cuDeviceGetCount": (0, 1)}
        values |= {"cuDeviceGet": (0, 0), "cuDeviceTotalMem_v2": (0, 141 << 30)}
        if name == "cuDeviceGetName":
            arguments[0].value = b"Card"
            return
        index, value = values[name]
        arguments[index]._obj.value = value


def test_an_old_driver_and_a_new_card(capsys, monkeypatch):
    monkeypatch.setattr(driver, "library", lambda: None)
    monkeypatch.setattr(driver, "call", HostDriver.call)
    monkeypatch.setattr(driver, "device", lambda index: HostDriver)
    monkeypatch.setattr(
        packs, "kind_in_library", lambda arch: (packs.State.MISSING, "/here/msda.pack: not found")
    )
    monkeypatch.setattr(build, "find", lambda file: None)
    _, lines = report(capsys)
    found, remedy = lines["driver"]
    assert "serves CUDA 12.4, which is older than NVRTC" in found
    assert remedy.startswith("pip install 'nvidia-cuda-nvrtc-cu12'")
    newest = nvrtc.archs()[-1].replace("sm_", "compute_")
    assert lines["GPU 0"] == (
        f"Card, sm_990, 141 GiB; kernels: compiled by NVRTC at first use, PTX of {newest}, which "
        "the driver compiles",
        "",
    )
    monkeypatch.setattr(HostDriver, "arch", "sm_60")
    _, lines = report(capsys)
    assert lines["GPU 0"][0].endswith("; kernels: none (sm_60: expected sm_75 or newer)")
    assert lines["GPU 0"][1].startswith("NVRTC ")


def test_which_code_a_card_runs(monkeypatch, tmp_path):
    packed, found = (packs.State.MISSING, "/here/msda.pack: not found"), None
    monkeypatch.setattr(packs, "kind_in_library", lambda arch: packed)
    monkeypatch.setattr(build, "find", lambda file: found)
    monkeypatch.setattr(nvrtc, "archs", lambda: ("sm_90", "sm_100"))
    first_use = "kernels: compiled by NVRTC at first use, machine code of sm_"
    assert doctor.code_for("sm_90") == (f"{first_use}90", "")
    assert doctor.code_for("sm_103") == (f"{first_use}100, which sm_103 runs", "")
    found = tmp_path
    assert doctor.code_for("sm_90") == (
        "kernels: compiled, in the cache, machine code of sm_90",
        "",
    )
    packed = packs.State.WITHOUT, "/here/msda.pack: no code of blend for sm_90"
    assert doctor.code_for("sm_90")[0].endswith(" (/here/msda.pack: no code of blend for sm_90)")
    packed = packs.State.HAS_CODE, "sm_90"
    assert doctor.code_for("sm_90") == (
        "kernels: compiled beforehand, machine code of sm_90",
        "",
    )


def test_packed_code_that_is_too_new_for_the_driver(monkeypatch):
    """The one way out that helps is told where there is no NVRTC either."""
    text = "/here/msda.pack: the code was compiled by CUDA 13.0, and the driver serves CUDA 12.4"
    monkeypatch.setattr(packs, "kind_in_library", lambda arch: (packs.State.TOO_NEW, text))
    monkeypatch.setattr(build, "find", lambda file: None)
    assert doctor.code_for("sm_90") == (
        f"kernels: compiled by NVRTC at first use, machine code of sm_90 ({text})",
        "",
    )

    def missing(arch):
        raise RuntimeError("NVRTC: not found; run `pip install nvidia-cuda-nvrtc==13.0.88`")

    monkeypatch.setattr(nvrtc, "kind_for", missing)
    found, remedy = doctor.code_for("sm_90")
    assert found == f"kernels: none ({text})" and remedy.startswith("a newer driver, or NVRTC of ")


def test_a_damaged_pack_is_told(monkeypatch):
    def damaged(arch):
        raise RuntimeError("/here/msda.pack: damaged; remove it, and reinstall dali_msda")

    monkeypatch.setattr(packs, "kind_in_library", damaged)
    assert doctor.code_for("sm_90") == (
        "kernels: none (/here/msda.pack: damaged)",
        "remove it, and reinstall dali_msda",
    )
