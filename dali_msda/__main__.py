"""``python -m dali_msda``."""

import sys

from dali_msda.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
