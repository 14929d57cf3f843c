"""``make dali-matrix``: the wheel with each release of DALI, in environments of their own.

The wheel of dist/ is installed there with NumPy and one DALI and, without a compiler, each use of
``dali_uses.py`` is tried. The table goes into the manual, and the exit code is 1 if it is not as it
ought to be. Each environment takes about 900 MB and is deleted again. What came of it is kept in
build/dali-matrix: with the same wheel, a run that was broken off goes on where it was.
"""

import argparse
import hashlib
import json
import sys
import zipfile
from pathlib import Path

from dali_msda.commands.manual import replaced
from tests.release.environments import Environment
from tests.release.releases import PACKAGES, VERSIONS
from tests.release.wheel import ROOT, newest

MANUAL = ROOT / "dali_msda/README.md"
USES = Path(__file__).with_name("dali_uses.py")
KEPT = ROOT / "build/dali-matrix"
TARGET = "make dali-matrix"
AS_IT_OUGHT_TO_BE = ("yes", "needs a GPU")


def tried(wheel: Path, version: str, cuda: int) -> dict[str, str]:
    """What becomes of each use with one release: "yes", or what was said."""
    kept = KEPT / f"{version}-cuda{cuda}-{key(wheel, version)}.json"
    if not kept.is_file():
        with Environment() as clean:
            clean.install("--no-compile", wheel, f"{PACKAGES[cuda]}=={version}")
            answer = clean.python(USES)
        KEPT.mkdir(parents=True, exist_ok=True)
        kept.write_text(answer.splitlines()[-1])
    return json.loads(kept.read_text())


def key(wheel: Path, version: str) -> str:
    """A key over all that is tried with one release: not the plugins of other ones."""
    digest = hashlib.sha256(USES.read_bytes())
    with zipfile.ZipFile(wheel) as content:
        for about in sorted(content.infolist(), key=lambda about: about.filename):
            name, is_plugin = about.filename, "/libmsda_dali-" in about.filename
            if name.startswith("dali_msda/") and (not is_plugin or f"-{version}-" in name):
                digest.update(f"{name} {about.CRC}\n".encode())
    return digest.hexdigest()[:16]


def table(results: dict[str, dict[int, dict[str, str]]]) -> str:
    """Rows of the manual, one for each release whose CUDA versions do alike."""
    uses = next(iter(next(iter(results.values())).values()))
    lines = [f"| DALI | CUDA | {' | '.join(uses)} |", "| --- " * (len(uses) + 2) + "|"]
    for version, by_cuda in results.items():
        alike: dict[tuple, list[str]] = {}
        for cuda, said in sorted(by_cuda.items()):
            alike.setdefault(tuple(said.values()), []).append(str(cuda))
        for said, cudas in alike.items():
            cells = [answer if answer in AS_IT_OUGHT_TO_BE else "no" for answer in said]
            lines.append(f"| {version} | {', '.join(cudas)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Tries all releases, or some of them without changing the manual."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dali", nargs="+", default=[], metavar="VERSION", help="only these")
    parser.add_argument("--cuda", nargs="+", type=int, default=sorted(PACKAGES), help="12, 13")
    some = parser.parse_args()
    wheel, results = newest(ROOT / "dist"), {}
    for version in some.dali or VERSIONS:
        for cuda in some.cuda:
            said = tried(wheel, version, cuda)
            results.setdefault(version, {})[cuda] = said
            print(f"DALI {version}, CUDA {cuda}:", flush=True)
            for use, answer in said.items():
                print(f"  {use}: {answer}", flush=True)
    if not some.dali and some.cuda == sorted(PACKAGES):
        MANUAL.write_text(replaced(MANUAL.read_text(), table(results), TARGET))
    unexpected = [
        f"DALI {version}, CUDA {cuda}: {use}: {answer}"
        for version, by_cuda in results.items()
        for cuda, said in by_cuda.items()
        for use, answer in said.items()
        if answer not in AS_IT_OUGHT_TO_BE
    ]
    print("\n".join(unexpected))
    return bool(unexpected)


if __name__ == "__main__":
    sys.exit(main())
