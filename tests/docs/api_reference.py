"""Writes docs/api.md: every name of `unlearnbench.api` and of the kit for tests, with what its docstrings say of it."""

from __future__ import annotations

import inspect
import re
from typing import Any

from docs.api_entries import Doc, Entry, Member, entry_of, module_names, types_in

FOR_TESTS, GIVEN = "For tests: `unlearnbench.testing`", "Types in signatures"
INTRO = """# API

`unlearnbench.api` is all that a plugin imports, and `unlearnbench.testing` what its tests do; nothing else is promised. A name
that goes, or changes its signature, stands in CHANGELOG.md and raises `API_VERSION`, which is {version}; one that is added does
not. Letters such as B, T and D are those of [notation](notation.md).
"""


def sections() -> dict[str, list[Entry]]:
    """The entries of the page by their headings; last what is imported for tests, and the types that nobody imports."""
    from unlearnbench import api, testing

    page = {"The version": [entry_of("API_VERSION", api.API_VERSION, "unlearnbench.api")]}
    shown: dict[str, Any] = {}
    for heading, homes in api.HEADINGS.items():
        page[heading] = [entry_of(name, getattr(api, name), home) for name, home in homes.items()]
        shown |= {name: getattr(api, name) for name in homes}
    kit = module_names("unlearnbench.testing")[0]
    page[FOR_TESTS] = [
        entry_of(f"testing.{name}", getattr(testing, name), kit.get(name, "unlearnbench.testing")) for name in testing.__all__
    ]
    shown |= {name: getattr(testing, name) for name in testing.__all__}
    page[GIVEN] = []
    waiting = list(shown.values())
    while waiting:
        for name, (kind, home) in types_in(waiting.pop(0)).items():
            if name not in shown and not name.startswith("_"):
                shown[name] = kind
                waiting.append(kind)
                page[GIVEN].append(entry_of(name, kind, home, alone=False))
    page[GIVEN].sort(key=lambda entry: entry.name)
    return page


def api_page(mark: str) -> str:
    """The page.

    Args:
        mark: the line that says that what follows is written by `make reference`.
    """
    from unlearnbench import api

    lines = [INTRO.format(version=api.API_VERSION), mark, ""]
    for heading, entries in sections().items():
        lines += [f"## {heading}", ""]
        if heading == GIVEN:
            lines += ["What stands in the signatures above, and you need not import.", ""]
        for entry in entries:
            lines += _shown(entry)
    return "\n".join(lines)


def _shown(entry: Entry) -> list[str]:
    """An entry as Markdown: what it is, how it is called, what its arguments mean, what its members do."""
    lines = [f"### `{entry.name}`", "", *([_with_fences(entry.doc.text), ""] if entry.doc.text else [])]
    lines += [f"Has all that {_listed(entry.bases)} has, too.", ""] if entry.bases else []
    lines += ["```text", *entry.signature, "```", ""]
    described = {**entry.doc.entries.get("Args", {}), **entry.doc.entries.get("Attributes", {})}
    lines += [f"- `{name}`: {said}" for name, said in described.items()]
    lines += _results(entry.doc, "")
    for member in entry.members:
        if member.doc.text:
            lines += _member(member)
    return [*lines, ""] if lines[-1] else lines


def _with_fences(text: str) -> str:
    """A text whose indented lines are marked as Python."""
    return re.sub(r"(?:^ {4}.*\n?|(?<=\n)\n(?= {4}))+", lambda code: _fenced(code[0]), text, flags=re.MULTILINE).rstrip()


def _fenced(code: str) -> str:
    return f"\n```python\n{inspect.cleandoc(code)}\n```\n"


def _listed(names: list[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)


def _member(member: Member) -> list[str]:
    call = "()" if "(" in member.signature[0] else ""
    text = re.sub(r"\n\s*\n", " ", member.doc.text).replace("\n", " ")
    lines = [f"- **`.{member.name}{call}`** {text}"]
    lines += [f"    - `{name}`: {said}" for name, said in member.doc.entries.get("Args", {}).items()]
    return lines + _results(member.doc, "    ")


def _results(doc: Doc, indent: str) -> list[str]:
    lines = [f"{indent}- returns: {doc.prose['Returns']}"] if "Returns" in doc.prose else []
    raised = doc.entries.get("Raises", {})
    return lines + [f"{indent}- raises `{name}`: {said}" for name, said in raised.items()]


def promised(page: str) -> dict[str, str]:
    """Name -> signature, read from the page."""
    return dict(re.findall(r"^### `([\w.]+)`\n.*?```text\n(.*?)```", page, re.MULTILINE | re.DOTALL))


def changed_promises(stored: str, current: str) -> list[str]:
    """Names that went, or lost a line of their signature, since the page was written; what is new breaks nothing."""
    before, now = promised(stored), promised(current)
    return [name for name, text in before.items() if set(text.splitlines()) - set(now.get(name, "").splitlines())]


def broken_promises(stored: str, current: str, changelog: str, version: int) -> list[str]:
    """What is to be done about names that went or changed; empty where the changelog and the API's version say it.

    Args:
        stored: the page as it was written.
        current: the page as the code has it.
        changelog: its first section must name what changed; a release is headed `## 0.2.0 (API 2)`.
        version: of the API, which must be above that of the last release; one without a number had none.
    """
    _, unreleased, *releases = re.split(r"^## ", changelog, flags=re.MULTILINE)
    changed = changed_promises(stored, current)
    advice = [f"name `{name}` in CHANGELOG.md" for name in changed if f"`{name}" not in unreleased]
    released = re.search(r"\(API (\d+)\)", releases[0].splitlines()[0]) if releases else None
    if changed and released is not None and version <= int(released[1]):
        advice.append(f"raise API_VERSION above {released[1]}")
    return advice
