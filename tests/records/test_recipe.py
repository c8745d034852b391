from __future__ import annotations

import pytest

from unlearnbench.errors import UsageError
from unlearnbench.planning.recipe_files import load_recipe, parse_recipe, shipped_recipes
from unlearnbench.planning.settings import apply_settings
from unlearnbench.plugins.options import list_options, resolve_options
from unlearnbench.plugins.registry import find_plugin


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_fit_the_factories(name):
    recipe = load_recipe(name)
    for variant, (method, options) in recipe.variants().items():
        resolve_options(find_plugin("method", method).spec, options, variant)
    for benchmark, options in recipe.benchmarks.items():
        resolve_options(find_plugin("benchmark", benchmark).spec, options, benchmark)


@pytest.mark.parametrize("name", shipped_recipes())
def test_resolved_recipe_loads_to_the_same(name):
    recipe = load_recipe(name)
    assert parse_recipe(recipe.to_yaml(), "recipe.yaml", "other") == recipe


def test_defaults_stand_in_the_signature_alone():
    options = {option.name: option.default for option in list_options(find_plugin("method", "rmu").spec)}
    assert (options["layer"], options["coefficient"], options["alpha"], options["lr"]) == (7, 6.5, 1200.0, 5e-5)
    assert (options["eps"], options["weight_decay"], options["masked"], options["vector"]) == (1e-6, 0.0, False, "uniform")
    assert (options["steps"], options["batch_size"], options["max_length"], options["order"]) == (150, 4, 512, "file")


def test_settings_reach_rows_and_benchmarks():
    recipe = load_recipe("sandbox")
    changed = apply_settings(recipe, ["rmu.lr=3e-5", "rmu.layers=[1, 2]", "mmlu.shots=5", "RMU.steps=7"])
    assert changed.methods["rmu"]["steps"] == 7
    options = resolve_options(find_plugin("method", "rmu").spec, changed.methods["rmu"], "rmu")
    assert (options["lr"], options["layers"]) == (3e-5, [1, 2])
    assert changed.benchmarks["mmlu"]["shots"] == 5
    assert recipe.methods["rmu"]["steps"] == 150


def test_key_without_value_means_defaults():
    recipe = parse_recipe("model: m\nbenchmarks:\n  wmdp:\nmethods:\n  rmu:\n", "r.yaml", "r")
    assert recipe.benchmarks == {"wmdp": {}}
    assert recipe.methods == {"rmu": {}}


@pytest.mark.parametrize("name", ["..", "a/../b", "/etc", "-x", ""])
def test_row_names_are_safe_folder_names(name):
    with pytest.raises(UsageError, match="must start with a letter or digit"):
        parse_recipe(f"model: m\nmethods: {{'{name}': {{}}}}\n", "r.yaml", "r")
