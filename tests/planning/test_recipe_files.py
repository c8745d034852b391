"""What recipe files say together: what one extends, keys that stand twice, texts that look like numbers."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import pytest
import yaml

from unlearnbench.errors import UsageError
from unlearnbench.planning.recipe_files import load_recipe, parse_recipe, shipped_recipes
from unlearnbench.records.recipe import Recipe


def write(folder, **files: str) -> str:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return str(folder / f"{next(iter(files))}.yaml")


def test_a_recipe_extends_one_that_ships(tmp_path):
    child = "extends: wmdp-yi-34b\nlimit: 5\nmethods:\n  rmu: {layer: 9}\n  ssd:\ntopics:\n  bio: {max_length: 64}\n"
    recipe, base = load_recipe(write(tmp_path, mine=child)), load_recipe("wmdp-yi-34b")
    assert recipe.methods == {"rmu": {**base.methods["rmu"], "layer": 9}, "ssd": {}}
    assert recipe.topics["bio"] == base.topics["bio"].model_copy(update={"max_length": 64})
    changed = {"name": "mine", "limit": 5, "methods": recipe.methods, "topics": recipe.topics}  # a folder of its own, too
    assert recipe == base.model_copy(update=changed)


def test_paths_start_at_the_file_that_names_them(tmp_path, monkeypatch):
    (tmp_path / "deeper").mkdir()
    write(tmp_path / "deeper", base="model: m\nname: theirs\ndtype: float32\nseeds: [1, 2]\ntrainer: {devices: 2}\n")
    write(tmp_path, middle="extends: deeper/base.yaml\ntrainer: {precision: bf16-mixed}\nmethods:\n  rmu: {layers: [1, 2]}\n")
    top = "extends: ../middle.yaml\nseeds: [0]\nmethods:\n  rmu:\ndtype: bfloat16\n"
    (tmp_path / "side").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    recipe = load_recipe(write(tmp_path / "side", top=top))
    assert (recipe.name, recipe.model, recipe.dtype, recipe.seeds) == ("top", "m", "bfloat16", [0])
    assert (recipe.trainer.devices, recipe.trainer.precision) == (2, "bf16-mixed")
    assert recipe.methods == {"rmu": {"layers": [1, 2]}}  # `rmu:` keeps what it extends


def test_null_and_ranges_replace(tmp_path):
    base = "model: m\nlimit: 3\nmethods:\n  rmu: {layers: [1]}\ntune: {seed: 4, spaces: {rmu: {lr: {log: [1e-4, 1e-2]}}}}\n"
    own = "extends: base.yaml\nlimit: null\nmethods:\n  rmu: {layers: null}\ntune: {spaces: {rmu: {lr: [1, 2]}}}\n"
    recipe = load_recipe(write(tmp_path, own=own, base=base))
    assert (recipe.limit, recipe.methods["rmu"]["layers"]) == (None, None)
    assert (recipe.tune.seed, recipe.tune.spaces) == (4, {"rmu": {"lr": [1, 2]}})


def test_a_mapping_extends_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "deeper").mkdir()
    write(tmp_path, base="model: m\nname: theirs\nlimit: 3\nmethods:\n  rmu: {layers: [1], lr: 1}\n")
    monkeypatch.chdir(tmp_path / "deeper")
    own = {"extends": "../base.yaml", "methods": MappingProxyType({"rmu": {"lr": 2}, "ssd": None})}
    recipe = load_recipe(own)
    assert (recipe.name, recipe.model, recipe.limit) == ("comparison", "m", 3)
    assert recipe.methods == {"rmu": {"layers": [1], "lr": 2}, "ssd": {}}
    assert load_recipe({**own, "extends": Path("../base.yaml")}) == recipe
    assert load_recipe({"extends": "sandbox", "name": "sandbox"}) == load_recipe("sandbox")


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"extends": "sandbx"}, "The recipe: 'extends': Unknown recipe 'sandbx'. Did you mean 'sandbox'?"),
        ({"extends": ["sandbox"]}, "The recipe: 'extends' takes one shipped recipe's name or the path of one YAML file, got"),
        ({"extends": "base.yaml", "seeds": [0, -1]}, "The recipe: 'seeds.1': "),
        ({"extends": "base.yaml", "methods": {"rmu": 3}}, "The recipe: 'methods.rmu': "),
        ({"extends": "base.yaml", "limit": 1}, "base.yaml, line 2: unknown key 'trainer.device'."),
    ],
)
def test_what_a_mapping_cannot_extend(tmp_path, monkeypatch, own, said):
    """What is wrong is said of the one that says it."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, base="model: m\ntrainer: {device: 2}\nseeds: [1, 2]\nmethods:\n  rmu: {lr: 1}\n")
    with pytest.raises(UsageError) as error:
        load_recipe(own)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a": "extends: a.yaml\n"}, "would never end: {0}/a.yaml extends {0}/a.yaml; take one 'extends' out."),
        (
            {"a": "extends: b.yaml\n", "b": "extends: ./a.yaml\n"},
            "would never end: {0}/a.yaml extends {0}/b.yaml extends {0}/a.yaml; take one 'extends' out.",
        ),
        (
            {"a": "limit: 1\nextends: sandbx\n"},
            "/a.yaml, line 2: 'extends': Unknown recipe 'sandbx'. Did you mean 'sandbox'?",
        ),
        (
            {"a": "extends: no.yaml\n"},
            "{0}/a.yaml, line 1: 'extends': The recipe {0}/no.yaml cannot be read: No such file or directory.",
        ),
        (
            {"a": "extends: [sandbox]\n"},
            "line 1: 'extends' takes one shipped recipe's name or the path of one YAML file, got ['sandbox'].",
        ),
        (
            {"a": "extends: b.yaml\n", "b": "model: m\nlimits: 1\n"},
            "{0}/b.yaml, line 2: unknown key 'limits'. Did you",
        ),
        ({"a": "extends: b.yaml\nlimit: 0\n", "b": "model: m\nlimit: 1\n"}, "{0}/a.yaml, line 2: 'limit': "),
        ({"a": "extends: b.yaml\ntrainer: {devices: 2}\n", "b": "model: m\ntrainer:\n  device: 1\n"}, "{0}/b.yaml, line 3: "),
        ({"a": "extends: b.yaml\n", "b": "limit: 1\n"}, "{0}/a.yaml, line 1: the key 'model' is missing; it has no default."),
        ({"a": "model: m\nextend: sandbox\n"}, "unknown key 'extend'. Did you mean 'extends'?"),
        (
            {"a": "extends: b.yaml\n", "b": "model: m\nmodel: n\n"},
            "/b.yaml, lines 1 and 2: the key 'model' stands more than once",
        ),
        ({"a": "model: m\nmethods: {rmu: {day: 2024-99-99}}\n"}, "{0}/a.yaml is not valid YAML"),
    ],
)
def test_what_cannot_be_extended(tmp_path, files, said):
    with pytest.raises(UsageError) as error:
        load_recipe(write(tmp_path, **files))
    assert said.format(tmp_path) in str(error.value)


def test_keys_that_stand_twice_are_told_with_their_lines():
    text = "model: m\nmethods:\n  rmu: {lr: 1, lr: 2}\n  ssd:\n    alpha: 1\n    steps: 2\n    alpha: 3\n  rmu: {}\n"
    with pytest.raises(UsageError) as error:
        parse_recipe(text, "r.yaml", "r")
    assert error.value.problems == (
        "r.yaml, lines 3 and 8: the key 'methods.rmu' stands more than once; keep one of them.",
        "r.yaml, line 3: the key 'methods.rmu.lr' stands more than once; keep one of them.",
        "r.yaml, lines 5 and 7: the key 'methods.ssd.alpha' stands more than once; keep one of them.",
    )


def test_an_alias_is_no_second_key():
    text = "model: m\nmethods:\n  rmu: &own {lr: 1, steps: 5}\n  late: {<<: *own, method: rmu, lr: 2}\n"
    assert parse_recipe(text, "r.yaml", "r").methods["late"] == {"lr": 2, "steps": 5, "method": "rmu"}
    with pytest.raises(UsageError, match=r"r\.yaml, line 2"):
        parse_recipe("model: m\nseeds: &own [*own]\n", "r.yaml", "r")


def test_numbers_that_are_texts_stay_texts():
    text = "model: m\nmethods:\n  own: {mask: 00111111, time: 12:30:45, steps: 12, lr: 5.0e-5}\n"
    recipe = parse_recipe(text, "r.yaml", "r")
    assert recipe.methods["own"] == {"mask": "00111111", "time": "12:30:45", "steps": 12, "lr": 5e-5}
    assert parse_recipe(recipe.to_yaml(), "again.yaml", "r") == recipe


@pytest.mark.parametrize("name", shipped_recipes())
def test_show_prints_a_recipe_that_is_one(cli, tmp_path, name):
    outcome = cli("recipe", "show", name)
    assert (outcome.code, outcome.err) == (0, "")
    assert Recipe.model_validate(yaml.safe_load(outcome.out)) == load_recipe(name)


def test_show_resolves_and_refuses(cli, tmp_path):
    shown = cli("recipe", "show", write(tmp_path, mine="extends: sandbox\nlimit: 7\n"))
    assert "extends" not in shown.out
    assert yaml.safe_load(shown.out)["limit"] == 7
    wrong = cli("recipe", "show", "sandbx")
    assert (wrong.code, wrong.out) == (2, "")
    assert "Did you mean 'sandbox'?" in wrong.err
