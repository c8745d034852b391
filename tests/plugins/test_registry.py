from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from unlearnbench.errors import PluginError, UsageError
from unlearnbench.plugins import fingerprint
from unlearnbench.plugins import registry as plugins


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An author's package: the method's module imports a helper, another method does not."""
    folder = tmp_path / "authors_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "method.py").write_text("from authors_package import losses\nfrom .deep import helper\nimport json\n")
    (folder / "losses.py").write_text("WEIGHT = 1\n")
    (folder / "deep.py").write_text("def helper(): pass\n")
    (folder / "other.py").write_text("WEIGHT = 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.startswith("authors_package")]:
        del sys.modules[name]


def fresh_hash(module: str) -> str:
    fingerprint.source_hash.cache_clear()
    return fingerprint.source_hash(module)


@pytest.mark.parametrize(("file", "counts"), [("method", True), ("losses", True), ("deep", True), ("other", False)])
def test_hash_follows_what_a_method_imports_from_its_own_package(package, file, counts):
    before = fresh_hash("authors_package.method")
    (package / f"{file}.py").write_text("WEIGHT = 3\n" + (package / f"{file}.py").read_text())
    assert (fresh_hash("authors_package.method") != before) == counts
    assert "authors_package.losses" not in sys.modules  # nothing was executed


def test_methods_that_come_with_us_have_hashes_of_their_own():
    assert fingerprint.source_hash("unlearnbench_methods.rmu") != fingerprint.source_hash("unlearnbench_methods.none")


def test_hyphen_and_underscore_are_one_name():
    assert plugins.find_plugin("method", "RMU").info.name == "rmu"
    with pytest.raises(UsageError, match="Did you mean 'wmdp'"):
        plugins.find_plugin("benchmark", "wdmp")


def test_every_entry_point_loads_and_offers_its_name():
    for info in plugins.list_plugins():
        if info.distribution == "unlearnbench" and info.kind != "extension":
            assert plugins.find_plugin(info.kind, info.name).spec.name == info.name


def test_what_is_installed_later_is_found_and_what_is_removed_is_not(tmp_path, monkeypatch):
    """The environment is read once, and again when it has changed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    read = []
    entry_points = plugins.metadata.entry_points
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda **group: read.append(group) or entry_points(**group))

    def names() -> set[str]:
        return {info.name for info in plugins.list_plugins("method")}

    assert "come-and-go" not in names()
    once = len(read)
    names()
    assert len(read) == once
    facts = tmp_path / "transient-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: transient\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[unlearnbench.methods]\ncome-and-go = transient\n")
    assert "come-and-go" in names()
    shutil.rmtree(facts)
    assert "come-and-go" not in names()


def test_lists_without_importing(package):
    before = set(sys.modules)
    assert {info.name for info in plugins.list_plugins("method")} >= {"none", "rmu"}
    assert not {name for name in set(sys.modules) - before if name.startswith("unlearnbench_")}


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("method", "wrong_argument", "Argument(s) {'model'} are declared in the hookimpl"),
        ("extension", "wrong_callbacks", "Argument(s) {'trainer'} are declared in the hookimpl"),
    ],
)
def test_hook_with_another_argument_is_one_sentence(monkeypatch, kind, name, said):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "third_party" / "clumsy"))
    info = plugins.PluginInfo(kind, name, "clumsy-plugins", "1.0", f"clumsy_plugins.{name}")
    with pytest.raises(PluginError, match=r"of clumsy-plugins 1\.0 has a hook that does not exist") as caught:
        plugins._register(info)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_plugin_made_for_another_version_says_which(monkeypatch):
    monkeypatch.setattr(plugins.metadata, "requires", lambda name: ["torch", "unlearnbench>=99; python_version > '3'"])
    with pytest.raises(PluginError, match="needs unlearnbench>=99, and this is"):
        plugins._register(plugins.PluginInfo("method", "future", "plugin-of-the-future", "1.0", "plugin_of_the_future"))


def test_words_said_at_import_are_no_output(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "third_party" / "clumsy"))
    plugins._register(plugins.PluginInfo("method", "talkative", "clumsy-plugins", "1.0", "clumsy_plugins.talkative"))
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "Welcome to talkative 1.0!\n")
