"""What the recipes share and people's own scripts have: their arguments."""

import argparse
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path


def of(train: Callable[..., float]) -> Callable[..., float]:
    """A command that trains: it takes a folder, and the other arguments as options.

    Args:
        train: Takes the folder, then arguments with defaults, and returns the last loss.

    Returns:
        The command, a function of the command line's arguments.
    """

    def main(argv: Sequence[str] | None = None) -> float:
        parser = argparse.ArgumentParser(description=inspect.getmodule(train).__doc__)
        parser.add_argument("folder", type=Path, help="with train/, a folder for each class")
        for name, argument in list(inspect.signature(train).parameters.items())[1:]:
            kind, default = type(argument.default), argument.default
            parser.add_argument(f"--{name}", type=kind, default=default, help=f"{default}")
        loss = train(**vars(parser.parse_args(argv)))
        print(f"loss {loss:.4f}")
        return loss

    return main
