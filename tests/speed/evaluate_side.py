"""Our side of the evaluation figures: the command `unlearnbench evaluate`, which prints its peak memory when it is done.

python tests/speed/evaluate_side.py ARGUMENT...
"""

from __future__ import annotations

import contextlib
import json
import sys

from figures import peak_bytes

from unlearnbench.cli import main

sys.argv = ["unlearnbench", "evaluate", *sys.argv[1:]]
with contextlib.suppress(SystemExit):
    main()
print(json.dumps({"peak_bytes": peak_bytes()}))
