"""Measures, lists, compares and reports.

python -m bench [-k TEXT] [--quick | --all] [--device cuda] [--out FILE]
python -m bench list [-k TEXT] [--quick | --all] [--device cuda]
python -m bench compare OLD.jsonl NEW.jsonl
python -m bench report [FILE ...]
python -m bench papers
python -m bench accuracy
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import cases, compare, records, report, run
from bench.peers import released
from bench.studies import command
from bench.studies import report as studies
from bench.timing import REPEATS

COMMANDS = ("run", "list", "compare", "report", *command.STUDIES)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 1 if a case failed or an argument is wrong."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] not in (*COMMANDS, "-h", "--help"):
        argv.insert(0, "run")
    args = _parser().parse_args(argv)
    try:
        return args.run(args)
    except (OSError, ValueError) as error:
        print(f"bench {args.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    measure = commands.add_parser("run", help="measure; the default")
    names = commands.add_parser("list", help="names of the cases")
    for each in (measure, names):
        each.add_argument("-k", default="", metavar="TEXT", help="cases with all these words")
        level = each.add_mutually_exclusive_group()
        level.add_argument("--quick", dest="level", action="store_const", const="quick")
        level.add_argument("--all", dest="level", action="store_const", const="all")
        each.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
        each.set_defaults(level="default")
    measure.add_argument("--repeats", type=int, default=REPEATS, help="turns (default 15)")
    measure.add_argument("--out", type=Path, metavar="FILE", help="append the lines to it")
    measure.add_argument(
        "--fmix-repo", type=Path, action="append", default=[], metavar="DIR",
        help="a checkout of the authors' FMix, or of their HMix and GMix; may come twice",
    )  # fmt: skip
    measure.add_argument(
        "--puzzlemix-repo", type=Path, metavar="DIR", help="a checkout of the authors' Puzzle Mix"
    )
    measure.add_argument(
        "--comixup-repo", type=Path, metavar="DIR", help="a checkout of the authors' Co-Mixup"
    )
    measure.set_defaults(run=_measure)
    names.set_defaults(run=_list)
    both = commands.add_parser("compare", help="ratios of two files, and what is beyond noise")
    both.add_argument("old", type=Path)
    both.add_argument("new", type=Path)
    both.set_defaults(run=_compare)
    written = commands.add_parser("report", help="REPORT.md, figures, and the README's part")
    written.add_argument("files", type=Path, nargs="*", help="lines (default: bench/results)")
    written.add_argument("--folder", type=Path, default=records.RESULTS, help="where to write")
    written.add_argument("--readme", type=Path, help="its generated part is rewritten")
    written.set_defaults(run=_report)
    for name, what in command.STUDIES.items():
        study = commands.add_parser(name, help=what)
        study.add_argument("--folder", type=Path, default=records.RESULTS, help="where to write")
        study.set_defaults(run=_study)
    return parser


def _list(args: argparse.Namespace) -> int:
    for case in cases.select(args.k, args.level, args.device):
        print(case.name)
    return 0


def _measure(args: argparse.Namespace) -> int:
    if args.repeats < 1:
        raise ValueError(f"--repeats: expected at least 1, got {args.repeats}")
    for folder in args.fmix_repo:
        if not any((folder / name).is_file() for name in ("fmix.py", "mixup.py")):
            raise ValueError(f"--fmix-repo: expected a folder with fmix.py or mixup.py: {folder}")
    checkouts = list(args.fmix_repo)
    for option, folder, file, what in (
        ("--puzzlemix-repo", args.puzzlemix_repo, "mixup.py", "graphcut_multi"),
        ("--comixup-repo", args.comixup_repo, "match.py", "get_onehot_matrix"),
    ):
        if folder is None:
            continue
        if not released.defines(folder / file, what):
            raise ValueError(f"{option}: expected a folder with its {file}: {folder}")
        checkouts.append(folder)
    released.CHECKOUTS[:] = [folder.resolve() for folder in checkouts]
    chosen, failed = cases.select(args.k, args.level, args.device), 0
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
    for case, made in zip(chosen, run.run(chosen, args.repeats), strict=True):
        print(f"{case.name}: {summary(made)}" if args.out else json.dumps(made), flush=True)
        if args.out:
            with args.out.open("a") as file:
                file.write(json.dumps(made) + "\n")
        failed += "failed" in made
    return int(failed > 0)


def summary(made: dict) -> str:
    """A line in a few words."""
    for reason in ("skipped", "failed"):
        if reason in made:
            return f"{reason}: {made[reason]}"
    words = [f"{made['ms']:g} ms +- {made['spread']:.0%}", f"{made['per_s']:g} {made['unit']}/s"]
    if "share" in made:
        words.append(f"{made['share']:.0%} of a copy")
    words += [f"{name} {other['times']:.3g} times" for name, other in made["others"].items()]
    words += [f"{name} {value}" for name, value in made["figures"].items()]
    return ", ".join(words)


def _compare(args: argparse.Namespace) -> int:
    print(compare.table(records.read(args.old), records.read(args.new)))
    return 0


def _report(args: argparse.Namespace) -> int:
    apart = sorted(records.RESULTS.glob("cpu-*.jsonl"))  # of other processors
    own = [file for file in (records.CPU_FILE, records.GPU_FILE) if file.exists()]
    files = args.files or own + apart * bool(own)
    if not files:
        raise ValueError(f"no lines in {records.RESULTS}: `make bench` measures")
    for path in report.write(records.read(*files), args.folder, args.readme):
        print(path)
    if not args.files:
        for path in studies.write(records.RESULTS, args.folder):
            print(path)
    return 0


def _study(args: argparse.Namespace) -> int:
    for path in command.run(args.command, args.folder):
        print(path)
    return 0


if __name__ == "__main__":
    if not run.STREAMING.keys() <= os.environ.keys():  # it takes effect when a process starts
        os.execve(sys.executable, sys.orig_argv, os.environ | run.STREAMING)
    sys.exit(main())
