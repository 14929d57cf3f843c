"""The import rule: a module may use the layers below its own, never one above or beside it."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dali_msda
from dali_msda import build

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "dali_msda"
LAYERS = [  # bottom first
    ["arrays", "build", "methods", "shapes"],
    ["cpu", "nvrtc", "policy"],
    ["build_command", "draws", "driver", "leaves", "pictures", "plan", "sheets"],
    ["gpu_arrays"],
    ["cuda", "doctor", "gpu_checks"],
    ["salient"],
    ["ops"],
    ["registered"],
    ["detection", "ffcv_loader", "torch_losses", "torch_mixing"],
    ["ffcv_crop", "torch_collate", "torch_transform"],
    ["dali", "ffcv", "timm", "torch", "torchvision"],
    ["preview", "selfcheck_laws", "selfcheck_rows"],
    ["selfcheck_checks", "selfcheck_fields", "selfcheck_several"],
    ["selfcheck"],
    ["cli"],
    ["__main__"],
    # For tests and benchmarks: above everything, so that nothing may import it.
    ["reference_methods", "reference_saliency"],
    ["reference_fields"],
    ["reference"],
]
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}
ADAPTERS = {"dali", "ffcv", "timm", "torch", "torchvision"}
HEAVY = {*ADAPTERS, "ffcv_loader", "torch_collate", "torch_losses", "torch_mixing"}
HEAVY |= {"ffcv_crop", "torch_transform"}
PUBLIC = {
    *dali_msda.__all__,
    *ADAPTERS,
    "cli",
    "draws",
    "leaves",
    "methods",
    "pipelines",
    "policy",
    "preview",
}
# Importing dali_msda imports NumPy and nothing heavier.
LIGHT = {*sys.stdlib_module_names, "dali_msda", "numpy"}


def imported(nodes):
    """Modules and names that these statements import, as dotted names."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def modules(folder):
    return pytest.mark.parametrize("path", sorted(folder.glob("*.py")), ids=lambda path: path.stem)


@modules(PACKAGE)
def test_imports_point_down(path):
    if path.stem == "__init__":
        return  # it re-exports
    for name in imported(ast.walk(ast.parse(path.read_text()))):
        if name.startswith("dali_msda."):
            assert RANK[name.split(".")[1]] < RANK[path.stem], f"{path.stem} imports {name}"
        assert name.split(".")[0] not in {"bench", "pipelines", "tests"}, name


@modules(PACKAGE)
def test_heavy_imports_stand_inside_functions(path):
    if path.stem not in HEAVY:
        top = {name.split(".")[0] for name in imported(ast.parse(path.read_text()).body)}
        assert top <= LIGHT


@modules(ROOT / "pipelines")
def test_pipelines_use_public_names(path):
    for name in imported(ast.walk(ast.parse(path.read_text()))):
        if name.startswith("dali_msda."):
            assert name.split(".")[1] in PUBLIC, name
            assert "._" not in name, name


def test_importing_the_package_is_light():
    code = "import sys; old = {*sys.modules}; import dali_msda; print(*{*sys.modules} - old)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name.split(".")[0] for name in done.stdout.split()} <= LIGHT


@pytest.mark.parametrize("path", sorted((build.KERNELS / "msda").glob("*.h")), ids=lambda p: p.name)
def test_device_header_includes_only_its_like(path):
    allowed = {"<cmath>", "<cstdint>"} if path.name == "portable.h" else set()
    if path.name == "draw.h":  # runs on the CPU for every backend
        allowed = {'"cpu.h"'}
    if path.name == "group.h":  # a GPU's thread, which reads the launch's arguments
        allowed = {'"gpu.h"'}
    for include in re.findall(r"#include (\S+)", path.read_text()):
        assert include in allowed or include.startswith('"msda/'), include


def warnings_of(source, flags):
    """What g++ says about a source; an empty string if it compiles cleanly."""
    command = ["g++", *flags.split(), *build.include_flags("cpu"), "-Werror", "-fsyntax-only"]
    done = subprocess.run([*command, *source], capture_output=True, text=True)
    return done.stderr or f"exit code {done.returncode}" * bool(done.returncode)


@pytest.mark.parametrize("path", sorted(build.KERNELS.rglob("*.h")), ids=lambda path: path.name)
def test_header_compiles_alone(path):
    assert not warnings_of(["-x", "c++", "-include", str(path), "/dev/null"], build.KERNEL)


@pytest.mark.parametrize("unit", build.units("cpu"), ids=lambda u: f"{u.source.name}{u.flags[-6:]}")
def test_kernels_compile_without_warnings(unit):
    assert not warnings_of([str(unit.source)], unit.flags)
