"""The command line, ``python -m dali_msda``."""

import argparse
import importlib
import sys
from collections.abc import Sequence

# Each command is a module with `add_arguments(parser)` and `main(args)`, imported when asked for.
COMMANDS = {
    "build": (
        "dali_msda.commands.build",
        "Compile the CPU backend, the DALI operators and, with --arch, the GPU's kernels",
    ),
    "doctor": (
        "dali_msda.commands.doctor",
        "Say what is installed, what is missing and what to do about it",
    ),
    "preview": ("dali_msda.commands.preview", "Draw a contact sheet of mixed images from a folder"),
    "selfcheck": (
        "dali_msda.selfcheck.command",
        "Compare draws of the kernels with the papers' formulas",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Arguments, by default those of the process.

    Returns:
        The exit code: 0, or 1 after a failure that the user can mend, told in one message on
        stderr. Wrong usage exits with 2.
    """
    argv = sys.argv[1:] if argv is None else argv
    args = _parser(argv).parse_args(argv)
    try:
        args.run(args)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"dali_msda {args.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dali_msda",
        description="Mixed-sample data augmentation inside the data loader.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary}.")
        if name in argv[:1]:
            implementation = importlib.import_module(module)
            implementation.add_arguments(command)
            command.set_defaults(run=implementation.main)
    return parser
