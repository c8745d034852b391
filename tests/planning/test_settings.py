"""What `--set` means: by the type of the option that it sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from unlearnbench.cli.search_options import with_settings
from unlearnbench.errors import UsageError
from unlearnbench.planning.recipe_files import load_recipe
from unlearnbench.planning.settings import apply_settings, parse_setting, read_settings
from unlearnbench.plugins.options import read_as, resolve_options
from unlearnbench.plugins.specs import MethodSpec
from unlearnbench.records.recipe import Recipe
from unlearnbench.system.files import JsonCache


def masked(
    model: object,
    *,
    mask: str = "",
    note: str | None = None,
    kind: Literal["on", "off"] = "on",
    flag: bool = False,
    rate: Annotated[float, Field(gt=0)] = 1.0,
    layers: list[int] | None = None,
) -> Any:
    """A method's factory, of which only the signature matters here."""


SPEC = MethodSpec(name="masked", factory=masked, summary="", source="", training=None)


def resolved(option: str, raw: str) -> Any:
    _, _, value = parse_setting(f"masked.{option}={raw}")
    return resolve_options(SPEC, {option: value}, "masked")[option]


@pytest.mark.parametrize(
    ("option", "raw", "expected"),
    [
        ("mask", "00111111", "00111111"),
        ("mask", "12", "12"),
        ("mask", "1.50", "1.50"),
        ("mask", "1_000", "1_000"),
        ("mask", "12:30:45", "12:30:45"),
        ("mask", "2024-01-01", "2024-01-01"),
        ("mask", "2024-99-99", "2024-99-99"),
        ("mask", "yes", "yes"),
        ("mask", "null", "null"),
        ("mask", "", ""),
        ("mask", "[INST] {topic}", "[INST] {topic}"),
        ("mask", "A novice writes:\n", "A novice writes:\n"),
        ("mask", " # 1", " # 1"),
        ("mask", "'00'", "00"),
        ("mask", '"a:\\n"', "a:\n"),
        ("note", "007", "007"),
        ("note", "null", None),
        ("kind", "off", "off"),
        ("flag", "off", False),
        ("flag", "true", True),
        ("rate", "1e-2", 0.01),
        ("rate", "0.50", 0.5),
        ("layers", "[1, 2]", [1, 2]),
        ("layers", "null", None),
    ],
)
def test_the_options_type_decides(option, raw, expected):
    assert resolved(option, raw) == expected


@pytest.mark.parametrize(
    ("option", "raw", "said"),
    [
        ("layers", "[1,", "Option masked.layers takes list[int] | None: input should be a valid list, got '[1,'."),
        ("rate", "zero", "Option masked.rate takes float > 0: "),
        ("kind", "true", "Option masked.kind takes Literal['on', 'off']: input should be 'on' or 'off', got 'true'."),
    ],
)
def test_what_a_type_does_not_take(option, raw, said):
    with pytest.raises(UsageError) as error:
        resolved(option, raw)
    assert said in str(error.value)


def test_a_recipes_text_that_yaml_reads_as_something_else_is_refused():
    with pytest.raises(UsageError, match=r"got 1\.5; in a recipe a text that reads as something else stands in quotes\."):
        resolve_options(SPEC, {"mask": 1.5}, "masked")


def test_more_types():
    assert read_as(Path, 12) == "12"
    assert read_as(Annotated[str, Field(min_length=1)], 12) == "12"
    assert read_as(str | int, 12) == 12


def test_what_was_read_can_be_written_down_and_is_remembered(tmp_path):
    memory = JsonCache(tmp_path / "memory.json")
    settings = ["elm.novice=A novice says:", "rmu.lr=0.010", "rmu.layers=[1, 2]", "wmdp.source=007", "Mt-Bench.judge_url=null"]
    recipe = apply_settings(load_recipe("sandbox"), settings)
    for _ in range(2):
        read = read_settings(recipe, memory)
        assert read.methods["elm"]["novice"] == "A novice says:"
        assert (read.methods["rmu"]["lr"], read.methods["rmu"]["layers"]) == (0.01, [1, 2])
        assert read.benchmarks["wmdp"]["source"] == "007"
        assert read.benchmarks["mt_bench"]["judge_url"] is None
    assert Recipe.model_validate_json(read.model_dump_json()) == read
    broken = read_settings(recipe, memory, broken=["elm"])
    assert broken.methods["elm"]["novice"] == {"A novice says": None}


def test_a_search_gets_values_that_are_read_and_leaves_them_alone():
    settings = ["elm.novice=A novice says:", "RMU.lr=0.010", "wmdp.source=007"]
    recipe = with_settings(load_recipe("sandbox"), settings)
    assert (recipe.methods["elm"]["novice"], recipe.methods["rmu"]["lr"]) == ("A novice says:", 0.01)
    assert recipe.benchmarks["wmdp"]["source"] == "007"
    assert recipe.tune.spaces["elm"]["novice"] is None
    assert recipe.tune.spaces["rmu"]["lr"] is None
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_trainer_and_topics():
    sandbox = load_recipe("sandbox")
    settings = [
        "trainer.gradient_clip_val=1e-1",
        "trainer.logger=none",
        "topics.bio.max_length=64",
        "topics.cyber.parts=[wmdp/bio, wmdp/cyber]",
        "topics.chem.forget=00123",
        "topics.bio.retain_max_length=null",
    ]
    recipe = apply_settings(sandbox, settings)
    assert (recipe.trainer.gradient_clip_val, recipe.trainer.logger) == (0.1, "none")
    assert (recipe.topics["bio"].max_length, recipe.topics["bio"].forget) == (64, sandbox.topics["bio"].forget)
    assert recipe.topics["cyber"].parts == ["wmdp/bio", "wmdp/cyber"]
    assert recipe.topics["chem"].forget == "00123"
    assert sandbox.trainer.gradient_clip_val is None


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("trainer.device=2", "Unknown option of trainer 'device'. Did you mean 'devices'?"),
        ("trainer.devices=0", "Option trainer.devices takes int > 0: input should be greater than 0, got 0."),
        ("trainer.gradient_clip_val=much", "Option trainer.gradient_clip_val takes float | None: "),
        ("topics.bo.max_length=3", "Did you mean 'topics.bio'?"),
        ("topics.bio.maxlength=3", "Unknown option of topics.bio 'maxlength'. Did you mean 'max_length'?"),
        ("topics.max_length=3", "It must be one of the comparison's rows or benchmarks, topics.TOPIC or trainer."),
    ],
)
def test_what_trainer_and_topics_do_not_take(setting, said):
    with pytest.raises(UsageError) as error:
        apply_settings(load_recipe("sandbox"), [setting])
    assert said in str(error.value)


def test_every_mistake_is_said_at_once_and_nothing_is_written(cli, tmp_path):
    settings = ("trainer.device=2", "topics.bio.min_chars=-1", "rmu.lr_warm_up=0.1", "ssd.lr=1", "ssd.lr_schedule=linear")
    wrong = [part for setting in settings for part in ("--set", setting)]
    scored = ("--methods", "rmu,ssd", "--benchmarks", "mmlu")
    outcome = cli("compare", *scored, *wrong, "--out", tmp_path / "run")
    assert outcome.code == 2
    for said in ("4 things", "'device'", "topics.bio.min_chars takes int >= 0", "rmu.lr_warm_up needs a schedule"):
        assert said in outcome.err
    assert not (tmp_path / "run").exists()
    outcome = cli("compare", *scored, "--set", "ssd.lr_schedule=linear", "--out", tmp_path / "run")
    assert "'ssd' does not fit sandbox:model: it has no learning rate that could follow a schedule" in outcome.err
