"""Runs the cases of all loaders: ``python -m bench.suites.loaders``."""

import sys

from bench.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["-k", "loaders", *sys.argv[1:]]))
