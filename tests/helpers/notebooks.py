"""Run a notebook's cells one after the other, as a kernel does, and show what each ends with."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any


def code_cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def run_cells(sources: list[str], name: str) -> list[Any]:
    """What the last expression of each cell is; None where it ends with a statement."""
    space: dict[str, Any] = {"__name__": "__main__"}
    ends: list[Any] = []
    for number, source in enumerate(sources):
        tree = ast.parse(source, f"{name}, cell {number}")
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"{name}, cell {number}", "exec"), space)
        code = None if last is None else compile(ast.Expression(last.value), f"{name}, cell {number}", "eval")
        ends.append(None if code is None else eval(code, space))
    return ends


def shown(value: Any) -> str:
    """As a notebook shows a value."""
    own = getattr(value, "_repr_html_", None)
    return own() if own else repr(value)
