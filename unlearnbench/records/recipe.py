"""A recipe: one YAML file that describes one comparison, and the overrides of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from unlearnbench.errors import CombinedUsageError, Problems, UsageError, closest, normalise, unknown_name
from unlearnbench.plugins.options import Options, Value
from unlearnbench.records.cells import Half
from unlearnbench.records.search_space import read_domain

BASELINE = "none"
CHECKPOINT = "checkpoint"  # the method of a row that is somebody's finished model
RANDOM_NOISE = "random-noise"  # the method of a row that changes what another row changes, by as much, at random
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(:[^\s]+)?")
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Topic(_Section):
    """One thing to forget.

    Attributes:
        forget: source of the texts to forget.
        retain: source of the texts to keep.
        parts: the benchmark parts that measure the topic, as BENCHMARK/PART; None means every part of that name.
        max_length: tokens that are left of a forget text at most; a method whose budget is smaller cuts it there (RMU's
            reference: 512 for its first topic, 768 for the next).
        retain_max_length: likewise of a retain text.
        min_chars: texts of at most so many characters are left out, in both corpora.
    """

    forget: str
    retain: str | None = None
    parts: list[str] | None = None
    max_length: int | None = Field(default=None, gt=1)
    retain_max_length: int | None = Field(default=None, gt=1)
    min_chars: int = Field(default=0, ge=0)


class TrainerOptions(_Section):
    """How methods are trained: these settings of Lightning's Trainer are the user's, the others follow from them.

    Attributes:
        devices: processes that share each update's batch, one per GPU or, on the CPU, as many as asked for.
        strategy: how they exchange gradients; `auto` is `ddp` where there is more than one.
        precision: of the computation; the weights keep the recipe's dtype. There is no float16: the head's gradients are taken
            on the way forward, before a loss could be scaled up.
        logger: `csv` writes metrics.csv per job, `tensorboard` also event files, `none` nothing.
        log_every_n_steps: updates at least from one logged value of a name to its next.
        gradient_clip_val: largest norm, or largest value, of the gradients; None does not clip.
        gradient_clip_algorithm: `norm` over all trained parameters together, or `value` of each.
        deterministic: refuse operations that are not.
        detect_anomaly: slow; says which operation made the first NaN.
    """

    devices: int = Field(default=1, gt=0)
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true"] = "auto"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    logger: Literal["csv", "tensorboard", "none"] = "csv"
    log_every_n_steps: int = Field(default=1, gt=0)
    gradient_clip_val: float | None = Field(default=None, gt=0)
    gradient_clip_algorithm: Literal["norm", "value"] = "norm"
    deterministic: bool = False
    detect_anomaly: bool = False

    def identity(self) -> dict[str, Any]:
        """What of it may change the unlearned weights."""
        return self.model_dump(exclude={"logger", "log_every_n_steps", "detect_anomaly"})


class TuneOptions(_Section):
    """How settings are searched: the same way for every row; the command line says how many trials.

    Attributes:
        keep_at_least: K that a trial must keep to be chosen for its F.
        seed: of the sampler.
        probe_every: look at a trial every so many updates, and give it up where it is hopeless; None lets all finish.
        probe_items: how many items of each part a look asks.
        spaces: row -> option -> what it is chosen from, beside or instead of what the method declares: [a, b, c],
            {linear: [low, high]}, {log: [low, high]}, {blocks: [low, high]}, {steps: [low, high]}; null leaves it as it is.
    """

    keep_at_least: float = Field(default=0.95, ge=0, le=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    probe_every: int | None = Field(default=None, gt=0)
    probe_items: int = Field(default=8, gt=0)
    spaces: dict[str, dict[str, Any]] = {}

    @field_validator("spaces")
    @classmethod
    def _check_spaces(cls, spaces: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for value in (value for own in spaces.values() for value in own.values() if value is not None):
            read_domain(value)
        return spaces


class Recipe(_Section):
    """Everything one comparison needs to know.

    Attributes:
        name: of the output folder; the file's stem.
        model: source of the base model.
        dtype: of weights and computation; `auto` is bfloat16 on a GPU that has it, else float32.
        topics: what to forget, by topic name.
        benchmarks: what to score with, and each one's options.
        methods: rows of the table; a row whose key is not a method's name says `method: NAME`.
        checkpoints: rows that are finished models: name -> model source.
        controls: rows that add random noise, as much as another row changes and to the same tensors: name -> that row.
        seeds: each trained row runs once per seed.
        limit: the first N items of each part; evaluation only.
        half: of each benchmark's items: `selection`, which settings are chosen on, or `reporting`, the others.
        trainer: how methods are trained: devices, strategy, precision, logger.
        evaluate_every: score the half that chooses every so many updates of a training, and keep its best weights.
        tune: how settings are searched, where they are.
        floors: of a search: row -> update -> S of a look below which the trial is given up.
        tuned: what the table says of a row whose settings were searched: row -> `tuned 8`.
    """

    name: str = "comparison"
    model: str
    dtype: Dtype = "auto"
    topics: dict[str, Topic] = {}
    benchmarks: dict[str, dict[str, Any]] = {}
    methods: dict[str, dict[str, Any]] = {}
    checkpoints: dict[str, str] = {}
    controls: dict[str, str] = {}
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default=[0], min_length=1)
    limit: int | None = Field(default=None, gt=0)
    half: Half | None = None
    trainer: TrainerOptions = TrainerOptions()
    evaluate_every: int | None = Field(default=None, gt=0)
    tune: TuneOptions = TuneOptions()
    floors: dict[str, dict[int, float]] = {}
    tuned: dict[str, str] = {}

    @model_validator(mode="after")
    def _check_half(self) -> Recipe:
        if self.evaluate_every is not None and self.half is None:
            raise ValueError("evaluate_every chooses weights on one half of the questions: add `half: reporting`")
        return self

    @property
    def looks_every(self) -> int | None:
        """How many updates lie between two looks at a training; None looks at none."""
        return self.evaluate_every or (self.tune.probe_every if self.half == "selection" else None)

    def variants(self) -> dict[str, tuple[str, Options]]:
        """Each row's method and its given options, the baseline first."""
        rows: dict[str, tuple[str, Options]] = {BASELINE: (BASELINE, {})}
        for variant, options in self.methods.items():
            given = dict(options)
            rows[variant] = (str(given.pop("method", variant)), given)
        return rows

    def to_yaml(self) -> str:
        """The recipe as a file that loads to the same recipe."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_none=False), sort_keys=False, allow_unicode=True)


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("unlearnbench") / "recipes"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name_or_path: str) -> Recipe:
    """A shipped recipe by name, or a YAML file by path.

    Raises:
        UsageError: no such recipe, not YAML, or a key that does not exist (with its line and a suggestion).
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"The recipe {path} cannot be read: {_reason(error)}.") from error
        return parse_recipe(text, str(path), path.stem)
    if name_or_path not in shipped_recipes():
        raise unknown_name("recipe", name_or_path, shipped_recipes(), "A recipe of your own is a path that ends in .yaml.")
    text = (resources.files("unlearnbench") / "recipes" / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    return parse_recipe(text, f"{name_or_path}.yaml", name_or_path)


def parse_recipe(text: str, origin: str, name: str) -> Recipe:
    """Parse YAML; `origin` is named in messages, `name` is the default recipe name."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"{origin}{where} is not valid YAML: {getattr(error, 'problem', error)}.") from error
    if not isinstance(content, dict):
        raise UsageError(f"{origin} must be a mapping with the keys {', '.join(Recipe.model_fields)}.")
    # a key without a value (`wmdp:`) means "with its defaults"
    for section in ("benchmarks", "methods"):
        if isinstance(content.get(section), dict):
            content[section] = {key: {} if value is None else value for key, value in content[section].items()}
    try:
        recipe = Recipe.model_validate({"name": name, **content})
    except ValidationError as error:
        raise _explain(error, root, origin) from error
    return check_names(recipe)


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
    rows = [*recipe.variants(), *recipe.checkpoints, *recipe.controls]
    kinds = (("checkpoint", "--checkpoint OTHER=PATH", recipe.checkpoints), ("control", "--control OTHER=ROW", recipe.controls))
    for kind, flag, added in kinds:
        for name in (name for name in added if rows.count(name) > 1):
            problems.add(UsageError(f"Two rows are called '{name}'; give the {kind} another name: {flag}."))
    problems.settle()
    return recipe


def _explain(error: ValidationError, root: yaml.Node | None, origin: str) -> UsageError:
    """A sentence about each problem: the line, what was given, what is allowed."""
    problems = [_explain_one(one, root, origin) for one in error.errors()]
    return problems[0] if len(problems) == 1 else CombinedUsageError(map(str, problems))


def _explain_one(first: Mapping[str, Any], root: yaml.Node | None, origin: str) -> UsageError:
    location = list(first["loc"])
    line, section = _locate(root, location)
    dotted = ".".join(str(part) for part in location)
    if first["type"] == "extra_forbidden":
        allowed = {"topics": Topic, "trainer": TrainerOptions, "tune": TuneOptions}.get(section, Recipe).model_fields
        guess = closest(str(location[-1]), allowed)
        meant = f" Did you mean '{guess}'?" if guess else ""
        return UsageError(f"{origin}, line {line}: unknown key '{dotted}'.{meant} Allowed: {', '.join(allowed)}.")
    if first["type"] == "missing":
        return UsageError(f"{origin}, line {line}: the key '{dotted}' is missing; it has no default.")
    problem = re.sub(r"a valid dictionary( or instance of \w+)?", "a mapping", first["msg"][0].lower() + first["msg"][1:])
    return UsageError(f"{origin}, line {line}: '{dotted}': {problem}, got {first['input']!r}.")


def _locate(node: yaml.Node | None, location: Iterable[object]) -> tuple[int, str]:
    """The 1-based line of a key and the top-level section it stands in."""
    steps = list(location)
    line = 1
    for step in steps:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(step):
                    line, node = key.start_mark.line + 1, value
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            item: yaml.Node = node.value[step]
            line, node = item.start_mark.line + 1, item
    return line, str(steps[0]) if steps else ""


def parse_setting(text: str) -> tuple[str, str, Value]:
    """`NAME.option=value` -> (name, option, value); the value is read as YAML."""
    target, equals, raw = text.partition("=")
    name, dot, option = target.rpartition(".")
    if not equals or not dot or not name or not option:
        raise UsageError(f"--set takes NAME.option=value, as in --set rmu.lr=5e-5; got '{text}'.")
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {text}: the value is not valid YAML.") from error
    return name, option, value


def apply_settings(recipe: Recipe, settings: Iterable[str], problems: Problems | None = None) -> Recipe:
    """Add `--set` values to the variants and benchmarks they name.

    Args:
        recipe: to change.
        settings: `NAME.option=value`.
        problems: where to note what is wrong, and leave it out; None raises it.

    Raises:
        UsageError: a name is neither a row nor a benchmark of the recipe.
    """
    noted = Problems() if problems is None else problems
    methods = {name: dict(options) for name, options in recipe.methods.items()}
    benchmarks = {name: dict(options) for name, options in recipe.benchmarks.items()}
    for text in settings:
        with noted.noted():
            name, option, value = parse_setting(text)
            found = _same_name(name, methods) or _same_name(name, benchmarks)
            if found is None:
                allowed = [*methods, *benchmarks]
                raise unknown_name("name in --set", name, allowed, "It must be one of the comparison's rows or benchmarks.")
            (methods if found in methods else benchmarks)[found][option] = value
    if problems is None:
        noted.settle()
    return recipe.model_copy(update={"methods": methods, "benchmarks": benchmarks})


def _same_name(name: str, known: Mapping[str, object]) -> str | None:
    return next((candidate for candidate in known if normalise(candidate) == normalise(name)), None)


def one_row(recipe: Recipe, variant: str, seed: int, benchmarks: Sequence[str]) -> Recipe:
    """What of a recipe one job needs: its row, and for a control the row that it is like; no benchmarks means all."""
    rows = {variant, recipe.controls.get(variant)}
    changes: dict[str, Any] = {
        section: {name: value for name, value in getattr(recipe, section).items() if name in rows}
        for section in ("methods", "checkpoints", "controls")
    }
    if benchmarks and recipe.looks_every is None:  # a look asks all of them
        changes["benchmarks"] = {name: options for name, options in recipe.benchmarks.items() if name in benchmarks}
    return recipe.model_copy(update={**changes, "seeds": [seed]})


def select(names: Iterable[str], configured: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The named entries: those the recipe configures keep their options, new ones start from their defaults."""
    chosen: dict[str, dict[str, Any]] = {}
    for name in names:
        known = _same_name(name, configured)
        chosen[known or name] = dict(configured[known]) if known else {}
    return chosen


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "it is not UTF-8 text"
