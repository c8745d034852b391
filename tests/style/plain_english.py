"""Finds docstring lines that a reader has to read twice, and names that say nothing (`make lint`).

Four rules, each decided by the lists below:

- A summary, the first line of a docstring, does not open with a question word or a finite verb ("Whether it fits", "Says
  which"): it is an imperative or names what is returned.
- A line of an `Args:` or `Attributes:` section, and a string below an attribute, opens with a noun phrase. It is a fragment
  where it opens with a question word, a conjunction, a preposition, a pronoun, an adverb or a verb.
- The `help=` of an option of the command line opens with a noun phrase or an imperative.
- Nothing is called `one`, `own`, `said` or `told`: a name is what the thing is.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PLACES = ("unlearnbench", "methods", "benchmarks", "attacks", "examples")
NAMES = frozenset({"one", "own", "said", "told"})


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


QUESTIONS = _words(
    "what whatever whether how however where wherever who whom whose whoever which whichever why when whenever if as"
)
CONJUNCTIONS = _words("and or but nor so than that though although unless until till while because since whereas")
PREPOSITIONS = _words(
    """about above after against along among around at before behind below beneath beside besides between beyond by despite
    during except for from in inside instead into like likewise near of off on onto outside over per through throughout to
    toward towards under upon via with within without"""
)
PRONOUNS = _words("it they he she we you i there somebody someone nobody anybody everybody")
ADVERBS = _words(
    """again also already always else even here just never not once only otherwise rather still then therefore thus together
    too yet"""
)
FINITE = _words("is are was were be been has have had does do did must may might can could shall should will would gets goes")
PARTICIPLES = _words(
    """been begun bound broken built chosen cut done drawn driven fed found given gone held hidden kept known laid left lost
    made meant met paid put read run seen sent set shown split spent sought taken taught thrown told understood written"""
)
IMPERATIVES = _words(
    """add allow apply ask average call check choose compute count cut divide draw drop fit give go hold ignore keep leave
    let load look make measure name pass print put read refuse remove report reset return run save say score set show skip
    start step stop take tell think train try turn use write"""
)
DETERMINERS = _words(  # without that, who and where: "bytes that a text takes" is a noun phrase
    """a an the all any both each either every its it them their this these those whether what how which no one nothing
    only"""
)
AFTER_PARTICIPLE = PREPOSITIONS | QUESTIONS | CONJUNCTIONS | ADVERBS | {"and", "or", "", "up", "out", "down", "back", "anyway"}
LOST = QUESTIONS | CONJUNCTIONS | PREPOSITIONS | PRONOUNS | ADVERBS  # no noun phrase and no imperative begins with one
SECTIONS = ("Args:", "Attributes:")
ENTRY = re.compile(r"^    (\*{0,2}\w+(?:, \*{0,2}\w+)*): *(.*)$")
WORD = re.compile(r"[A-Za-z']+(?:-[A-Za-z]+)*")


class Finding(NamedTuple):
    """A line that breaks a rule.

    Attributes:
        path: file.
        line: line of the file, from 1.
        rule: `summary`, `attribute`, `help` or `name`.
        text: the line, or the name.
    """

    path: str
    line: int
    rule: str
    text: str


def opening(text: str) -> list[str]:
    """Return the first two words in lower case, each up to the next punctuation; `''` stands for punctuation.

    Code, numbers and intervals count as a noun: "`auto` when" opens with `code`.
    """
    text = re.sub(r"``?[^`]*``?|\[[^]]*\]|\([^)]*\)|\d[\w.]*", " code ", text.strip())
    return [found.lower() if WORD.fullmatch(found) else "" for found in re.findall(r"[A-Za-z'-]+|[,;:.]", text)][:2]


def is_verb(first: str, second: str) -> bool:
    """Tell a verb at the beginning from a noun or adjective: by list, or by ending and the word that follows."""
    if first in FINITE:
        return True
    if first in PARTICIPLES:
        return second in AFTER_PARTICIPLE - {"of", "that"}  # "split of a set" is a noun phrase
    if re.fullmatch(r"\w{2,}ed", first):
        return second in AFTER_PARTICIPLE and first not in {"seed", "need", "speed"}
    if first in IMPERATIVES or re.fullmatch(r"\w{2,}(?:[^s]s|ing)", first):
        return second in DETERMINERS
    return False


def is_fragment(text: str) -> bool:
    """True where the description of an attribute or argument is not a noun phrase."""
    first, second, *_ = [*opening(text), "", ""]
    if first in {"at", "up"} and second in {"most", "least", "to"}:  # a quantity
        return False
    if first in LOST:
        return True
    return is_verb(first, second)


def is_odd_summary(text: str) -> bool:
    """True where a summary opens with a question word, a pronoun or a finite verb."""
    first, second, *_ = [*opening(text), "", ""]
    if first in QUESTIONS | {"somebody", "someone", "nobody"} | FINITE - {"do", "have", "be", "can"}:
        return True
    return re.fullmatch(r"\w{2,}[^s']s", first) is not None and second in DETERMINERS


def entries(docstring: str) -> Iterator[tuple[int, str]]:
    """Yield (line within the cleaned docstring from 0, description) of each entry of `Args:` and `Attributes:`."""
    section = False
    for number, line in enumerate(docstring.splitlines()):
        if line and not line.startswith(" "):
            section = line in SECTIONS
        elif section and (found := ENTRY.match(line)):
            yield number, found[2]


def _documented(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line of the opening quotes, cleaned docstring) of the module and of every class and function in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text


def _below_attributes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of the strings that stand below an assignment."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for before, after in itertools.pairwise(body) if isinstance(body, list) else ():
            if (
                isinstance(before, ast.Assign | ast.AnnAssign)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                yield after.lineno, inspect.cleandoc(after.value.value)


def _helps(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each `help=` that is a plain string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "help" and isinstance(node.value, ast.Constant):
            yield node.value.lineno, str(node.value.value)


def _names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, name) of everything that is given a name: variables, parameters, attributes, functions, aliases."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.alias) and node.asname:
            yield node.lineno, node.asname
        elif isinstance(node, ast.MatchAs | ast.MatchStar | ast.ExceptHandler) and node.name:
            yield node.lineno, node.name


def findings(source: str, path: str) -> list[Finding]:
    """Return what breaks the rules in one file, by line."""
    tree = ast.parse(source)
    found: list[Finding] = []
    for start, text in _documented(tree):
        summary = text.splitlines()[0]
        if summary not in SECTIONS and is_odd_summary(summary):
            found.append(Finding(path, start, "summary", summary))
        for offset, description in entries(text):
            if is_fragment(description):
                found.append(Finding(path, start + offset, "attribute", description))
    for line, text in _below_attributes(tree):
        if is_fragment(text):
            found.append(Finding(path, line, "attribute", text.splitlines()[0]))
    found += [
        Finding(path, line, "help", text) for line, text in _helps(tree) if opening(text)[:1] and opening(text)[0] in LOST
    ]
    found += [Finding(path, line, "name", name) for line, name in _names(tree) if name.lstrip("_") in NAMES]
    return sorted(found, key=lambda f: f.line)


def main(places: list[str]) -> int:
    """Print the findings in these files and folders, `file:line: rule: text`, then their number by rule.

    Returns:
        The exit code, 1 where there is a finding.
    """
    files = [f for place in places for f in ([ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py")))]
    found = [f for file in files for f in findings(file.read_text(encoding="utf-8"), str(file.relative_to(ROOT)))]
    for finding in found:
        print(f"{finding.path}:{finding.line}: {finding.rule}: {finding.text}")
    counts = Counter(finding.rule for finding in found)
    total = ", ".join(f"{count} {rule}" for rule, count in sorted(counts.items())) or "no findings"
    print(f"plain English: {total} in {len(files)} files")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(PLACES)))
