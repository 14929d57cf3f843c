"""What tests of several subjects share."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
