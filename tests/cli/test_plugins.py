"""Plugins that do not even load, as authors have them every second run: a sentence with file and line, and the others work."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

GOOD = """
from unlearnbench.api import MethodSpec, Training, UnlearningMethod, hookimpl

class Good(UnlearningMethod):
    '''Does nothing.'''

@hookimpl
def unlearnbench_methods():
    return [MethodSpec(name="good", factory=Good, summary="", source="", training=Training(steps=1, batch_size=1))]
"""
SOURCES = {
    "good": GOOD,
    "unclosed": "import os\n\ndef unlearnbench_methods(:\n    return []\n",
    "indented": "def unlearnbench_methods():\nreturn []\n",
    "outside": "import os\nreturn []\n",
    "latin": b"WORD = 'caf\xe9'\n",
    "helped": "from authored.helper import HELP\n",
    "helper": "HELP = 1\nHELP = = 2\n",
    "lacking": "import json\nimport a_package_that_nobody_has\n",
    "leaving": "import sys\n\nsys.exit('no licence here')\n",
    "deep": "def fail():\n    raise RuntimeError('two\\nlines')\n\nfail()\n",
    "classes": f"{GOOD}\nclass Holder:\n    @hookimpl\n    def unlearnbench_methods(self):\n        return []\n",
    "raising": "def unlearnbench_methods():\n    return [1 / 0]\n",
}
POINTS = {
    **{name: f"authored.{name}" for name in SOURCES if name not in ("helper", "classes")},
    "absent": "authored.nowhere",
    "attribute": "authored.good:nothing",
    "holder": "authored.classes:Holder",
    "function": "authored.classes:unlearnbench_methods",
}
SAID = {
    "unclosed": "cannot be imported from authored.unclosed: SyntaxError: invalid syntax (FOLDER/unclosed.py, line 3).",
    "indented": "expected an indented block after function definition on line 1 (FOLDER/indented.py, line 2).",
    "outside": "SyntaxError: 'return' outside function (FOLDER/outside.py, line 2).",
    "latin": "SyntaxError: (unicode error) 'utf-8' codec can't decode byte 0xe9",
    "helped": "cannot be imported from authored.helped: SyntaxError: invalid syntax (FOLDER/helper.py, line 2).",
    "absent": "cannot be imported from authored.nowhere: ModuleNotFoundError: No module named 'authored.nowhere'.",
    "lacking": "ModuleNotFoundError: No module named 'a_package_that_nobody_has' (FOLDER/lacking.py, line 2).",
    "leaving": "SystemExit: no licence here (FOLDER/leaving.py, line 3).",
    "deep": "RuntimeError: two lines (FOLDER/deep.py, line 2).",
    "attribute": "AttributeError: module 'authored.good' has no attribute 'nothing'.",
    "holder": "leads to a class, authored.classes:Holder, of which nobody makes an instance. Let its entry point name the "
    'module that has the hook: `holder = "authored.classes"`.',
    "function": "does not implement the hook unlearnbench_methods in authored.classes:unlearnbench_methods. Let its entry "
    'point name the module that has the hook: `function = "authored.classes"`.',
    "raising": "fails in unlearnbench_methods: ZeroDivisionError: division by zero (FOLDER/raising.py, line 2).",
}
SEEN = {"unclosed", "indented", "outside", "latin", "helped", "absent"}  # broken without running anything


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A distribution as pip leaves it: a package, and its entry points beside it."""
    site = tmp_path_factory.mktemp("site")
    (site / "authored").mkdir()
    (site / "authored" / "__init__.py").touch()
    for name, source in SOURCES.items():
        content = source if isinstance(source, bytes) else source.encode()
        (site / "authored" / f"{name}.py").write_bytes(content)
    facts = site / "authored-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: authored\nVersion: 1.0\n")
    lines = [f"{name} = {module}" for name, module in POINTS.items()]
    (facts / "entry_points.txt").write_text("\n".join(["[unlearnbench.methods]", *lines]) + "\n")
    return site / "authored"


@pytest.fixture(autouse=True)
def installed(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(folder.parent))
    importlib.invalidate_caches()
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "authored"]:
        del sys.modules[name]


def assert_one_sentence(outcome, name: str, folder: Path) -> None:
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith(f"unlearnbench: The method '{name}' of authored 1.0 ")
    assert SAID[name].replace("FOLDER", str(folder)) in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("name", SAID)
def test_a_broken_plugin_is_one_sentence(cli, folder, name):
    assert_one_sentence(cli("plugins", name), name, folder)


@pytest.mark.parametrize("name", ["unclosed", "helped"])
def test_check_and_compare_say_the_same(cli, folder, tmp_path, name):
    assert_one_sentence(cli("check", name), name, folder)
    assert_one_sentence(cli("compare", "--methods", f"{name},rmu", "--out", tmp_path / "run"), name, folder)
    assert not (tmp_path / "run").exists()


def test_two_broken_plugins_are_said_at_once(cli, tmp_path):
    outcome = cli("compare", "--methods", "unclosed,outside", "--out", tmp_path / "run")
    assert outcome.code == 2
    assert [line[:6] for line in outcome.err.splitlines()[1:]] == ["  1. T", "  2. T"]


def test_the_list_marks_what_is_broken_and_the_others_work(cli):
    outcome = cli("plugins", "--json")
    assert outcome.code == 0
    listed = {info["name"]: info.get("broken") for info in json.loads(outcome.out) if info["distribution"] == "authored"}
    assert listed.keys() == POINTS.keys()
    assert {name for name, said in listed.items() if said} == SEEN
    assert listed["absent"] == (
        "The method 'absent' of authored 1.0 cannot be imported from authored.nowhere: there is no module authored.nowhere."
    )
    assert outcome.err.splitlines() == [f"warning: {said}" for said in listed.values() if said]
    assert not any("broken" in info for info in json.loads(outcome.out) if info["distribution"] == "unlearnbench")
    assert "authored.good" not in sys.modules
    assert cli("plugins", "good").code == 0
