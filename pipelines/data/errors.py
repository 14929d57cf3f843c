"""The error for files of a data set that cannot be used, and how messages list their names."""

from collections.abc import Sequence

SHOWN = 5  # names in an error message


class DatasetError(RuntimeError):
    """Files of the dataset that cannot be used. The text names them."""


def first_few(names: Sequence[str]) -> str:
    """The first few of several names, and how many more there are, for a message."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def quoted(names: Sequence[str]) -> str:
    """The same as :func:`first_few`, with each name in quotation marks."""
    return first_few([repr(name) for name in names])
