"""lm-eval: any task of EleutherAI's lm-evaluation-harness, on the model that is in memory.

Source: Gao et al., lm-evaluation-harness, github.com/EleutherAI/lm-evaluation-harness; prompts, few-shot examples, filters
    and metrics are the task's own.
Deviations: the score of a group of tasks is the mean over all their items; lm-eval lets each group choose its weights. Only
    metrics that are means over items can be used, since intervals and ranks here come from items.
"""

from __future__ import annotations

import functools
import importlib.metadata
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import NonNegativeInt, PositiveInt

from unlearnbench.api import (
    Benchmark,
    BenchmarkSpec,
    ItemResult,
    ItemText,
    Metric,
    Subject,
    UsageError,
    Workload,
    check_chat,
    content_hash,
    hookimpl,
    open_ended,
    unknown_name,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FEWSHOT_SEED = 1234  # lm-eval's own default
WRITTEN = 256  # tokens of an answer in free text at most, lm-eval's own default
NO_FILTER = "none"  # what lm-eval calls it
SLIGHTLY = 1e-6  # nats


class LmEval(Benchmark):
    """A task, or a group of tasks, of lm-eval: `lm-eval:gsm8k`.

    Args:
        argument: name of the task, after the colon.
        include: folder with tasks of your own (YAML), or with offline copies of known ones, instead of lm-eval's; YAML that
            runs code is refused.
        metric: one of the task's metrics; None takes its first.
        answer_filter: one of the task's filters, where it extracts answers in several ways; None takes its first.
        shots: number of examples in front of each question; None leaves the task's own number.
        chat: true asks through the model's chat template.
        batch_size: number of texts at once.
        role: role of parts that no topic claims: knowledge to `retain` or to `forget`.
        chance: score of a model that knows nothing; None takes what the task itself gives for choices made blindly, and 0 for
            answers in free text.
    """

    def __init__(
        self,
        *,
        argument: str = "",
        include: str | None = None,
        metric: str | None = None,
        answer_filter: str | None = None,
        shots: NonNegativeInt | None = None,
        chat: bool = False,
        batch_size: PositiveInt = 8,
        role: Literal["retain", "forget"] = "retain",
        chance: float | None = None,
    ) -> None:
        if not argument:
            raise UsageError(
                "lm-eval needs a task after a colon, as in --benchmarks lm-eval:gsm8k; `lm-eval ls tasks` lists them."
            )
        self.task, self.include, self.wanted, self.filter = argument, include, metric, answer_filter
        self.role: Literal["retain", "forget"] = role
        self.shots, self.chat, self.batch_size, self.given_chance = shots, chat, batch_size, chance

    @cached_property
    def loaded(self) -> dict[str, Any]:
        """Return the output of lm-eval's task manager: `tasks` by name, `groups`, `group_map`."""
        try:
            from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports] - an extra
        except ImportError as error:
            raise UsageError("The benchmark lm-eval needs the harness: pip install 'unlearnbench[lm-eval]'.") from error
        # a folder alone, since reading lm-eval's own thousands of files takes a while
        folder = _safe_folder(Path(self.include)) if self.include else None
        manager = TaskManager(include_path=folder, include_defaults=folder is None)
        if self.task not in manager.all_tasks:
            where = "task of lm-eval" if folder is None else f"task in {folder}"
            raise unknown_name(where, self.task, _near(self.task, manager.all_tasks))
        try:
            loaded: dict[str, Any] = dict(manager.load([self.task]))
        except Exception as error:  # data sets raise whatever they like
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UsageError(
                f"The task '{self.task}' of lm-eval cannot be loaded: {reason}; where its data cannot be reached, give a "
                f"folder with a copy of its YAML and data: --set lm-eval:{self.task}.include=FOLDER."
            ) from error
        for task in loaded["tasks"].values():
            if self.shots is not None:
                task.set_config(key="num_fewshot", value=self.shots)
            task.set_fewshot_seed(seed=FEWSHOT_SEED)
        return loaded

    @property
    def tasks(self) -> dict[str, Any]:
        """Return the single tasks by name."""
        return self.loaded["tasks"]

    @cached_property
    def metric_name(self) -> str:
        """Return the metric of all tasks together.

        Raises:
            UsageError: a task has no such metric, or it is no mean over items.
        """
        first = next(iter(self.tasks.values()))
        name = self.wanted or next(iter(first.aggregation()))
        for title, task in self.tasks.items():
            known = task.aggregation()
            if name not in known:
                raise unknown_name(f"metric of {title}", name, known, f"--set lm-eval:{self.task}.metric=NAME chooses one.")
            if getattr(known[name], "__name__", "") not in ("mean", "nanmean"):
                raise UsageError(
                    f"The metric '{name}' of {title} is no mean over items, and intervals and ranks need one; its metrics are "
                    f"{', '.join(known)}: --set lm-eval:{self.task}.metric=NAME."
                )
        return name

    @property
    def metric(self) -> Metric:
        higher = next(iter(self.tasks.values())).higher_is_better().get(self.metric_name, True)
        return Metric(
            name=self.metric_name, role=self.role, better="higher" if higher else "lower", chance=self.chance, note="lm-eval"
        )

    @cached_property
    def chance(self) -> float:
        """Return chance: the option if given; else the mean over items of the score of blind choices, and 0 where there are
        none.
        """
        if self.given_chance is not None:
            return self.given_chance
        shares = [_blind(task, doc, self.metric_name) for task in self.tasks.values() for doc in task.eval_docs]
        return round(sum(shares) / len(shares), 6)

    def digest(self) -> str:
        asked = [[name, task.dump_config(), [dict(doc) for doc in task.eval_docs]] for name, task in self.tasks.items()]
        return content_hash([asked, importlib.metadata.version("lm-eval"), self.metric_name])

    def count(self, limit: int | None) -> int:
        return sum(_asked(task, limit) for task in self.tasks.values())

    def estimate(self, limit: int | None) -> Workload:
        writing = [task for task in self.tasks.values() if task.OUTPUT_TYPE == "generate_until"]
        generated = sum(_asked(task, limit) * _longest_answer(task) for task in writing)
        return Workload(items=self.count(limit), generated=generated)

    def parts(self) -> list[str]:
        return list(self.tasks)

    def texts(self) -> Iterable[ItemText]:
        for name, task in self.tasks.items():
            for number, doc in enumerate(task.eval_docs):
                asked = task.doc_to_text(doc)
                # where contexts are the choices, the text is what follows all of them
                text = asked if isinstance(asked, str) else str(task.doc_to_target(doc))
                options = tuple(map(str, task.doc_to_choice(doc))) if task.OUTPUT_TYPE == "multiple_choice" else ()
                yield ItemText(id=f"{name}/{number}", text=text, options=options)

    def preflight(self, tokenizers: Mapping[str, PreTrainedTokenizerBase]) -> Iterable[str]:
        for source, tokenizer in tokenizers.items():
            if self.chat and not tokenizer.chat_template:
                yield f"chat=true needs a chat template, and the tokenizer of {source} has none; leave chat out."
            elif self.chat and (problem := check_chat(tokenizer, ["user"])):
                yield f"chat=true cannot be asked of {source}: {problem}"
            try:
                open_ended(tokenizer)
            except UsageError as error:
                yield f"{source} cannot be asked: {error}"
        for name, task in self.tasks.items():
            known = [setting["name"] for setting in task.config.filter_list or []] or [NO_FILTER]
            if self.filter is not None and self.filter not in known:
                yield str(unknown_name(f"filter of {name}", self.filter, known))

    def groups(self) -> dict[str, list[str]]:
        groups: Mapping[str, Any] = self.loaded.get("groups") or {}
        return {name: [task.task_name for task in group.get_all_tasks()] for name, group in groups.items()}

    def evaluate(self, subject: Subject) -> Iterable[ItemResult]:
        from lm_eval.evaluator import evaluate  # pyright: ignore[reportMissingImports]
        from lm_eval.models import huggingface  # pyright: ignore[reportMissingImports]

        logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of the model that is handed over
        wrap: Any = huggingface.HFLM  # its decorator hides the parameters from type checkers
        model: Any = wrap(pretrained=subject.model, tokenizer=open_ended(subject.tokenizer), batch_size=self.batch_size)
        for kind in ("loglikelihood", "loglikelihood_rolling", "generate_until"):
            setattr(model, kind, functools.partial(getattr(model, kind), disable_tqdm=True))
        found: Any = evaluate(
            model,
            self.loaded,  # pyright: ignore[reportArgumentType]
            limit=subject.limit,
            log_samples=True,
            bootstrap_iters=0,  # intervals are taken from the items
            apply_chat_template=self.chat,
        )
        for name, task in self.tasks.items():
            samples = self._filtered(found["samples"][name])
            for sample in samples:
                subject.progress(1)
                yield _item(name, sample, self.metric_name, task.OUTPUT_TYPE)

    def _filtered(self, samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return each item once: as the wanted filter left it."""
        wanted = self.filter or samples[0]["filter"]
        return sorted((sample for sample in samples if sample["filter"] == wanted), key=lambda sample: sample["doc_id"])


def _asked(task: Any, limit: int | None) -> int:
    """Return the number of a task's items that are scored."""
    size = len(task.eval_docs)
    return size if limit is None else min(limit, size)


def _longest_answer(task: Any) -> int:
    """Return the largest number of tokens that a task lets a model write."""
    return int((task.config.generation_kwargs or {}).get("max_gen_toks", WRITTEN))


def _blind(task: Any, doc: Any, metric: str) -> float:
    """Return an item's mean score when each choice is preferred once, by next to nothing; 0 for free text."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return 0.0
    choices = len(task.doc_to_choice(doc))
    if not callable(task.config.process_results) and not task.multiple_target:
        return 1 / choices  # known without asking
    likings = [[(SLIGHTLY if place == liked else 0.0, False) for place in range(choices)] for liked in range(choices)]
    return sum(float(task.process_results(doc, liking)[metric]) for liking in likings) / choices


def _item(task: str, sample: Mapping[str, Any], metric: str, kind: str) -> ItemResult:
    """Convert lm-eval's record of an item."""
    answers = sample["filtered_resps"]
    logprobs: tuple[float, ...] = ()
    text = ""
    if kind == "multiple_choice":
        logprobs = tuple(float(answer[0]) for answer in answers)
    elif kind == "generate_until":
        text = str(answers[0])
    target = sample["target"]
    return ItemResult(
        id=f"{task}/{sample['doc_id']}",
        part=task,
        score=float(sample[metric]),
        choice=max(range(len(logprobs)), key=logprobs.__getitem__) if logprobs else None,
        answer=target if logprobs and isinstance(target, int) and not isinstance(target, bool) else None,
        logprobs=logprobs,
        text=text,
    )


def _safe_folder(folder: Path) -> str:
    """Return the folder, if it is there and its YAML runs no code.

    Raises:
        UsageError: otherwise.
    """
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder} with tasks of lm-eval; give one in the option include.")
    for file in sorted([*folder.rglob("*.yaml"), *folder.rglob("*.yml")]):
        if "!function" in file.read_text(encoding="utf-8", errors="replace"):
            raise UsageError(f"{file} names Python code (!function), which is not run from a folder; write it as a template.")
    return str(folder)


def _near(name: str, known: Sequence[str]) -> list[str]:
    """Return the tasks that were probably meant, out of thousands."""
    import difflib

    return difflib.get_close_matches(name, known, n=5, cutoff=0.5)


@hookimpl
def unlearnbench_benchmarks() -> list[BenchmarkSpec]:
    return [
        BenchmarkSpec(
            name="lm-eval",
            factory=LmEval,
            summary="any task of lm-evaluation-harness, as in lm-eval:gsm8k",
            source="github.com/EleutherAI/lm-evaluation-harness",
        )
    ]
