"""A recipe: one YAML file that describes one comparison, and the overrides of the command line."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from unlearnbench.errors import Problems, UsageError, unknown_name
from unlearnbench.records.base import Half, Options, without_empty
from unlearnbench.records.cells import Ideal
from unlearnbench.records.manifest import BASELINE
from unlearnbench.records.search_space import read_domain

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(:[^\s]+)?")
ATTACK_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(:[A-Za-z0-9._-]+)?")
BREAKS = re.compile("[\x85\u2028\u2029]")
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Topic(_Section):
    """A topic to forget.

    Attributes:
        forget: source of the texts to forget.
        retain: source of the texts to keep.
        parts: parts of benchmarks that measure the topic, as BENCHMARK/PART; None means every part of that name.
        max_length: longest forget text in tokens; a method whose budget is smaller cuts it there (RMU's reference: 512 for its
            first topic, 768 for the next).
        retain_max_length: longest retain text in tokens; a method whose budget is smaller cuts it there.
        min_chars: number of characters; texts of at most so many are left out, in both corpora.
    """

    forget: str
    retain: str | None = None
    parts: list[str] | None = None
    max_length: int | None = Field(default=None, gt=1)
    retain_max_length: int | None = Field(default=None, gt=1)
    min_chars: int = Field(default=0, ge=0)


class TrainerOptions(_Section):
    """The settings of training: these of Lightning's Trainer are the user's, the others follow from them.

    Attributes:
        devices: number of processes that share each update's batch, one per GPU or, on the CPU, as many as asked for.
        strategy: strategy by which they exchange gradients; `auto` is `ddp` where there is more than one.
        precision: precision of the computation; the weights keep the recipe's dtype. There is no float16: the head's gradients
            are taken on the way forward, before a loss could be scaled up.
        logger: logger of the training: `csv` writes metrics.csv per job; `tensorboard`, `wandb` and `mlflow` write that and
            what they read below the comparison's `logs`; `none` writes nothing.
        log_every_n_steps: fewest updates from one logged value of a name to its next.
        gradient_clip_val: largest norm, or largest value, of the gradients; None does not clip.
        gradient_clip_algorithm: rule of clipping: `norm` over all trained parameters together, or `value` of each.
        deterministic: true refuses operations that are not deterministic.
        detect_anomaly: true reports the operation that made the first NaN; slow.
    """

    devices: int = Field(default=1, gt=0)
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true"] = "auto"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    logger: Literal["csv", "tensorboard", "wandb", "mlflow", "none"] = "csv"
    log_every_n_steps: int = Field(default=1, gt=0)
    gradient_clip_val: float | None = Field(default=None, gt=0)
    gradient_clip_algorithm: Literal["norm", "value"] = "norm"
    deterministic: bool = False
    detect_anomaly: bool = False

    def identity(self) -> dict[str, Any]:
        """Return the settings that may change the unlearned weights."""
        return self.model_dump(exclude={"logger", "log_every_n_steps", "detect_anomaly"})


class TuneOptions(_Section):
    """The settings of a search: the same for every row; the command line gives the number of trials.

    Attributes:
        keep_at_least: smallest K of a trial that is chosen for its F.
        reference: true reads F of the trials against the comparison's reference, and the table says so; false against chance,
            as a user who has no such model must.
        seed: seed of the sampler.
        probe_every: updates between two looks at a trial, which is stopped where it is hopeless; None lets all finish.
        probe_items: number of items of each part that a look asks.
        spaces: domain of each option, by row, beside or instead of what the method declares: [a, b, c], {linear: [low, high]},
            {log: [low, high]}, {blocks: [low, high]}, {steps: [low, high]}; null leaves it as it is.
    """

    keep_at_least: float = Field(default=0.95, ge=0, le=1)
    reference: bool = False
    seed: int = Field(default=0, ge=0, lt=2**32)
    probe_every: int | None = Field(default=None, gt=0)
    probe_items: int = Field(default=8, gt=0)
    spaces: dict[str, dict[str, Any]] = {}

    @field_validator("spaces")
    @classmethod
    def _check_spaces(cls, spaces: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for value in (value for options in spaces.values() for value in options.values() if value is not None):
            read_domain(value)
        return spaces


class Recipe(_Section):
    """Everything one comparison needs to know.

    Attributes:
        name: name of the output folder; the file's stem by default.
        model: source of the base model.
        dtype: dtype of weights and computation; `auto` is bfloat16 on a GPU that has it, else float32.
        topics: topics to forget, by name.
        benchmarks: benchmarks to score with, and each one's options.
        methods: rows of the table; a row whose key is not a method's name says `method: NAME`.
        checkpoints: rows that are finished models: name -> model source.
        reference: rows that never knew what is to be forgotten, such as models retrained without it; the mean of their scores
            is the ideal of every forget measure that declares no other.
        primary: measures that count in F and K, by benchmark, where it has several: a name or a list.
        ideals: score that unlearning should come to, by measure (BENCHMARK, or BENCHMARK:MEASURE): chance, base, reference or a
            number, instead of what the measure declares.
        attacks: attacks on every row, and each one's options; an attack whose key is not a plugin's name says `attack: NAME`.
        controls: rows that add random noise, as much as another row changes and to the same tensors: name -> that row.
        seeds: seeds; each trained row runs once per seed.
        limit: number of items scored in each part, from the first on; null scores all.
        half: half of each benchmark's items: `selection`, which settings are chosen on, or `reporting`, the others.
        trainer: settings of training: devices, strategy, precision, logger.
        evaluate_every: updates from one scoring of the half that chooses to the next; the best weights of a training are kept.
        tune: settings of a search.
        floors: S below which a trial of a search is stopped at a look, by row and update.
        tuned: label in the table of a row whose settings were searched: row -> `tuned 8`.
    """

    name: str = "comparison"
    model: str
    dtype: Dtype = "auto"
    topics: dict[str, Topic] = {}
    benchmarks: dict[str, dict[str, Any]] = {}
    methods: dict[str, dict[str, Any]] = {}
    checkpoints: dict[str, str] = {}
    reference: list[str] = []
    primary: dict[str, list[str]] = {}
    ideals: dict[str, Ideal] = {}
    attacks: dict[str, dict[str, Any]] = {}
    controls: dict[str, str] = {}
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default=[0], min_length=1)
    limit: int | None = Field(default=None, gt=0)
    half: Half | None = None
    trainer: TrainerOptions = TrainerOptions()
    evaluate_every: int | None = Field(default=None, gt=0)
    tune: TuneOptions = TuneOptions()
    floors: dict[str, dict[int, float]] = {}
    tuned: dict[str, str] = {}

    @field_validator("reference", mode="before")
    @classmethod
    def _one_or_several(cls, reference: Any) -> Any:
        return [reference] if isinstance(reference, str) else reference or []

    @field_validator("primary", mode="before")
    @classmethod
    def _one_or_several_each(cls, primary: Any) -> Any:
        if not isinstance(primary, dict):
            return primary
        return {name: [names] if isinstance(names, str) else names for name, names in primary.items()}

    @model_validator(mode="after")
    def _check_half(self) -> Recipe:
        if self.evaluate_every is not None and self.half is None:
            raise ValueError("evaluate_every chooses weights on one half of the questions: add `half: reporting`")
        return self

    @model_serializer(mode="wrap")
    def _leave_out(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_empty(handler(self), "attacks")

    @property
    def looks_every(self) -> int | None:
        """Return the number of updates from one look at a training to the next; None looks at none."""
        return self.evaluate_every or (self.tune.probe_every if self.half == "selection" else None)

    def variants(self) -> dict[str, tuple[str, Options]]:
        """Return each row's method and its given options, the baseline first."""
        rows: dict[str, tuple[str, Options]] = {BASELINE: (BASELINE, {})}
        for variant, options in self.methods.items():
            given = dict(options)
            rows[variant] = (str(given.pop("method", variant)), given)
        return rows

    def to_yaml(self) -> str:
        """Return the recipe as a file that loads to the same recipe."""
        return yaml.dump(self.model_dump(mode="json", exclude_none=False), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """A YAML dumper whose texts are read as they were: PyYAML loses Unicode's own line breaks unless they are escaped."""


def _as_it_is(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if BREAKS.search(text) else None)


_Dumper.add_representer(str, _as_it_is)


def check_names(recipe: Recipe) -> Recipe:
    """Refuse names that could not be folder names, all at once; they come from users and plugins."""
    problems = Problems()
    named = [*recipe.methods, *recipe.checkpoints, *recipe.controls, *recipe.benchmarks, *recipe.topics, recipe.name]
    for name in named:
        if not NAME.fullmatch(name) or ".." in name:
            problems.add(
                UsageError(
                    f"The name '{name}' must start with a letter or digit and use only letters, digits, '-', '_' and '.'."
                )
            )
    for name in recipe.attacks:
        if not ATTACK_LABEL.fullmatch(name) or ".." in name:
            problems.add(
                UsageError(
                    f"The attack '{name}' must start with a letter or digit and use only letters, digits, '-', '_' and '.', "
                    "with one ':' between them at most; under `attacks` a name of your own says `attack: NAME`."
                )
            )
    rows = [*recipe.variants(), *recipe.checkpoints, *recipe.controls]
    kinds = (("checkpoint", "--checkpoint OTHER=PATH", recipe.checkpoints), ("control", "--control OTHER=ROW", recipe.controls))
    for kind, flag, added in kinds:
        for name in (name for name in added if rows.count(name) > 1):
            problems.add(UsageError(f"Two rows are called '{name}'; give the {kind} another name: {flag}."))
    for name in recipe.reference:
        if name not in rows or name == BASELINE:
            more = "The reference is a row that never knew: a checkpoint, or a method's row."
            problems.add(unknown_name("row in reference", name, [row for row in rows if row != BASELINE], more))
    problems.settle()
    return recipe
