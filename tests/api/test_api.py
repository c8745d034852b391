"""`unlearnbench.api`: every name in one place and of use to somebody; a name that went says what to use."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest
from helpers.pages import DOCS, ROOT

from unlearnbench import api

BLOCKS = ("For both: ", "For methods: ", "For benchmarks: ", "For attacks: ", "For extensions: ")
AUTHORS_PAGES = (
    "write-a-method.md", "your-first-method.md", "write-a-benchmark.md", "write-an-attack.md", "hooks.md", "evaluation.md",
)  # fmt: skip


def listed() -> list[ast.alias]:
    """The names as api.py imports them, in its order."""
    tree = ast.parse(Path(api.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    return [alias for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]


def test_every_name_is_listed_once_and_for_type_checkers_too():
    """`NAME as NAME` is how a module says that it passes a name on."""
    names = [alias.name for alias in listed()]
    assert len(names) == len(set(names))
    assert [alias.asname for alias in listed()] == names
    assert api.__all__ == ["API_VERSION", *names]
    assert sorted(api.__all__) == dir(api)
    assert all(heading.startswith(BLOCKS) and names for heading, names in api.HEADINGS.items())


def test_api_gives_every_name_it_lists():
    for name in api.__all__:
        assert getattr(api, name) is not None
    with pytest.raises(AttributeError, match="has no 'nothing'"):
        api.nothing  # noqa: B018


def test_every_name_serves_somebody():
    """A plugin that ships, a template of `new`, or an author whom a page tells of it."""
    sources = [file for folder in ("methods", "benchmarks", "attacks") for file in (ROOT / folder).rglob("*.py")]
    sources += (ROOT / "unlearnbench" / "plugins" / "templates").rglob("module*.txt")
    used = {name for file in sources for name in re.findall(r"\w+", file.read_text(encoding="utf-8"))}
    for page in AUTHORS_PAGES:
        for code in re.findall(r"```.*?```|`[^`\n]+`", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL):
            used |= set(re.findall(r"\w+", code))
    assert set(api.__all__) - used == {"API_VERSION"}


@pytest.mark.parametrize("name", api._INSTEAD)
def test_name_that_went_says_what_to_use(name):
    assert name not in api.__all__
    with pytest.raises(ImportError, match=rf"unlearnbench\.api 2 has no '{name}'; use "):
        getattr(api, name)


def test_what_is_to_be_used_is_there():
    """Names, and methods of classes, in the advice."""
    for advice in api._INSTEAD.values():
        for owner, member in re.findall(r"\b([A-Z]\w+|\w+_\w+|upcast)(?:\.(\w+))?", advice):
            assert owner in api.__all__ or owner == "named_parameters", advice
            assert not member or hasattr(getattr(api, owner), member), advice


def test_plugin_that_imports_a_name_that_went_is_told(cli, tmp_path, monkeypatch):
    (tmp_path / "made_for_api_1.py").write_text("from unlearnbench.api import MethodSpec, ReferenceOutputs, hookimpl\n")
    distribution = tmp_path / "old_plugin-1.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: old-plugin\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text("[unlearnbench.methods]\nold = made_for_api_1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    outcome = cli("plugins", "old")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "'old' of old-plugin 1.0 cannot be imported from made_for_api_1" in outcome.err
    assert "unlearnbench.api 2 has no 'ReferenceOutputs'; use FrozenOutputs" in outcome.err
