"""Make a run folder's table as `unlearnbench leaderboard` does, and say what that took: `table_of.py FOLDER`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from figures import peak_bytes

from unlearnbench.leaderboard.reading import read_leaderboard
from unlearnbench.reports import text

board = read_leaderboard(Path(sys.argv[1]))
assert all(row.rank is not None or row.variant in ("none", *board.reference) for row in board.rows)
text.render([board], "markdown")
spent = {"cpu_seconds": time.process_time(), "peak_bytes": peak_bytes()}
print(json.dumps({**spent, "rows": len(board.rows), "pairs": len(board.pairs)}))
