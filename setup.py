"""Puts the compiled libraries into the wheel; all else about the package: pyproject.toml.

Always the kernels' library; DALI's plugin if DALI and the headers to compile it with are there.

DALI_MSDA_DALIS="folder:folder" names folders with an installed DALI each, of several versions: the
wheel then holds a plugin for each of them.

DALI_MSDA_ARCHS="sm_90 compute_90" also puts the GPU's kernels into it, compiled into these kinds of
code by the NVRTC of the Python that runs this.
"""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

build = runpy.run_path("dali_msda/build.py")


class BuildPy(build_py):
    """Copies the package and compiles its libraries beside it."""

    def run(self):
        if self.editable_mode:  # a checkout compiles them at first use
            return super().run()
        package = Path(self.build_lib, "dali_msda")
        shutil.rmtree(package, ignore_errors=True)  # files of an older build would be shipped too
        super().run()
        build["compile_into"](package / "_lib", "cpu")
        self.compile_plugins(package / "_lib")
        if kinds := os.environ.get("DALI_MSDA_ARCHS", "").split():
            command = [sys.executable, "-m", "dali_msda.backends.packs", package / "_lib", *kinds]
            subprocess.run(command, check=True)

    def compile_plugins(self, lib):
        if folders := os.environ.get("DALI_MSDA_DALIS"):
            for folder in folders.split(os.pathsep):
                sys.path.insert(0, folder)
                build["compile_into"](lib, "dali")
                sys.path.remove(folder)
            return
        try:
            build["include_flags"]("dali")
        except (ImportError, RuntimeError) as error:
            sys.stderr.write(f"DALI's plugin is compiled when it is first used: {error}\n")
        else:
            build["compile_into"](lib, "dali")


class BdistWheel(bdist_wheel):
    """One wheel for every Python: the libraries know nothing of it."""

    def get_tag(self):
        return "py3", "none", f"linux_{build['MACHINE']}"


class PlatformDistribution(Distribution):
    """A package that holds machine code, though no extension module."""

    def has_ext_modules(self):
        return True


setup(distclass=PlatformDistribution, cmdclass={"build_py": BuildPy, "bdist_wheel": BdistWheel})
