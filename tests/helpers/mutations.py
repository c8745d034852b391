"""Random damage to small valid inputs: to their bytes, or to what they mean."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path as Folder
from typing import Any, NamedTuple, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from unlearnbench.errors import CombinedUsageError, UnlearnbenchError

Result = TypeVar("Result")

# what means something to a reader of JSON, CSV, YAML or text, and what none of them expects
PIECES = (
    *(bytes([byte]) for byte in b"\"'\\,;:\t\n\r\0\x0c\x1b{}[]#&*!|>-?%@`=0189aAZ"),
    *(b'""', b"\r\n", b"\n\n", b"\\u0000", b"\\ud83d", b"\\n", b"null", b"true", b"NaN", b"-1", b"1e999", b"[[", b": ", b"- "),
    *(b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xc2\x85", b"\xc2\xa0", b"\xc3\xa9", b"\xed\xa0\xbd", b"\xe4"),
    *(b"9" * 5000, b"[" * 3000, b'{"a":' * 3000),
)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252", "cp037")
NEWLINES = ("\n", "\r\n", "\r")
OTHERS: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    7,
    1.5,
    float("nan"),
    float("inf"),
    10**30,
    "",
    " ",
    "x",
    "1",
    "é\u2028",
    "\0",
)
SHAPES: tuple[Any, ...] = ([], {}, [None], ["x"], [["x"]], {"a": 1}, {"": None}, [1, "x"], [{}])


def profile(examples: int, one_in: int = 1) -> Callable[..., Any]:
    """A test's settings: so many mutations, always the same ones; `EXAMPLES` of the environment: another number, at random.

    Args:
        examples: mutations without `EXAMPLES`, and at least so many with it.
        one_in: how many of `EXAMPLES` stand for one mutation, where each starts a whole command.
    """
    wanted = os.environ.get("EXAMPLES")
    return settings(
        max_examples=max(int(wanted) // one_in, examples if one_in > 1 else 1) if wanted else examples,
        derandomize=wanted is None,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def said(action: Callable[[], Result], folder: Folder) -> Result | str:
    """What the action returns, or the one sentence with which it refuses; either way the folder has the files it had."""
    there = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    try:
        result: Result | str = action()
    except UnlearnbenchError as error:
        result = str(error)
        sentences = error.problems if isinstance(error, CombinedUsageError) else [result]
        for sentence in sentences:
            assert sentence.endswith((".", "?")), sentence
            assert sentence.isprintable(), repr(sentence)
            assert "Traceback" not in sentence
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == there
    return result


class Bytes(NamedTuple):
    """Content of which the stretch from `start` to `end` is another."""

    content: bytes
    start: int
    end: int

    def __repr__(self) -> str:
        return f"damage from {self.start} to {self.end}: {self.content[max(self.start - 40, 0) : self.start + 60]!r}"


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> Bytes:
    """A bit flipped, something deleted, inserted or written twice, or the end cut off."""
    size = len(content)
    start = draw(st.integers(0, size - 1))
    some = st.integers(1, 40).map(lambda length: min(start + length, size))
    kind = draw(st.sampled_from(("flip", "delete", "insert", "replace", "repeat", "move", "cut")))
    end, new = start, b""
    if kind == "flip":
        end, new = start + 1, bytes([content[start] ^ 1 << draw(st.integers(0, 7))])
    elif kind == "delete":
        end = draw(some)
    elif kind == "cut":
        end = size
    elif kind == "repeat":
        new = content[start : draw(some)]
    elif kind == "move":
        place = draw(st.integers(0, size - 1))
        new = content[place : place + draw(st.integers(1, 40))]
    else:
        end, new = start if kind == "insert" else draw(some), draw(st.sampled_from(PIECES))
    return Bytes(content[:start] + new + content[end:], start, end)


Path = tuple[Any, ...]  # of keys and indices, from the outermost value to one inside it


class Meaning(NamedTuple):
    """A value that is another at `path`, and what was done there."""

    value: Any
    path: Path
    kind: str

    def __repr__(self) -> str:
        return f"{self.kind} at {self.path}: {str(at(self.value, self.path[:-1]))[:300]}"


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every place in a nested value but the outermost."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, own in inner:
        yield (*path, step)
        yield from places(own, (*path, step))


def at(value: Any, path: Path) -> Any:
    """What stands at a place."""
    for step in path:
        value = value[step]
    return value


@st.composite
def misshapen(draw: st.DrawFn, value: Any, within: Sequence[Path] | None = None) -> Meaning:
    """A key or entry dropped, renamed, repeated, of another type, null, nested deeper or in another order."""
    changed = copy.deepcopy(value)
    path = draw(st.sampled_from(list(places(value)) if within is None else list(within)))
    holder, step = at(changed, path[:-1]), path[-1]
    kind = draw(st.sampled_from(("drop", "rename", "null", "retype", "nest", "reorder", "repeat")))
    if kind == "drop":
        del holder[step]
    elif kind == "rename" and isinstance(holder, dict):
        name = draw(st.sampled_from((f"{step}s", str(step)[:-1], str(step).upper(), "", " ", "x", f" {step}", "é", "text")))
        own = holder.pop(step)
        holder[name] = own
    elif kind == "null":
        holder[step] = None
    elif kind == "nest":
        holder[step] = draw(st.sampled_from(([holder[step]], {"x": holder[step]}, {step: holder[step]})))
    elif kind == "reorder":
        turned = list(reversed(holder.items() if isinstance(holder, dict) else holder))
        holder.clear()
        holder.update(turned) if isinstance(holder, dict) else holder.extend(turned)
    elif kind == "repeat" and isinstance(holder, list):
        holder.insert(step, copy.deepcopy(holder[step]))
    else:
        holder[step] = copy.deepcopy(draw(st.sampled_from((*OTHERS, *SHAPES))))
        kind = "retype"
    return Meaning(changed, path, kind)


def is_another_model(before: Any, after: Any) -> bool:
    """Whether settings are a model's that somebody may have meant: no reader can know of the damage.

    They have other values of the same kind, or lack outermost keys: models that older versions of transformers or PEFT saved
    lack many, and have others that only their authors know. A key that is still to be recognised is no such case.
    """
    if not isinstance(before, dict) or not isinstance(after, dict):
        return False
    gone = {name for name in before if after.get(name) is None}
    return all(same_kind(before[name], after[name]) for name in before.keys() - gone) and not any(
        recognisable(new, name) for new in after.keys() - before.keys() for name in gone
    )


def same_kind(before: Any, after: Any) -> bool:
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(same_kind(before[name], after[name]) for name in before)
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(same_kind, before, after))
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in (before, after)]
    return before == after or all(numbers) or (type(before) is type(after) and not isinstance(before, dict | list))


def recognisable(new: str, old: str) -> bool:
    """Whether a name is another one with a letter more or less, with other capitals, or with spaces around it."""
    one, other = sorted((new.strip().casefold(), old.casefold()), key=len)
    return one == other or any(one == other[:place] + other[place + 1 :] for place in range(len(other)))
