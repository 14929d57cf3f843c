"""Environments of their own, in which no compiler is found, and which leave nothing behind."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path


class Environment:
    """A virtual environment that is there within a ``with`` block.

    What runs in it finds no program but its own, and keeps nothing in the user's cache.
    """

    def __enter__(self) -> "Environment":
        self._scratch = tempfile.TemporaryDirectory(prefix="dali_msda-")
        self.folder = Path(self._scratch.name)
        self.downloads = self.folder / "downloads"
        command = [sys.executable, "-m", "venv", "--without-pip", self.folder / "venv"]
        subprocess.run(command, check=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._scratch.cleanup()

    @property
    def _bin(self) -> Path:
        return self.folder / "venv/bin"

    def download(self, *packages: object) -> None:
        """Fetches packages, from where :meth:`install` takes them."""
        self._pip("download", "--dest", self.downloads, *packages)

    def install(self, *what: object) -> None:
        """Runs ``pip install``."""
        self._pip("install", "--find-links", self.downloads, *what)

    def _pip(self, command: str, *arguments: object) -> None:
        how = "-q --no-cache-dir --only-binary :all:".split()
        pip = [sys.executable, "-m", "pip", "--python", self._bin / "python"]
        pip += [command, *how, *arguments]
        done = subprocess.run([*map(str, pip)], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"pip {command} failed:\n{done.stderr}")

    def python(self, script: Path, *arguments: str) -> str:
        """What a script prints.

        Raises:
            RuntimeError: If it fails, with what it said.
        """
        clean = {"PATH": str(self._bin), "XDG_CACHE_HOME": str(self.folder / "cache")}
        keep = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        command = [self._bin / "python", "-I", script, *arguments]
        done = subprocess.run(
            [*map(str, command)], capture_output=True, text=True, env=clean | keep, cwd=self.folder
        )
        if done.returncode:
            raise RuntimeError(f"{script.name} {' '.join(arguments)} failed:\n{done.stderr}")
        return done.stdout.strip()
