"""`make speed`: every ratio of this folder, or those that are named.

python tests/speed/run.py [NAME...]

A module `*_ratios.py` offers FIGURES: name -> a function that measures and reports it.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from figures import Unavailable  # noqa: E402 - the folder is no package


def main() -> int:
    """Measure; 2 for a name that does not exist."""
    figures = {}
    for file in sorted(HERE.glob("*_ratios.py")):
        figures |= importlib.import_module(file.stem).FIGURES
    wanted = sys.argv[1:] or list(figures)
    if unknown := [name for name in wanted if name not in figures]:
        print(f"There is no figure {unknown[0]}; there are: {', '.join(figures)}.", file=sys.stderr)
        return 2
    print(f"{os.cpu_count()} cores; processes in turn; median (smallest-largest)")
    for name in wanted:
        try:
            figures[name]()
        except Unavailable as reason:
            print(f"skipped {name}: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
