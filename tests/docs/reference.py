"""Write the pages that follow from the code: the API's names, the recipe's keys, the command line (`make reference`)."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
HOME = re.compile(r"\bunlearnbench(\.\w+)+\.(?=\w)")  # of a name in a signature
MARK = "<!-- written by `make reference`; what stands below follows from the code -->"

CHECKS_HEAD = """The properties that a comparison relies on. In a terminal:

```console
$ unlearnbench check rmu
$ unlearnbench check rmu --set rmu.masked=true
$ unlearnbench check up-and-down --expect-failure "family[mixtral]=its experts are one tensor" --json
```

The exit code is 1 where a check fails, and the message says what to do. Under pytest every check is a test:

```python
from unlearnbench.testing import parametrize_checks


@parametrize_checks(SPEC, options={"layer": 3}, expected_failures={"family[mixtral]": "its experts are one tensor"})
def test_conformance(check):
    check()
```

Methods run through the same code as in a comparison, three updates on random models of 8 blocks; `options` (or `--set`) replace
defaults that do not fit such a model. Pass an expected failure with its reason; it is reported if it does not come. A package
can state both itself, in the plugin's module or in a package around it; the command and pytest begin with that:

```python
CONFORMANCE = {
    "up-and-down": {
        "options": {"layer": 3},
        "expected_failures": {"family[mixtral]": "its experts are one tensor"},
    }
}
```

Every method and benchmark that comes with unlearnbench passes every check, but for what `unlearnbench_methods.CONFORMANCE`
states. The test suite tries each method on Llama and on one other family; `make conformance` tries all on all. Which check
finds which mistake: `tests/conformance/wrong_methods.py` and `wrong_benchmarks.py`.
"""


def signature_of(thing: object) -> list[str]:
    """What an author may rely on, line by line: parameters, fields, public methods."""
    if typing.is_typeddict(thing):
        return [f"{name}: {_plain(hint)}" for name, hint in vars(thing)["__annotations__"].items()]
    if typing.get_origin(thing) is not None:
        return [repr(thing).replace("typing.", "")]
    if inspect.isclass(thing):
        lines = [*_parameters(thing), *_attributes_of(thing)]
        for name, member in sorted(vars(thing).items()):
            if name.startswith("_") or name == "model_config":
                continue
            function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            if inspect.isfunction(function):
                lines.append(f".{name}{_signature(function)}")
            elif isinstance(member, property) or type(member).__name__ == "cached_property":
                lines.append(f".{name}")
        return lines
    if callable(thing) and not inspect.isclass(thing):
        try:
            return [_signature(thing)]
        except (TypeError, ValueError):
            return [repr(thing)]
    return [repr(thing)]


def _parameters(thing: type) -> list[str]:
    """One line for each parameter, so that a new one changes no line."""
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return []
    return [str(p.replace(annotation=_written(p.annotation), default=_brief(p.default))) for p in parameters]


def _attributes_of(thing: type) -> list[str]:
    """What a subclass may set, or finds set; fields of records are parameters and stand there."""
    if dataclasses.is_dataclass(thing) or issubclass(thing, BaseModel):
        return []
    own = {name: hint for name, hint in vars(thing).get("__annotations__", {}).items() if not name.startswith("_")}
    defaults = {name: f" = {vars(thing)[name]!r}" for name in own if name in vars(thing)}
    return [f"{name}: {_plain(hint)}{defaults.get(name, '')}" for name, hint in own.items()]


def _brief(default: object) -> object:
    """A default that is a record or a spec as `Training()`: what it holds is written down where it is defined."""
    if isinstance(default, BaseModel) or (dataclasses.is_dataclass(default) and not isinstance(default, type)):
        return _Written(f"{type(default).__name__}()")
    return default


class _Written(str):
    """An annotation without the quotes that postponed evaluation puts around it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _signature(thing: Any) -> str:
    found = inspect.signature(thing)
    parameters = [p.replace(annotation=_written(p.annotation)) for p in found.parameters.values()]
    return str(found.replace(parameters=parameters, return_annotation=_written(found.return_annotation)))


def _written(annotation: Any) -> Any:
    return _Written(annotation) if isinstance(annotation, str) else annotation


def _plain(hint: object) -> str:
    """An annotation as it was written."""
    if isinstance(hint, str):
        return hint
    return hint.__forward_arg__ if isinstance(hint, typing.ForwardRef) else getattr(hint, "__name__", str(hint))


def api_page() -> str:
    """Every name of `unlearnbench.api` and of the kit, with its signature and the first sentence of its docstring."""
    from unlearnbench import api, testing

    lines = [
        "# API",
        "",
        "`unlearnbench.api` is all that a plugin imports, and `unlearnbench.testing` what its tests do; nothing else is",
        "promised. A name that goes, or changes its signature, stands in CHANGELOG.md and raises `API_VERSION`, which is",
        f"{api.API_VERSION}.",
        "",
        MARK,
        "",
    ]
    for name in api.__all__:
        lines += _entry(name, getattr(api, name))
    for name in testing.__all__:
        lines += _entry(f"testing.{name}", getattr(testing, name))
    return "\n".join(lines)


def _entry(title: str, thing: Any) -> list[str]:
    """One name of the page; where it lives is nobody's business, so that it can move."""
    doc = inspect.getdoc(thing) if callable(thing) or inspect.isclass(thing) else None
    first = (doc or "").split("\n\n")[0].replace("\n", " ") if doc and _ours(thing) else ""
    lines = [f"## `{title}`", "", *([first, ""] if first else []), "```text"]
    return [*lines, *(HOME.sub("", line) for line in signature_of(thing)), "```", ""]


def _ours(thing: object) -> bool:
    return str(getattr(thing, "__module__", "")).startswith("unlearnbench")


def promised(page: str) -> dict[str, str]:
    """Name -> signature, read from the page."""
    return dict(re.findall(r"^## `([\w.]+)`\n.*?```text\n(.*?)```", page, re.MULTILINE | re.DOTALL))


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


def recipes_page() -> str:
    """The keys of a recipe: type, default and meaning, from the pydantic models and their docstrings."""
    from unlearnbench.records.recipe import Recipe, Topic, TrainerOptions, TuneOptions

    lines = [
        "# Recipe reference",
        "",
        "Every key of a recipe; [recipes.md](recipes.md) explains how they work together. A file may also have `extends`, the",
        "name of a recipe that ships or the path of another file, and then only says what differs.",
        "",
        MARK,
        "",
    ]
    for title, model in (
        ("The recipe", Recipe),
        ("`topics.NAME`", Topic),
        ("`trainer`", TrainerOptions),
        ("`tune`", TuneOptions),
    ):
        meanings = _attributes(model)
        lines += [f"## {title}", "", "| key | type | default | meaning |", "|---|---|---|---|"]
        for name, field in model.model_fields.items():
            default = "required" if field.is_required() else _default(field.default)
            kind = _type(field.annotation)
            lines.append(f"| `{name}` | {kind} | {default} | {meanings.get(name, '')} |")
        lines.append("")
    return "\n".join(lines)


def _default(value: object) -> str:
    if isinstance(value, BaseModel):
        return "its own defaults"
    words = {None: "null", True: "true", False: "false"}
    return f"`{words[value] if value is None or isinstance(value, bool) else value}`"


def _type(annotation: Any) -> str:
    text = getattr(annotation, "__name__", None) if not typing.get_args(annotation) else str(annotation)
    text = re.sub(r"Annotated\[(\w+), FieldInfo\(.*?\)\]", r"\1", str(text))
    text = re.sub(r"typing\.", "", HOME.sub("", text))
    text = text.replace("NoneType", "null").replace("None", "null").replace("|", "or")
    return re.sub(r"Literal\[(.*)\]", lambda m: m[1].replace("'", "").replace(", ", " or "), text)


def _attributes(model: type) -> dict[str, str]:
    """The `Attributes:` section of a docstring."""
    section = inspect.getdoc(model).partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): (.*(?:\n     +.*)*)", section, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text) for name, text in found}


def cli_page() -> str:
    """What `--help` says of every command."""
    from typer.testing import CliRunner

    from unlearnbench.cli import app

    lines = ["# Command line", "", "The output of `unlearnbench COMMAND --help`.", "", MARK, ""]
    usual, app.rich_markup_mode = app.rich_markup_mode, None  # plain text, without frames
    try:
        for path in commands():
            asked = {"prog_name": "unlearnbench", "env": {"COLUMNS": "110"}, "terminal_width": 110}
            said = CliRunner().invoke(app, [*path, "--help"], **asked)
            lines += [f"## `unlearnbench {' '.join(path)}`", "", "```text", said.output.strip(), "```", ""]
    finally:
        app.rich_markup_mode = usual
    return "\n".join(lines)


def commands() -> list[tuple[str, ...]]:
    """Every command's words, as in `new method`."""
    import typer

    from unlearnbench.cli import app

    return list(_below(typer.main.get_command(app), ()))


def _below(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield path
        return
    for name in sorted(below):
        yield from _below(below[name], (*path, name))


def checks_page() -> str:
    """Every check with its promise."""
    from unlearnbench.testing.benchmark_checks import BENCHMARK_CHECKS
    from unlearnbench.testing.method_checks import METHOD_CHECKS

    lines = ["# Checks", "", CHECKS_HEAD, MARK, ""]
    for title, registry in (("Methods", METHOD_CHECKS), ("Benchmarks", BENCHMARK_CHECKS)):
        lines += [f"## {title}", "", "| check | promise |", "|---|---|"]
        lines += [f"| `{name}` | {promise} |" for name, promise in registry.promises()]
        lines.append("")
    return "\n".join(lines)


def mt_bench_page() -> str:
    """The page as it was written by hand, and below it what the judge is asked, word for word."""
    from unlearnbench.scoring.judging.prompts import load_prompts

    page = DOCS / "mt-bench.md"
    lines = [page.read_text(encoding="utf-8").partition(MARK)[0] + MARK, ""]
    for prompt in load_prompts(None).prompts.values():
        title = f"{'One turn' if prompt.turns == 1 else 'Two turns'}, {'with' if prompt.reference else 'without'} a reference"
        lines += [f"### {title}", "", "```text", f"system: {prompt.system}", "", prompt.template, "```", ""]
    return "\n".join(lines)


PAGES = {
    "checks.md": checks_page,
    "api.md": api_page,
    "recipe-reference.md": recipes_page,
    "cli.md": cli_page,
    "mt-bench.md": mt_bench_page,
}


def main() -> int:
    """Write the pages; refuse to forget a promise."""
    from unlearnbench import api

    page = DOCS / "api.md"
    stored = page.read_text(encoding="utf-8") if page.is_file() else ""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if broken := broken_promises(stored, api_page(), changelog, api.API_VERSION):
        print(f"unlearnbench.api lost or changed a name: {'; '.join(broken)}.")
        return 1
    for name, write in PAGES.items():
        (DOCS / name).write_text(write(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
