"""Hashes of the code that an identity covers: a plugin's own source, and the core's."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path

# the core modules whose code decides a number; their bytes are part of every identity
NUMERIC_MODULES = (
    "models/lora",
    "data/batches",
    "scoring/benchmark",
    "scoring/generation/chat",
    "scoring/choice/log_likelihood",
    "execution/noise",
    "scoring/generation/slots",
    "scoring/generation/dialogues",
    "scoring/fluency",
    "models/forward",
    "scoring/generation/generate",
    "models/head",
    "training/shared_forward",
    "execution/job",
    "scoring/judging/judgment",
    "scoring/judging/local",
    "scoring/judging/panel",
    "scoring/judging/prompts",
    "models/restorable",
    "execution/interim_scores",
    "training/losses",
    "training/method",
    "models/loading",
    "training/optimizers",
    "scoring/choice/packing",
    "training/microbatches",
    "scoring/choice/prompts",
    "scoring/choice/rows",
    "training/frozen_base",
    "training/representations",
    "training/retain_term",
    "training/saliency",
    "scoring/generation/seeded_draw",
    "data/tables",
    "models/tensors",
    "execution/fit",
    "scoring/choice/prefix_trees",
    "system/process_state",
)


@cache
def source_hash(module: str) -> str:
    """sha256 over a module and what it imports from its own top-level package; nothing of it is executed.

    The core is not followed from a plugin: `core_hash` stands for it.
    """
    hashed: dict[str, str] = {}
    top = module.partition(".")[0]
    waiting = [module.partition(":")[0]]
    while waiting:
        name = waiting.pop()
        file = _file_of(name)
        if name in hashed or file is None:
            continue
        content = file.read_bytes()
        hashed[name] = hashlib.sha256(content).hexdigest()
        waiting += [imported for imported in _imports(content, name, file) if imported.partition(".")[0] == top]
    return hashlib.sha256(repr(sorted(hashed.items())).encode()).hexdigest()


@cache
def core_hash() -> str:
    """sha256 over the modules of the core that decide a number."""
    files = [Path(__file__).parents[1] / f"{name}.py" for name in NUMERIC_MODULES]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def _file_of(module: str) -> Path | None:
    """A module's source, found without executing the packages above it, as `importlib.util.find_spec` would."""
    found: ModuleSpec | None = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        folders = found.submodule_search_locations if found else None
        found = next((spec for finder in sys.meta_path if (spec := finder.find_spec(name, folders)) is not None), None)
        if found is None:
            return None
    return Path(found.origin) if found and found.origin and found.origin.endswith(".py") else None


def _imports(content: bytes, module: str, file: Path) -> Iterator[str]:
    """Modules a source file may import: each `import a.b`, and for `from a import b` both `a` and `a.b`."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
