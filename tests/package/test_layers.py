"""Who may import whom, by folder: of the package, of the commands over it, and of the kernels."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dali_msda
from dali_msda import build

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "dali_msda"
ARRAYS = "build policy record backends plan"
# What each part of the package may import of it, besides itself; nothing imports the last three.
MAY_IMPORT = {
    "cache": "",
    "build": "cache",
    "policy": "",
    "record": "policy",
    "backends": "build cache policy record",
    "plan": "backends policy record",
    "loader_draws": "backends policy",
    "saliency": f"{ARRAYS} types",
    "types": "",
    "ops": f"{ARRAYS} puzzle types",
    "mix": f"{ARRAYS} ops saliency types",
    "puzzle": f"{ARRAYS} types",
    "comixup": "backends policy puzzle types",
    "annotations": f"{ARRAYS} ops types",
    "dali": "build policy backends",
    "ffcv": f"{ARRAYS} ops saliency loader_draws",
    "torch": f"{ARRAYS} ops saliency puzzle comixup loader_draws types",
    "timm": f"{ARRAYS} ops torch",
    "torchvision": f"{ARRAYS} ops annotations torch",
    "selfcheck": f"{ARRAYS} ops saliency puzzle",
    "commands": f"{ARRAYS} cache comixup ops saliency puzzle selfcheck",
    "__main__": "commands",
}
# The same for the kernels' folders, each with those that it includes.
MAY_INCLUDE = {
    "msda": "msda",
    "cpu/simd": "msda cpu/simd cpu/api.h",
    "cpu": "msda cpu",
    "cuda": "msda cuda cpu/api.h",
    "cuda/code": "cuda/code",
    "cuda/host": "msda cuda cuda/code cpu/api.h cpu/closed.h",
}
# What DALI's operators may include of the kernels: their C interfaces, and who draws.
OPERATORS_INCLUDE = {"cpu/api.h", "cuda/host/api.h", "msda/philox.h"}
# What some folders may include of the system. The arithmetic needs as good as nothing; what is
# compiled once per instruction set may have no C++ library code. Only what serves one kind of
# machine may include that machine's intrinsics.
SYSTEM = {"msda": {"<cmath>", "<cstdint>"}, "cpu/simd": {"<string.h>"}}
INTRINSICS = {"x86.h": {"<immintrin.h>"}, "neon.h": {"<arm_neon.h>"}}
OF_OTHER_MACHINES = "neon.h" if build.MACHINE == "x86_64" else "x86.h"
ADAPTERS = {"dali", "ffcv", "timm", "torch", "torchvision"}
PUBLIC = {*dali_msda.__all__, *ADAPTERS, "commands", "loader_draws", "pipelines", "policy"}
PUBLIC |= {"puzzle", "comixup"}
# Importing dali_msda imports NumPy and nothing heavier.
LIGHT = {*sys.stdlib_module_names, "dali_msda", "numpy"}


def imported(nodes):
    """Modules and names that these statements import, as dotted names."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def part_of(path):
    """The folder of the package that a file lies in, or the name of the file."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def broken_imports(part, text):
    """What a file of this part of the package imports and may not."""
    allowed = {part, *MAY_IMPORT[part].split()}
    for name in imported(ast.walk(ast.parse(text))):
        top, *rest = name.split(".")
        if (top == "dali_msda" and rest[0] not in allowed) or top in {
            "bench",
            "pipelines",
            "tests",
        }:
            yield name


def broken_includes(folder, text):
    """What a file of this folder of the kernels includes and may not."""
    allowed = MAY_INCLUDE[folder].split()
    for name in re.findall(r'#include "(\S+)"', text):
        if not any(name == one or name.startswith(f"{one}/") for one in allowed):
            yield name


def modules(folder):
    paths = sorted(folder.rglob("*.py"))
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(folder)))


def sources(*folders):
    paths = [path for folder in folders for path in sorted(Path(folder).rglob("*.*[hcpu]"))]
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.name)


@modules(PACKAGE)
def test_imports_point_down(path):
    if path != PACKAGE / "__init__.py":  # which re-exports
        assert not list(broken_imports(part_of(path), path.read_text()))


def test_an_import_that_points_up_is_noticed():
    assert list(broken_imports("plan", "from dali_msda.ops import mask")) == ["dali_msda.ops.mask"]
    assert list(broken_imports("torch", "def f():\n    from dali_msda import ffcv"))
    assert list(broken_imports("policy", "import bench.run")) == ["bench.run"]
    assert not list(broken_imports("ops", "from dali_msda.backends import cpu"))


@modules(PACKAGE)
def test_heavy_imports_stand_inside_functions(path):
    if part_of(path) not in ADAPTERS:
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


@sources(build.KERNELS)
def test_includes_point_down(path):
    folder = path.relative_to(build.KERNELS).parent
    while str(folder) not in MAY_INCLUDE:
        folder = folder.parent
    text = path.read_text()
    assert not list(broken_includes(str(folder), text))
    system = set(re.findall(r"#include (<\S+>)", text))
    own = INTRINSICS.get(path.name, set())
    assert system <= SYSTEM.get(str(folder), system) | own
    assert not (system - own) & set().union(*INTRINSICS.values())
    if str(folder) == "msda" and path.name != "portable.h":
        assert not system


@sources(build.NATIVE)
def test_operators_call_the_kernels_by_their_c_interfaces(path):
    names = set(re.findall(r'#include "((?:cpu|cuda|msda)/\S+)"', path.read_text()))
    assert names <= OPERATORS_INCLUDE


def test_only_the_gpu_backend_calls_the_gpus_host():
    callers = {path.stem for path in PACKAGE.rglob("*.py") if "msda_gpu_" in path.read_text()}
    assert callers == {"cuda", "cuda_puzzle"}


def test_an_include_that_points_up_is_noticed():
    assert list(broken_includes("msda", '#include "cpu/api.h"')) == ["cpu/api.h"]
    assert list(broken_includes("cpu/simd", '#include "cpu/threads.h"')) == ["cpu/threads.h"]
    assert not list(broken_includes("cuda", '#include "msda/plan.h"'))


def warnings_of(source, flags, compiler="g++"):
    """What a compiler says about a source; an empty string if it compiles cleanly."""
    command = [compiler, *flags.split(), *build.include_flags("cpu"), "-Werror", "-fsyntax-only"]
    done = subprocess.run([*command, *source], capture_output=True, text=True)
    return done.stderr or f"exit code {done.returncode}" * bool(done.returncode)


HEADERS = [
    path for path in sorted(build.KERNELS.rglob("*.h")) if not path.name.endswith(OF_OTHER_MACHINES)
]


@pytest.mark.parametrize("path", HEADERS, ids=lambda path: path.name)
def test_header_compiles_alone(path):
    assert not warnings_of(["-x", "c++", "-include", str(path), "/dev/null"], build.KERNEL)


@pytest.mark.parametrize("unit", build.units("cpu"), ids=lambda u: f"{u.source.name}{u.flags[-6:]}")
def test_kernels_compile_without_warnings(unit):
    assert not warnings_of([str(unit.source)], unit.flags)


def test_kernels_for_aarch64_compile_without_warnings():
    compiler = "aarch64-linux-gnu-g++"
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler}: not found; run `apt-get install g++-aarch64-linux-gnu`")
    sources = [*(build.KERNELS / "cpu/simd").glob("*.cpp"), build.KERNELS / "cpu/isa.cpp"]
    (isa,) = build.ISAS_OF["aarch64"]
    assert not warnings_of(map(str, sources), f"{build.KERNEL} {isa}", compiler)
