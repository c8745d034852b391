"""Whether two run folders hold the same results: `python tests/compatibility/same_results.py OLD NEW`.

For a change that is not meant to change numbers: run the same recipe before and after it, and compare. The table and the items
behind it must be equal to the byte; what is left out is said to be other: identities and hashes of source, what a row cost,
versions and dates. Only the standard library is needed, so that a folder of any version can be read. Exit code 1 where
something differs.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OTHER = {"hash", "cost"}  # of a row of leaderboard.json: the identity of its weights, and seconds and bytes
OF_CELL = ("status", "error", "metric", "value", "n", "asked", "missing", "partial", "figures", "truncated", "parts", "groups")


def differences(old: Path, new: Path) -> Iterator[str]:
    """What two folders disagree in, a line each."""
    boards = [json.loads((folder / "leaderboard.json").read_text(encoding="utf-8")) for folder in (old, new)]
    yield from _differ("leaderboard.json", *(_table(board) for board in boards))
    cells = [_cells(folder) for folder in (old, new)]
    for name in sorted(cells[0].keys() ^ cells[1].keys()):
        yield f"{name} is a cell of {old if name in cells[0] else new} only"
    for name in sorted(cells[0].keys() & cells[1].keys()):
        yield from _differ(name, *(own[name] for own in cells))


def _table(board: dict[str, Any]) -> dict[str, Any]:
    rows = [{key: value for key, value in row.items() if key not in OTHER} for row in board["rows"]]
    return {**board, "rows": rows}


def _cells(folder: Path) -> dict[str, dict[str, Any]]:
    """What each cell of the folder's plan says, and the hash of its items, by its name."""
    kept: dict[tuple[str, str], Path] = {}
    for path in (folder / "cells").rglob("seed-*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        kept["{variant}/{benchmark}/{seed}".format(**record["key"]), record["identity"]] = path
    found: dict[str, dict[str, Any]] = {}
    for row in json.loads((folder / "plan.json").read_text(encoding="utf-8"))["rows"]:
        for name, identity in row["cells"].items():
            if (path := kept.get((name, identity))) is None:
                continue
            record, items = json.loads(path.read_text(encoding="utf-8")), path.with_suffix(".items.parquet")
            found[name] = {key: record[key] for key in OF_CELL if key in record}
            found[name]["items"] = hashlib.sha256(items.read_bytes()).hexdigest() if items.is_file() else None
    return found


def _differ(place: str, old: Any, new: Any) -> Iterator[str]:
    """Where two values read from JSON differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _differ(f"{place} {key}", old.get(key, "absent"), new.get(key, "absent"))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _differ(f"{place}[{number}]", one, other)
    elif json.dumps(old) != json.dumps(new):
        yield f"{place}: {json.dumps(old)[:200]} became {json.dumps(new)[:200]}"


def main() -> int:
    """Compare the two folders that are named, and say in what they differ."""
    if len(sys.argv) != 3 or not all((Path(name) / "leaderboard.json").is_file() for name in sys.argv[1:]):
        print("Name two run folders, each with a leaderboard.json: same_results.py OLD NEW.", file=sys.stderr)
        return 2
    old, new = map(Path, sys.argv[1:])
    found = list(differences(old, new))
    print("\n".join(found) or f"the same results, to the byte: {len(_cells(old))} cells, {old} and {new}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
