"""Write the pages that follow from the code: the API's names, the recipe's keys, the command line (`make reference`)."""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docs.api_entries import HOME, parsed
from docs.api_reference import api_page, broken_promises
from pydantic import BaseModel

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
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

Attacks are carried out on a tiny Llama, with every trial.

Every plugin that comes with unlearnbench passes every check, but for what `unlearnbench_methods.CONFORMANCE`
states. The test suite tries each method on Llama and on one other family; `make conformance` tries all on all. Which check
finds which mistake: `tests/conformance/wrong_methods.py`, `wrong_benchmarks.py` and `wrong_attacks.py`.
"""


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
    return parsed(inspect.getdoc(model)).entries["Attributes"]


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
    from unlearnbench.testing.attack_checks import ATTACK_CHECKS
    from unlearnbench.testing.benchmark_checks import BENCHMARK_CHECKS
    from unlearnbench.testing.method_checks import METHOD_CHECKS

    lines = ["# Checks", "", CHECKS_HEAD, MARK, ""]
    for title, registry in (("Methods", METHOD_CHECKS), ("Benchmarks", BENCHMARK_CHECKS), ("Attacks", ATTACK_CHECKS)):
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


def tofu_page() -> str:
    """The page as it was written by hand, and below it every measure, and what each profile does."""
    from unlearnbench_benchmarks.openunlearning.profiles import TOFU
    from unlearnbench_benchmarks.tofu import measures_of

    return _with_profiles(DOCS / "tofu.md", measures_of(TOFU["openunlearning"], 400, attacks=True, gradnorm=True), TOFU)


def muse_page() -> str:
    """The page as it was written by hand, and below it every measure, and what each profile does."""
    from unlearnbench_benchmarks.muse import Muse
    from unlearnbench_benchmarks.openunlearning.profiles import MUSE

    return _with_profiles(DOCS / "muse.md", Muse(gradnorm=True).measures(), MUSE)


def _with_profiles(page: Path, measures: Any, profiles: Any) -> str:
    from unlearnbench.reports.explain import REDUCTIONS
    from unlearnbench_benchmarks.openunlearning.profiles import table

    lines = [page.read_text(encoding="utf-8").partition(MARK)[0].rstrip("\n"), "", MARK, ""]
    lines += ["## Measures", "", "Those in bold count in F or K.", "", "| measure | of the parts | made by |", "|---|---|---|"]
    for measure in measures:
        name = f"**`{measure.name}`**" if measure.primary else f"`{measure.name}`"
        made = REDUCTIONS[measure.reduction].format(against=", ".join(measure.against))
        values = ", ".join(f"`{value}`" for value in measure.values)
        lines.append(f"| {name} | {', '.join(measure.parts)} | {made}, of {values} |")
    lines += [
        "",
        "## Profiles",
        "",
        "Where the public codes differ, a profile follows one of them; it is part of a cell's identity.",
        "",
    ]
    return "\n".join([*lines, *table(profiles), ""])


PAGES = {
    "checks.md": checks_page,
    "api.md": lambda: api_page(MARK),
    "recipe-reference.md": recipes_page,
    "cli.md": cli_page,
    "mt-bench.md": mt_bench_page,
    "muse.md": muse_page,
    "tofu.md": tofu_page,
}


def main() -> int:
    """Write the pages; refuse to forget a promise."""
    from unlearnbench import api

    page = DOCS / "api.md"
    stored = page.read_text(encoding="utf-8") if page.is_file() else ""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if broken := broken_promises(stored, api_page(MARK), changelog, api.API_VERSION):
        print(f"unlearnbench.api lost or changed a name: {'; '.join(broken)}.")
        return 1
    for name, write in PAGES.items():
        (DOCS / name).write_text(write(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
