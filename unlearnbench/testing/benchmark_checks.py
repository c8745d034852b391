"""The checks of benchmarks. Each is a function of a case: its name is the check's, its docstring the promise."""

from __future__ import annotations

import contextlib
import io
import math
import socket
import statistics
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from unittest import mock

import torch

from unlearnbench.errors import UsageError
from unlearnbench.plugins.options import resolve_options
from unlearnbench.plugins.specs import BenchmarkSpec
from unlearnbench.records.base import Options, Value
from unlearnbench.records.items import ItemResult
from unlearnbench.scoring.benchmark import Benchmark, MultipleChoiceBenchmark, Subject
from unlearnbench.scoring.choice.log_likelihood import encode_questions, longest_text
from unlearnbench.scoring.measures import faults, measure_score
from unlearnbench.testing.checks import CheckFailed, NotApplicable, Registry, require
from unlearnbench.testing.entry_points import described, entry_point_of, in_one_line, of_keywords_alone
from unlearnbench.testing.tiny_models import ConstantAnswers, Oracle, RandomAnswers, tiny_model, tiny_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BENCHMARK_CHECKS = Registry()
FEW, MANY = 3, 60  # items of each part
ERRORS = 4  # standard errors that chance may be away
LOCAL = ("127.0.0.1", "localhost", "::1")
Kind = Literal["llama", "oracle", "random", "A", "B", "C", "D"]  # a letter: always that answer
LETTERS: tuple[Kind, ...] = ("A", "B", "C", "D")
Answers = Callable[[Benchmark, "PreTrainedTokenizerBase"], Iterable[tuple[str, str]]]
"""The type of a function that, given a benchmark and a tokenizer, returns each prompt, as the model gets it, and its answer."""


class NoNetworkError(OSError):
    """A benchmark tried to reach the network."""


@dataclass(kw_only=True)
class Scored:
    """The result of one evaluation."""

    items: list[ItemResult] = field(default_factory=list)
    progress: int = 0
    printed: str = ""
    changed: list[str] = field(default_factory=list)
    error: Exception | None = None


class BenchmarkCase:
    """A benchmark under test; evaluations that several checks read run once."""

    def __init__(self, spec: BenchmarkSpec, options: Mapping[str, Value], answers: Answers | None = None) -> None:
        self.spec, self.answers = spec, answers
        self.problem: UsageError | None = None
        self.options: Options = {}
        self._instances: dict[int, Benchmark] = {}
        self._scored: dict[tuple[object, ...], Scored] = {}
        given = dict(options)
        argument = {"argument": given.pop("argument")} if "argument" in given else {}
        try:
            self.options = {**resolve_options(spec, given, spec.name), **argument}
        except UsageError as error:
            self.problem = error

    def benchmark(self, instance: int = 0) -> Benchmark:
        """Return one of several instances with the same options; the network is cut off while its data are read."""
        if self.problem is not None:
            raise NotApplicable("it cannot be built: see built_from_its_options")
        if instance not in self._instances:
            with no_network():
                self._instances[instance] = self.spec.factory(**self.options)
        return self._instances[instance]

    def scored(self, kind: Kind = "llama", limit: int | None = FEW, instance: int = 0) -> Scored:
        """Return the scores of one of the models, whether the evaluation stopped or not."""
        key = (kind, limit, instance)
        if key not in self._scored:
            self._scored[key] = self._score(self.benchmark(instance), kind, limit)
        return self._scored[key]

    def items(self, kind: Kind = "llama", limit: int | None = FEW, instance: int = 0) -> list[ItemResult]:
        """Return the items of a benchmark that runs to the end."""
        if kind != "llama":
            self.items()
        scored = self.scored(kind, limit, instance)
        if scored.error is None:
            return scored.items
        if kind == "llama":
            raise NotApplicable("it does not run to the end: see runs_to_the_end and works_offline")
        raise CheckFailed(f"on the {kind} model it stops with {type(scored.error).__name__}: {scored.error}") from scored.error

    def _score(self, benchmark: Benchmark, kind: Kind, limit: int | None) -> Scored:
        scored, printed = Scored(), io.StringIO()

        def progress(count: int) -> None:
            scored.progress += count

        try:
            with no_network(), contextlib.redirect_stdout(printed), torch.random.fork_rng(devices=[]):
                model = self._model(benchmark, kind)
                before = _state(model)
                subject = Subject(model=model, tokenizer=tiny_tokenizer(), seed=0, limit=limit, progress=progress)
                scored.items = list(benchmark.evaluate(subject))
                scored.changed = [name for name, value in _state(model).items() if not _equal(value, before.get(name))]
        except NotApplicable:
            raise
        except Exception as error:
            scored.error = error
        scored.printed = printed.getvalue().strip()
        return scored

    def _model(self, benchmark: Benchmark, kind: Kind) -> PreTrainedModel:
        if kind == "oracle":
            return Oracle(self._known(benchmark)).eval()
        if kind in LETTERS:
            return ConstantAnswers(kind).eval()
        return tiny_model() if kind == "llama" else RandomAnswers().eval()

    def _known(self, benchmark: Benchmark) -> list[tuple[list[int], list[int]]]:
        """Return prompts and right answers, in tokens."""
        tokenizer = tiny_tokenizer()
        if self.answers is not None:
            pairs = list(self.answers(benchmark, tokenizer))
            return [
                (
                    tokenizer(prompt, add_special_tokens=special)["input_ids"],
                    tokenizer(text, add_special_tokens=False)["input_ids"],
                )
                for prompt, text in pairs
                for special in (True, False)
            ]
        if not isinstance(benchmark, MultipleChoiceBenchmark):
            raise NotApplicable(
                "only its author knows the right answers; give the check `answers`, prompt and answer of each item"
            )
        limit = longest_text(RandomAnswers())
        known: list[tuple[list[int], list[int]]] = []
        for text in encode_questions(benchmark.questions, tokenizer, limit=limit, chat=benchmark.chat):
            right = [t for t in text.targets if t.option == benchmark.questions[text.question].answer]
            if right:
                known.append((text.ids[: right[0].place + 1], [target.token for target in right]))
        return known


@contextlib.contextmanager
def no_network() -> Generator[None]:
    """Cut this process off the network; loopback addresses stay."""
    connect, lookup = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family != getattr(socket, "AF_UNIX", None) and str(address[0]) not in LOCAL:
            raise NoNetworkError(f"a connection to {address[0]}")
        connect(self, address)

    def guarded_lookup(host: Any, *rest: Any, **named: Any) -> Any:
        if host is not None and str(host) not in LOCAL:
            raise NoNetworkError(f"the address of {host}")
        return lookup(host, *rest, **named)

    with mock.patch.object(socket.socket, "connect", guarded_connect), mock.patch.object(socket, "getaddrinfo", guarded_lookup):
        yield


def _state(model: PreTrainedModel) -> dict[str, Any]:
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())  # pyright: ignore
    weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return {**weights, "eval mode": not model.training, "hooks": hooks}


def _equal(value: Any, before: Any) -> bool:
    return torch.equal(value, before) if isinstance(value, torch.Tensor) else value == before


def _mean(items: Iterable[ItemResult]) -> float:
    return statistics.fmean(item.score for item in items)


def _error(items: list[ItemResult]) -> float:
    """Return the standard error of the mean."""
    return statistics.stdev(item.score for item in items) / math.sqrt(len(items)) if len(items) > 1 else math.inf


@BENCHMARK_CHECKS.check()
def entry_point(case: BenchmarkCase) -> None:
    """Its name is the name of its entry point, and nobody else's."""
    entry_point_of("benchmark", case.spec)


@BENCHMARK_CHECKS.check()
def source_and_summary(case: BenchmarkCase) -> None:
    """It says where it comes from, and in one line what it measures."""
    in_one_line(case.spec)


@BENCHMARK_CHECKS.check()
def documented(case: BenchmarkCase) -> None:
    """The factory and its module have docstrings."""
    described(case.spec)


@BENCHMARK_CHECKS.check()
def built_from_its_options(case: BenchmarkCase) -> None:
    """The factory takes keyword-only options, and building reads no data."""
    of_keywords_alone(case.spec)
    if case.problem is not None:
        raise CheckFailed(f"{case.problem} Give it a default, or give the check one (--set, options={{...}}).")
    nowhere: Options = {name: "no-such-folder/data.jsonl" for name, value in case.options.items() if name == "source" and value}
    try:
        case.spec.factory(**{**case.options, **nowhere})
    except Exception as error:
        raise CheckFailed(
            f"building it with a source that does not exist stops with {type(error).__name__}: {error}; read data when they "
            "are needed (a cached_property), so that options can be shown and planned with."
        ) from error


@BENCHMARK_CHECKS.check()
def works_offline(case: BenchmarkCase) -> None:
    """With local data it needs no network."""
    try:
        error = case.scored().error
    except (UsageError, OSError) as problem:  # while it was built
        error = problem
    if (asked := _network(error)) is not None:
        raise CheckFailed(f"it asked for {asked}; read data through read_table, and let `source` be a local path.")


def _network(error: BaseException | None) -> NoNetworkError | None:
    """Return the attempt to reach the network, if that is behind an error."""
    while error is not None and not isinstance(error, NoNetworkError):
        error = error.__cause__ or error.__context__
    return error


@BENCHMARK_CHECKS.check()
def runs_to_the_end(case: BenchmarkCase) -> None:
    """It scores a tiny random Llama."""
    scored = case.scored()
    if _network(scored.error) is not None:
        raise NotApplicable("it asks for the network: see works_offline")
    if scored.error is not None:
        reason = " ".join(str(scored.error).split())[:300].rstrip(".")
        raise CheckFailed(
            f"it stops with {type(scored.error).__name__}: {reason}; if its data are elsewhere, give the check a local copy "
            "(--set NAME.source=FOLDER)."
        ) from scored.error
    require(bool(scored.items), "it scored nothing; evaluate must yield an ItemResult for each item.")


@BENCHMARK_CHECKS.check()
def deterministic(case: BenchmarkCase) -> None:
    """Asked again with the same seed it gives the same scores."""
    first, again = case.items(), case.items(instance=1)
    differing = [item.id for item, other in zip(first, again, strict=False) if item.score != other.score]
    require(
        not differing and len(first) == len(again),
        f"a second evaluation scored {differing[:3]} otherwise; seed whatever is drawn by subject.seed and the item's id.",
    )


@BENCHMARK_CHECKS.check()
def digest_stable(case: BenchmarkCase) -> None:
    """Two instances with the same options have one digest."""
    case.items()
    first, again = case.benchmark(0).digest(), case.benchmark(1).digest()
    require(first == again, f"the digest was {first[:12]} and then {again[:12]}; hash what is asked, not objects or the time.")


@BENCHMARK_CHECKS.check()
def batch_invariant(case: BenchmarkCase) -> None:
    """An item scores the same alone and among others."""
    among = {item.id: item for item in case.items(limit=FEW)}
    for item in case.items(limit=1):
        other = among.get(item.id)
        near = other is not None and len(item.logprobs) == len(other.logprobs)
        near = near and all(abs(a - b) < 1e-3 for a, b in zip(item.logprobs, other.logprobs, strict=True) if other)  # pyright: ignore
        require(
            other is not None and near and item.score == other.score,
            f"the item {item.id} scores {item.score} alone and {other.score if other else 'nothing'} among others; "
            "mask padding, and let nothing of one item reach another.",
        )


@BENCHMARK_CHECKS.check()
def ids_stable(case: BenchmarkCase) -> None:
    """Items have ids of their own that depend on nothing but the data."""
    items = case.items()
    twice = [name for name, count in Counter(item.id for item in items).items() if count > 1]
    require(not twice, f"{twice[:3]} stand for several items; number items within their part, as in bio/17.")
    names = [item.id for item in items]
    for other in (case.items(instance=1), case.items(kind="random"), case.items(limit=1)):
        ids = [item.id for item in other]
        require(
            set(ids) <= set(names),
            f"another evaluation had the item {next(iter(set(ids) - set(names)), '')}; make ids of part and place in the data.",
        )


@BENCHMARK_CHECKS.check()
def limit_kept(case: BenchmarkCase) -> None:
    """A limit takes the first items of each part, and `count` says how many that are."""
    few = case.items(limit=1)
    many = case.items(limit=FEW)
    firsts: dict[str, str] = {}
    for item in many:
        firsts.setdefault(item.part, item.id)
    first_ids = {item.part: item.id for item in reversed(few)}
    require(
        first_ids == firsts,
        f"with limit 1 it scored {sorted(first_ids.values())[:3]}; take first_of_each_part(items, subject.limit).",
    )
    for limit, items in ((1, few), (FEW, many)):
        counted = case.benchmark().count(limit)
        require(counted == len(items), f"count({limit}) is {counted}, and {len(items)} items were scored; they must agree.")


@BENCHMARK_CHECKS.check()
def progress_reported(case: BenchmarkCase) -> None:
    """It reports every item once as it is done."""
    items, progress = case.items(), case.scored().progress
    require(progress == len(items), f"{progress} of {len(items)} items were reported; call subject.progress(1) after each.")


@BENCHMARK_CHECKS.check()
def parts_declared(case: BenchmarkCase) -> None:
    """`parts` names every item's part, and groups are made of parts."""
    items, parts = case.items(), case.benchmark().parts()
    used = {item.part for item in items}
    require(
        used <= set(parts),
        f"items belong to {sorted(used - set(parts))[:3]}, which parts() does not name; name them all.",
    )
    unknown = {part for members in case.benchmark().groups().values() for part in members} - set(parts)
    require(not unknown, f"groups() has parts that parts() does not name: {sorted(unknown)[:3]}; name parts only.")


@BENCHMARK_CHECKS.check()
def items_sound(case: BenchmarkCase) -> None:
    """Scores and log-probabilities are finite numbers; a choice is one of the options."""
    for item in case.items():
        finite = math.isfinite(item.score) and all(map(math.isfinite, item.logprobs))
        require(finite, f"the item {item.id} has score {item.score} and log-probabilities {item.logprobs}; none may be NaN.")
        options = len(item.logprobs)
        for name, index in (("choice", item.choice), ("answer", item.answer)):
            inside = index is None or not options or 0 <= index < options
            require(inside, f"the item {item.id} has {name} {index} of {options} options; count from 0.")


@BENCHMARK_CHECKS.check()
def measures_sound(case: BenchmarkCase) -> None:
    """Its measures can be made of its parts, and items have the finite values that they are made of."""
    items, benchmark = case.items(), case.benchmark()  # items first: a benchmark that cannot read its data has no parts
    measures, parts = benchmark.measures(), benchmark.parts()
    problem = next(faults(measures, parts), None)
    require(problem is None, f"measures() cannot be used; {problem}")
    for item in items:
        bad = {name: value for name, value in item.values.items() if not math.isfinite(value)}
        require(not bad, f"the item {item.id} has values {bad}; leave out what it does not have.")
    for measure in measures:
        missing = measure_score(measure, parts, items) is None and not benchmark.reads_base
        require(
            not missing,
            f"no item has what the measure {measure.name} is made of; put {', '.join(measure.values)} into the items' values.",
        )


@BENCHMARK_CHECKS.check()
def model_untouched(case: BenchmarkCase) -> None:
    """The model is as before: weights, mode, hooks."""
    case.items()
    changed = case.scored().changed
    require(not changed, f"evaluating changed {changed[:3]}; work under torch.inference_mode() and remove every hook.")


@BENCHMARK_CHECKS.check()
def prints_nothing(case: BenchmarkCase) -> None:
    """Nothing is printed on standard output, where other programs read JSON."""
    case.items()
    printed = case.scored().printed
    require(not printed, f"it prints {printed[:60]!r}; call subject.progress, and use the logging module for words.")


@BENCHMARK_CHECKS.check()
def direction_right(case: BenchmarkCase) -> None:
    """A model that knows every answer scores better than chance, in the direction that the metric declares."""
    oracle = _mean(case.items("oracle", MANY))
    metric = case.benchmark().metric
    sign = 1 if metric.better == "higher" else -1
    require(
        sign * (oracle - metric.chance) > 0,
        f"a model that knows every answer scores {oracle:.3f}, chance is {metric.chance:.3f}, and {metric.better} is said to "
        "be better; turn `better` round, or look at what is taken for the right answer.",
    )


@BENCHMARK_CHECKS.check()
def oracle_is_best(case: BenchmarkCase) -> None:
    """A model that knows every answer is right on every item that has a right answer."""
    wrong = [item for item in case.items("oracle", MANY) if item.answer is not None and item.choice != item.answer]
    if wrong:
        first = wrong[0]
        raise CheckFailed(
            f"it chose {first.choice} for {first.id}, where {first.answer} is right; an item's answer and the question's must "
            "agree, and the prompt must be what the benchmark shows."
        )


@BENCHMARK_CHECKS.check()
def chance_right(case: BenchmarkCase) -> None:
    """A model that answers at random scores what the metric declares as chance; of a loss or rating, no better than that."""
    items, metric = case.items("random", MANY), case.benchmark().metric
    score, error = _mean(items), _error(items)
    worse = score > metric.chance if metric.better == "lower" else score < metric.chance
    unbounded = worse and not any(item.logprobs for item in items)  # a loss has no worst value that chance could be
    require(
        unbounded or abs(score - metric.chance) <= ERRORS * error + 1e-6,
        f"a model that answers at random scores {score:.3f} (standard error {error:.3f}, {len(items)} items), and chance is "
        f"declared as {metric.chance:.3f}; for multiple choice it is the mean of 1 / number of options.",
    )


@BENCHMARK_CHECKS.check()
def constant_gains_nothing(case: BenchmarkCase) -> None:
    """A model that always answers the same is no better than chance, whichever letter it likes."""
    error = _error(case.items("random", MANY))
    metric = case.benchmark().metric
    sign = 1 if metric.better == "higher" else -1
    for letter in LETTERS:
        score = _mean(case.items(letter, MANY))
        require(
            sign * (score - metric.chance) <= ERRORS * error + 1e-6,
            f"a model that always answers {letter} scores {score:.3f} where chance is {metric.chance:.3f}; shuffle the "
            "options, so that no place holds the right answer more often.",
        )
