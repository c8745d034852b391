"""The documentation says what the code does: generated pages, hooks, commands, links, and code that runs."""

from __future__ import annotations

import inspect
import itertools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.pages import DOCS, FENCE, ROOT

from docs import api_entries, api_reference, reference
from unlearnbench import api
from unlearnbench.errors import normalise
from unlearnbench.plugins import hookspecs
from unlearnbench.plugins.options import list_options
from unlearnbench.plugins.registry import find_plugin, list_plugins

ROOT_PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES = [*ROOT_PAGES, *sorted(DOCS.rglob("*.md"))]
ROOMS = ("unlearnbench", "methods", "benchmarks", "attacks")
LINK = re.compile(r"(?<!!)\[[^]]+\]\(([^)\s]+)\)")
MADE_UP = {
    "NAME",
    "mine",
    "up-and-down",
    "grad-diff-demo",
    "sums",
    "recital",
    "scale",
}  # what pages call plugins that are still to be written
COMMAND = re.compile(rf"unlearnbench (?:{'|'.join(sorted({path[0] for path in reference.commands()}))})\b")


def api_page() -> str:
    return api_reference.api_page(reference.MARK)


@pytest.mark.parametrize("name", reference.PAGES)
def test_generated_page_is_current(name):
    assert (DOCS / name).read_text(encoding="utf-8") == reference.PAGES[name](), "run `make reference`"


def test_promises_are_kept_or_their_end_is_told():
    """Against the page as it was last written: a name that goes or changes needs a changelog entry, and a new version."""
    stored, changelog = (DOCS / "api.md").read_text(encoding="utf-8"), (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert api_reference.broken_promises(stored, api_page(), changelog, api.API_VERSION) == []


def test_every_name_of_the_api_is_described():
    """With each argument, field and public method, so that nobody has to read the source."""
    page = api_reference.sections()
    names = [entry.name for entries in page.values() for entry in entries]
    assert len(names) == len(set(names))
    assert {*api.__all__} <= set(names)
    assert [said for entries in page.values() for entry in entries for said in api_entries.undescribed(entry)] == []


def test_what_is_not_described_is_found():
    class Steered:
        """Steers.

        Args:
            model: a language model.
        """

        limit: int = 3

        def __init__(self, model, *, strength: float) -> None: ...

        def __call__(self, stream): ...

        def prepare(self, texts):
            """Prepare.

            Args:
                texts: what to steer on.
            """

    entry = api_entries.entry_of("Steered", Steered, __name__)
    missing = ["Steered(strength)", "Steered.limit", "Steered.__call__", "Steered.__call__(stream)"]
    assert api_entries.undescribed(entry) == missing
    assert ".limit: int = 3" in entry.signature


def test_page_shows_calls_results_and_what_they_give_back():
    page = api_page()
    assert ".__call__(stream: Stream) -> Tensor" in api_reference.promised(page)["RetainTerm"]
    assert api_reference.promised(page)["over_positions"].endswith(") -> Loss\n")
    assert "total: Tensor" in api_reference.promised(page)["Loss"]  # nobody imports it, and everybody is given it


def test_lost_or_changed_name_needs_a_changelog_entry():
    """A name that is new, and a line that is new, need none."""
    page = api_page()
    assert len(api_reference.promised(page)) > 50
    assert "alternatives: bool = False" in api_reference.promised(page)["UnlearningMethod"]
    assert "testing.parametrize_checks" in api_reference.promised(page)
    lost = page.replace("### `token_kl`", "### `token_kl_old`")
    changed = page.replace("per_token", "per_tokens")
    quiet, told = "# Changelog\n\n## Unreleased\n\n## 0.1.0\n", "# Changelog\n\n## Unreleased\n- `token_kl` went\n\n## 0.1.0\n"
    assert api_reference.broken_promises(page, lost, quiet, 1) == ["name `token_kl` in CHANGELOG.md"]
    assert api_reference.broken_promises(page, lost, told, 1) == []
    assert "name `MultipleChoiceBenchmark` in CHANGELOG.md" in api_reference.broken_promises(page, changed, told, 1)
    assert api_reference.broken_promises(lost, page, told, 1) == ["name `token_kl_old` in CHANGELOG.md"]
    assert api_reference.broken_promises(page, page + "\n### `new`\n\nNew.\n\n```text\n()\n```\n", quiet, 1) == []


def test_change_since_a_release_raises_the_version():
    page = api_page()
    lost = page.replace("### `token_kl`", "### `token_kl_old`")
    told = "# Changelog\n\n## Unreleased\n- `token_kl` went\n\n## 0.2.0 (API 3)\n\n## 0.1.0 (API 2)\n"
    assert api_reference.broken_promises(page, lost, told, 3) == ["raise API_VERSION above 3"]
    assert api_reference.broken_promises(page, lost, told, 4) == []
    assert api_reference.broken_promises(page, page, told, 3) == []


def test_every_hook_stands_with_its_arguments():
    wanted = set()
    for owner in (hookspecs.MethodHooks, hookspecs.BenchmarkHooks, hookspecs.AttackHooks, hookspecs.ExtensionHooks):
        for name, function in vars(owner).items():
            if name.startswith("unlearnbench_"):
                arguments = list(inspect.signature(function).parameters)[1:]
                wanted.add(f"{name}({', '.join(arguments)})")
    assert set(re.findall(r"^### `(unlearnbench_\w+\(.*?\))`", (DOCS / "hooks.md").read_text(), re.MULTILINE)) == wanted


def test_messages_in_troubleshooting_are_said():
    """Each one, but for names, stands in the code."""
    said = "".join(file.read_text(encoding="utf-8") for room in ROOMS for file in (ROOT / room).rglob("*.py"))
    table = (DOCS / "troubleshooting.md").read_text(encoding="utf-8").partition("| message |")[2].partition("\n\n")[0]
    messages = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert len(messages) > 10
    for message in messages:
        for words in message.removeprefix("Unknown").split("..."):
            assert words.strip(" '") in said, message


def slug(heading: str) -> str:
    """A heading's anchor, as mkdocs and code hosts make it."""
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading.strip().lower()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor and file.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{page.name}: {target}"


def commands(page: Path) -> Iterator[str]:
    """Every command line of a page: in blocks of code, and between backticks."""
    text = page.read_text(encoding="utf-8")
    for _, language, block in FENCE.findall(text):
        if language in ("console", ""):
            for line in re.sub(r"\\\n\s*", " ", block).splitlines():
                line = line.strip().removeprefix("$ ")
                if line.startswith(("unlearnbench ", "make ", "pip ")):
                    yield line
    rest = FENCE.sub("", text)
    yield from (line.strip() for line in re.findall(r"^    (unlearnbench .*)$", rest, re.MULTILINE))
    yield from (span for span in re.findall(r"`([^`\n]+)`", rest) if COMMAND.match(span) or span.startswith("make "))


def parse(arguments: list[str]) -> None:
    """Let the real parser read a command line; nothing runs."""
    import typer

    from unlearnbench.cli import app

    command, path = typer.main.get_command(app), ["unlearnbench"]
    while hasattr(command, "commands") and arguments:
        path.append(arguments.pop(0))
        command = command.commands[path[-1]]
    if arguments and "--help" not in arguments:
        command.make_context(" ".join(path), arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_can_be_parsed(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for line in commands(page):
        words = list(itertools.takewhile(lambda word: word not in ("|", ">", "&&"), shlex.split(line, comments=True)))
        if words[0] == "make":
            assert re.search(rf"^{re.escape(words[1])}:", makefile, re.MULTILINE), f"{page.name}: {line}"
        elif words[0] == "pip":
            for extra in re.findall(r"unlearnbench\[(\w[\w-]*)\]", line):
                assert extra in extras, f"{page.name}: {line}"
        elif "..." not in line and "COMMAND" not in line:
            try:
                parse(words[1:])
            except Exception as error:
                raise AssertionError(f"{page.name}: {line}: {error}") from error


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_names_in_commands_exist(page):
    """Methods, benchmarks and their options; names that a page makes up are known here."""
    plugins = {normalise(info.name): info for info in list_plugins() if info.kind != "extension"}
    for line in commands(page):
        words = shlex.split(line, comments=True)
        for flag, value in itertools.pairwise(words):
            if flag in ("--methods", "--benchmarks") or words[1:3] in (["check", value], ["plugins", value]):
                for name in value.split(","):
                    assert {name, normalise(name.partition(":")[0])} & (plugins.keys() | MADE_UP), f"{page.name}: {line}"
            if flag == "--set":
                owner, _, option = value.partition("=")[0].rpartition(".")
                info = plugins.get(normalise(owner.partition(":")[0]))
                if info is not None:
                    options = list_options(find_plugin(info.kind, info.name).spec)
                    assert option in {one.name for one in options}, f"{page.name}: {line}"
                else:
                    assert owner in MADE_UP, f"{page.name}: {line}"


def test_commands_are_found_at_all():
    found = {page.name: list(commands(page)) for page in PAGES}
    assert len(found["README.md"]) >= 6
    assert "unlearnbench new method up-and-down" in found["your-first-method.md"]


def test_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    for page in DOCS.rglob("*.md"):
        place = page.relative_to(DOCS).with_suffix("")
        assert (tmp_path / "site" / place / "index.html").is_file() or place.name == "index", f"{place} is not on the site"
    contributing = (tmp_path / "site" / "contributing" / "index.html").read_text(encoding="utf-8")
    assert 'href="../your-first-method/"' in contributing
    assert 'href="contributing/"' in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert (tmp_path / "site" / "security" / "index.html").is_file()
