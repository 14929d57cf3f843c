"""Checks and measures the GPU of this machine, in one call of a few minutes.

python -m bench.card [--out FILE] [--seconds 480] [-k TEXT]
python -m bench.card --list
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.card import about, runner
from bench.card.parts import PARTS
from bench.records import RESULTS

SECONDS = 470  # of eight minutes; the rest is for starting and ending
NO_GPU = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the parts; returns 0 if all passed, 1 if one did not, 2 if there is no GPU."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.card",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--list", action="store_true", help="print the parts and their limits")
    parser.add_argument("--out", type=Path, metavar="FILE", help="instead of bench/results/<card>")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all parts together")
    parser.add_argument("-k", default="", metavar="TEXT", help="parts with this text in their name")
    args = parser.parse_args(argv)
    parts = [part for part in PARTS if args.k in part.name]
    if args.list:
        for part in parts:
            print(f"{part.name:28} {part.seconds:4} s  {' '.join((*part.under, *part.module))}")
        return 0
    try:
        told = about.everything()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return NO_GPU
    return measure(parts, told, args.out, args.seconds)


def measure(parts: list, told: dict, out: Path | None, seconds: float) -> int:
    """Runs parts on the card that was found, and ends with the table."""
    from bench.card import prebuilt

    begun = time.monotonic()
    card = told["machine"]
    print(f"{card['gpu']}, {card['arch']}, driver {card['driver']}, commit {told['commit']}")
    print(prebuilt.install(), flush=True)
    file = out or RESULTS / about.file_name(card["gpu"])
    left = seconds - (time.monotonic() - begun)
    results = runner.Results(file, told)
    outcomes = runner.run(parts, results, left)
    print(f"\n{'part':28} {'outcome':10} {'time':>8}  about")
    for outcome in outcomes:
        print(runner.row(outcome))
    print(f"{time.monotonic() - begun:.0f} s in all; lines in {file}")
    return int(any(outcome.outcome != runner.PASSED for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
