"""Hashes of the code that an identity covers: a plugin's source, and the core's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from unlearnbench.plugins.sources import own_sources

PACKAGE = Path(__file__).parents[1]
# rooms, and single files of others, whose code decides a number: their bytes are part of the identity of what they decide
KIT = ("data", "models", "scoring", "system/process_state.py")  # methods reach scoring, too: ELM has the model write on
SCORING = (*KIT, "execution/cell.py")
TRAINING = (*KIT, "training", "execution/fit.py", "execution/derived.py", "execution/noise.py")
INTERIM = ("execution/interim_scores.py", "leaderboard/shares.py")  # choose weights, but only where a training is looked at
ATTACKS = ("robustness", "execution/attack_job.py")  # beside SCORING: part of attacked cells, and of no others
PLUGINS = ("plugins", "records/base.py", "records/search_space.py")  # read a plugin's options off its signature
# how a judge elsewhere is reached; what it is asked and how its words are read is decided by the others
TRANSPORT = ("scoring/judging/api_calls.py", "scoring/judging/remote.py")


@cache
def source_hash(module: str) -> str:
    """Return the sha256 over a module and what it imports from its own top-level package; nothing of it is executed.

    The core is not followed from a plugin: `training_hash` and `scoring_hash` stand for it.
    """
    hashed = {name: hashlib.sha256(content).hexdigest() for name, _, content in own_sources(module)}
    return hashlib.sha256(repr(sorted(hashed.items())).encode()).hexdigest()


def training_hash() -> str:
    """Return the sha256 over the core's code that decides unlearned weights."""
    return _hash_of(TRAINING)


def scoring_hash() -> str:
    """Return the sha256 over the core's code that decides scores of given weights."""
    return _hash_of(SCORING)


def interim_hash() -> str:
    """Return the sha256 over the code that decides which weights of a training are kept, beside the code that trains and
    scores.
    """
    return _hash_of(INTERIM)


def attack_hash() -> str:
    """Return the sha256 over the core's code that carries attacks out, beside the code that scores and that which trains."""
    return _hash_of((*TRAINING, *SCORING, *ATTACKS))


def options_hash() -> str:
    """Return the sha256 over the core's code that reads a plugin's options."""
    return _hash_of(PLUGINS)


def package_hash() -> str:
    """Return the sha256 over all of the core's code: for results that may depend on any of it and decide no number."""
    return _hash_of(("",))


@cache
def _hash_of(places: tuple[str, ...]) -> str:
    """Return the sha256 over the names and bytes of these files, and of all files in these folders."""
    total = hashlib.sha256()
    for file in covered(places):
        total.update(f"{file}\0".encode())
        total.update(hashlib.sha256((PACKAGE / file).read_bytes()).digest())
    return total.hexdigest()


def covered(places: Iterable[str]) -> list[str]:
    """Return the files of the package below these places, data of the code among them, sorted, without the transport code."""
    found: set[str] = set()
    for place in places:
        path = PACKAGE / place
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        found |= {file.relative_to(PACKAGE).as_posix() for file in files}
    return sorted(name for name in found if not name.startswith("sandbox/") and _is_source(name) and name not in TRANSPORT)


def _is_source(name: str) -> bool:
    """Return whether a file belongs to the package, and is not a leftover of Python or an editor."""
    return name.endswith((".py", ".jsonl", ".yaml")) and not any(part.startswith(".") for part in name.split("/"))
