"""The specs that plugins offer: that of a method, with its budget, that of a benchmark and that of an attack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from unlearnbench.records.search_space import Domain, Space

if TYPE_CHECKING:
    from unlearnbench.robustness.attack import Attack
    from unlearnbench.scoring.benchmark import Benchmark
    from unlearnbench.training.method import UnlearningMethod


@dataclass(frozen=True, kw_only=True)
class Training:
    """A method's budget. Every field can be overridden like an option (`--set rmu.steps=80`).

    Attributes:
        steps: number of optimizer updates in total, over all topics together.
        batch_size: sequences per update on the forget side, and as many on the retain side.
        max_length: largest number of tokens per sequence; longer texts are cut at the end. A topic may cut its corpora shorter.
        max_chars: largest number of characters per text, cut before it becomes tokens, as the WMDP paper ran its baselines;
            None cuts none.
        order: order of the texts: `file` takes the corpus in its own order, as RMU's reference does; `shuffled` reorders it by
            the seed.
        accumulate: pieces that each update's batch is computed in; memory falls, the update stays the same.
        checkpointing: true computes the blocks' activations again in the backward pass instead of keeping them.
        lr_schedule: shape of the learning rate: `constant` keeps it; `linear` and `cosine` let it fall to 0 at the end of the
            budget. Any of them takes the place of a schedule that the method brings itself; None leaves that, and most methods
            have none.
        lr_warm_up: share of the updates in which the learning rate first rises from 0, with an `lr_schedule`.
    """

    steps: PositiveInt = 150
    batch_size: PositiveInt = 4
    max_length: Annotated[int, Field(ge=2)] = 512  # a single token predicts nothing
    max_chars: PositiveInt | None = None
    order: Literal["file", "shuffled"] = "shuffled"
    accumulate: PositiveInt = 1
    checkpointing: bool = False
    lr_schedule: Literal["constant", "linear", "cosine"] | None = None
    lr_warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.0


@dataclass(frozen=True, kw_only=True)
class MethodSpec:
    """An unlearning method as a plugin offers it.

    Attributes:
        name: name as users type it; also the name of the entry point.
        factory: class or function that builds the method, called as `factory(model, **options)`; its keyword-only parameters
            are the method's options, and pydantic's types (`PositiveFloat`) bound them.
        summary: summary in one line.
        source: paper or repository of the method.
        training: the default budget; None for a method that needs no pass over the corpora.
        space: range of each option that tuning searches, by name: `{"lr": Log(1e-5, 1e-2)}`; a method without one runs with its
            defaults.
    """

    name: str
    factory: Callable[..., UnlearningMethod]
    summary: str
    source: str
    training: Training | None = Training()
    space: Space = field(default_factory=dict[str, Domain])


@dataclass(frozen=True, kw_only=True)
class BenchmarkSpec:
    """A benchmark as a plugin offers it.

    Attributes:
        name: the name as users type it; also the name of the entry point.
        factory: the benchmark's class, or a function that makes the benchmark, called as `factory(**options)`; its keyword-only
            parameters are the benchmark's options, and pydantic's types (`PositiveInt`) bound them.
        summary: one line.
        source: paper or data set.
    """

    name: str
    factory: Callable[..., Benchmark]
    summary: str
    source: str


Access = Literal["prompt", "activations", "weights"]
"""The type of what an attacker needs of a model: to write its prompts, to read its activations, or to have its weights."""


@dataclass(frozen=True, kw_only=True)
class AttackSpec:
    """An attack as a plugin offers it.

    Attributes:
        name: name as users type it; also the name of the entry point.
        factory: the attack's class, or a function that makes the attack, called as `factory(**options)`; its keyword-only
            parameters are the attack's options, and pydantic's types (`PositiveFloat`) bound them. `argument` takes what stands
            behind the colon of `NAME:ARGUMENT`.
        summary: summary in one line.
        source: paper or repository of the attack.
        access: part of the model that an attacker needs.
        teaches: True for an attack that shows texts on the topic: what comes back may then have been taught, unless a model
            that never knew is attacked, too.
        stress: True for a fixed transformation, as in deployment, that chooses nothing: all items are reported, and a score may
            fall.
        reads_corpora: True for an attack that reads the topics' corpora.
    """

    name: str
    factory: Callable[..., Attack]
    summary: str
    source: str
    access: Access
    teaches: bool = False
    stress: bool = False
    reads_corpora: bool = False


PluginSpec = MethodSpec | BenchmarkSpec | AttackSpec
"""The type of the spec of a plugin: of a method, a benchmark or an attack."""
