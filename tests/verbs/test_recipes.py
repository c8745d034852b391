"""What a call from Python makes of a recipe: the same as the command line, and as a file would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import unlearnbench
from unlearnbench import Budget, Execution, Limits, Recipe, UsageError, load_recipe
from unlearnbench.errors import Problems
from unlearnbench.verbs.recipes import options_in, with_benchmarks, with_fixed, with_methods

CONTENT = {"model": "sandbox:model", "benchmarks": {"wmdp": {"source": "sandbox:wmdp"}}, "methods": {"rmu": None}}


def test_a_recipe_in_every_form(tmp_path):
    """A mapping, a file of the same content, its path as text, and the recipe itself."""
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps(CONTENT))
    loaded = load_recipe(CONTENT)
    assert loaded.methods == {"rmu": {}}
    assert load_recipe(file) == load_recipe(str(file)) == loaded.model_copy(update={"name": "mine"})
    assert load_recipe(loaded) is loaded


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"modle": "x", "model": "y"}, "The recipe: unknown key 'modle'. Did you mean 'model'?"),
        ({"methods": {}}, "The recipe: the key 'model' is missing; it has no default."),
        ({"model": "x", "seeds": [-1]}, "The recipe: 'seeds.0': input should be greater than or equal to 0, got -1."),
        ({"model": "x", "methods": {"a b": {}}}, "The name 'a b' must start with a letter or digit"),
    ],
)
def test_a_bad_mapping(content, sentence):
    with pytest.raises(UsageError) as error:
        load_recipe(content)
    assert sentence in str(error.value)


def test_names_and_options():
    """A text is the command line's list; with a mapping options are added to those of the recipe."""
    recipe, problems = load_recipe("sandbox"), Problems()
    listed = with_methods(recipe, "rmu, retrain", problems)
    assert (list(listed.methods), list(listed.checkpoints)) == (["rmu"], ["retrain"])
    changed = with_methods(recipe, {"RMU": {"lr": 1.0}, "mine": {"method": "ssd"}}, problems)
    assert changed.methods == {"rmu": {**recipe.methods["rmu"], "lr": 1.0}, "mine": {"method": "ssd"}}
    assert with_benchmarks(recipe, {"mmlu": {"shots": 2}}, problems).benchmarks == {
        "mmlu": {**recipe.benchmarks["mmlu"], "shots": 2}
    }
    assert recipe.methods["rmu"]["lr"] != 1.0
    assert not problems


def test_given_options_are_not_searched():
    given = {"rmu": {"lr": 1.0}, "ssd": None}
    recipe = with_methods(load_recipe("sandbox"), given, Problems())
    spaces = with_fixed(recipe, options_in(given)).tune.spaces
    assert spaces["rmu"]["lr"] is None
    assert spaces["rmu"]["alpha"] is not None
    assert None not in spaces["ssd"].values()


@pytest.mark.parametrize(
    ("arguments", "sentences"),
    [
        (
            {"methods": ["sssd"], "benchmarks": "wdmp", "seeds": [-1], "damage_margin": 2, "device": "gpu"},
            [
                "Unknown method 'sssd'. Did you mean 'ssd'?",
                "Unknown benchmark 'wdmp'",
                "The recipe: 'seeds.0': input should be greater than or equal to 0, got -1.",
                "--damage-margin takes a share from 0 to below 1, as in 0.05; got 2.",
                "Unknown value of --device 'gpu'. Did you mean 'cpu'? Available: auto, cpu, cuda.",
            ],
        ),
        (
            {"methods": {"ssd": {"alhpa": 1}}, "limit": 0, "execution": Execution(executor="cloud")},
            [
                "Unknown option of ssd 'alhpa'. Did you mean 'alpha'?",
                "The recipe: 'limit': input should be greater than 0, got 0.",
                "Unknown executor 'cloud'. Available: isolated, local.",
            ],
        ),
        (
            {"execution": Execution(limits=Limits(jobs=2)), "methods": ["ssd"], "benchmarks": []},
            ["--jobs, --job-timeout and --job-memory need jobs in processes", "There is nothing to score with"],
        ),
        ({"methods": ["ssd"], "benchmarks": ["wmdp"], "rank_by": "wisdom"}, ["Unknown figure in --rank-by 'wisdom'."]),
        (
            {
                "methods": ["rmu"],
                "benchmarks": ["wmdp"],
                "execution": Execution(executor="isolated"),
                "loggers": lambda job: [],
            },
            ["Loggers that are given from Python cannot follow a job into other processes"],
        ),
        ({"recipe": "nowhere"}, ["Unknown recipe 'nowhere'."]),
        ({"recipe": "nowhere.yaml"}, ["The recipe nowhere.yaml cannot be read"]),
    ],
)
def test_mistakes_are_sentences_and_nothing_is_written(arguments, sentences, tmp_path, capfd):
    """All at once, as the command line says them."""
    with pytest.raises(UsageError) as error:
        unlearnbench.compare(**arguments, out=tmp_path / "run", cache=tmp_path / "cache")
    for sentence in sentences:
        assert sentence in str(error.value)
    assert not (tmp_path / "run").exists()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Limits(jobs=0), "--jobs takes a whole number of at least 1; got 0."),
        (lambda: Limits(seconds=-1), "--job-timeout takes a number of seconds above 0; got -1."),
        (lambda: Limits(bytes=0), "--job-memory takes a size above 0; got 0 bytes."),
        (lambda: Execution(keep_deltas="some"), "Unknown value of --keep-deltas 'some'. Available: all, best, none."),
        (lambda: Budget(), "tune needs a budget, the same for every method"),
        (lambda: Budget(trials=0), "--trials takes a whole number of at least 1; got 0."),
        (lambda: unlearnbench.tune(), "tune needs a budget, the same for every method"),
        (lambda: unlearnbench.evaluate("nowhere/at-all", ["wmdp"]), "nowhere/at-all"),
    ],
)
def test_values_that_are_none(call, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNLEARNBENCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError) as error:
        call()
    assert sentence in str(error.value)
    assert not Path("runs").exists()


def test_the_face():
    """Every name is there, typed names are the lazy ones, and what is unknown is an AttributeError."""
    for name in unlearnbench.__all__:
        assert getattr(unlearnbench, name) is not None
    assert set(unlearnbench.__all__) == {*unlearnbench._MODULE_OF, "__version__"}
    assert set(unlearnbench.__all__) <= set(dir(unlearnbench))
    assert unlearnbench.Recipe is Recipe
    with pytest.raises(AttributeError, match="has no 'nothing'"):
        unlearnbench.nothing  # noqa: B018
