"""Everything a plugin imports: for methods, for benchmarks, for attacks, for several of them, for extensions.

The imports below are the list, and the only place where a name stands: type checkers read them, and so does this module when
a name is first used, so that scoring never imports Lightning. `docs/api.md` has the names with their arguments, by the same
headings. `unlearnbench` itself has what users call: `compare`, `evaluate`, `tune`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from typing import TYPE_CHECKING

API_VERSION = 2
"""The number of this version of the API: raised when a name goes or changes its signature, not when one is added."""

if TYPE_CHECKING:
    "For both: offering a plugin"
    from unlearnbench.errors import UsageError as UsageError
    from unlearnbench.errors import unknown_name as unknown_name
    from unlearnbench.plugins.hookspecs import hookimpl as hookimpl

    "For both: writing with the model"
    from unlearnbench.data.borders import Answered as Answered
    from unlearnbench.data.borders import encode_answers as encode_answers
    from unlearnbench.data.borders import encode_prompts as encode_prompts
    from unlearnbench.data.borders import open_ended as open_ended
    from unlearnbench.data.chat_template import check_chat as check_chat
    from unlearnbench.scoring.generation.chat import Answer as Answer
    from unlearnbench.scoring.generation.chat import Request as Request
    from unlearnbench.scoring.generation.generate import continue_texts as continue_texts
    from unlearnbench.scoring.generation.generate import generate as generate

    "For methods: offering a method"
    from unlearnbench.plugins.specs import MethodSpec as MethodSpec
    from unlearnbench.plugins.specs import Training as Training
    from unlearnbench.records.search_space import Choice as Choice
    from unlearnbench.records.search_space import Linear as Linear
    from unlearnbench.records.search_space import Log as Log
    from unlearnbench.records.search_space import ShareOf as ShareOf

    "For methods: the method and its batches"
    from unlearnbench.data.batches import IGNORE as IGNORE
    from unlearnbench.data.batches import Example as Example
    from unlearnbench.data.batches import Schedule as Schedule
    from unlearnbench.data.batches import Stream as Stream
    from unlearnbench.data.batches import UnlearnBatch as UnlearnBatch
    from unlearnbench.data.batches import prompts_of as prompts_of
    from unlearnbench.data.batches import splice as splice
    from unlearnbench.training.method import MethodContext as MethodContext
    from unlearnbench.training.method import UnlearningMethod as UnlearningMethod

    "For methods: losses"
    from unlearnbench.models.head import LossOf as LossOf
    from unlearnbench.models.head import over_positions as over_positions
    from unlearnbench.models.tensors import mean_over as mean_over
    from unlearnbench.models.tensors import next_token_nll as next_token_nll
    from unlearnbench.models.tensors import next_tokens as next_tokens
    from unlearnbench.models.tensors import token_cross_entropy as token_cross_entropy
    from unlearnbench.models.tensors import token_kl as token_kl
    from unlearnbench.models.tensors import upcast as upcast
    from unlearnbench.training.losses import log_sigmoid_loss as log_sigmoid_loss
    from unlearnbench.training.microbatches import loss_in_pieces as loss_in_pieces

    "For methods: the untouched model"
    from unlearnbench.training.frozen_base import FrozenNLL as FrozenNLL
    from unlearnbench.training.frozen_base import FrozenOutputs as FrozenOutputs
    from unlearnbench.training.retain_term import RetainKind as RetainKind
    from unlearnbench.training.retain_term import RetainTerm as RetainTerm

    "For methods: weights and optimizers"
    from unlearnbench.models.blocks import decoder_blocks as decoder_blocks
    from unlearnbench.models.blocks import select_parameters as select_parameters
    from unlearnbench.models.blocks import split_slice as split_slice
    from unlearnbench.models.blocks import train_only as train_only
    from unlearnbench.training.optimizers import AdamW as AdamW
    from unlearnbench.training.optimizers import ReferenceAdamW as ReferenceAdamW
    from unlearnbench.training.saliency import SalientShare as SalientShare
    from unlearnbench.training.saliency import salient_rows as salient_rows

    "For methods: steering the outputs of blocks"
    from unlearnbench.models.forward import SplitForward as SplitForward
    from unlearnbench.models.tensors import mean_square as mean_square
    from unlearnbench.training.representations import OUTPUT_PROJECTION as OUTPUT_PROJECTION
    from unlearnbench.training.representations import PROJECTIONS as PROJECTIONS
    from unlearnbench.training.representations import BlockOutputs as BlockOutputs
    from unlearnbench.training.representations import check_per_topic as check_per_topic
    from unlearnbench.training.representations import control_vector as control_vector
    from unlearnbench.training.representations import displacement as displacement
    from unlearnbench.training.representations import per_topic as per_topic
    from unlearnbench.training.representations import worst_case as worst_case

    "For benchmarks: offering a benchmark"
    from unlearnbench.plugins.specs import BenchmarkSpec as BenchmarkSpec
    from unlearnbench.records.base import Half as Half
    from unlearnbench.records.cells import Measure as Measure
    from unlearnbench.records.cells import Metric as Metric
    from unlearnbench.records.items import ItemResult as ItemResult
    from unlearnbench.records.items import ItemText as ItemText
    from unlearnbench.scoring.benchmark import Benchmark as Benchmark
    from unlearnbench.scoring.benchmark import Subject as Subject
    from unlearnbench.scoring.benchmark import UntouchedModel as UntouchedModel
    from unlearnbench.scoring.benchmark import Workload as Workload
    from unlearnbench.scoring.selection import first_of_each_part as first_of_each_part
    from unlearnbench.scoring.selection import in_half as in_half
    from unlearnbench.system.files import content_hash as content_hash

    "For benchmarks: data"
    from unlearnbench.data.sources import parse_source as parse_source
    from unlearnbench.data.tables import Table as Table
    from unlearnbench.data.tables import list_configs as list_configs
    from unlearnbench.data.tables import read_table as read_table

    "For benchmarks: reading texts"
    from unlearnbench.scoring.answer_reading import AnswerReading as AnswerReading
    from unlearnbench.scoring.answer_reading import read_answers as read_answers
    from unlearnbench.scoring.likelihood import Predictions as Predictions
    from unlearnbench.scoring.likelihood import Reading as Reading
    from unlearnbench.scoring.likelihood import base_predictions as base_predictions
    from unlearnbench.scoring.likelihood import read_texts as read_texts
    from unlearnbench.scoring.rouge import Rouge as Rouge
    from unlearnbench.scoring.rouge import rouge as rouge

    "For benchmarks: multiple choice"
    from unlearnbench.records.items import Question as Question
    from unlearnbench.scoring.benchmark import MultipleChoiceBenchmark as MultipleChoiceBenchmark
    from unlearnbench.scoring.choice.prompts import LETTERS as LETTERS
    from unlearnbench.scoring.choice.prompts import cloze_prompt as cloze_prompt
    from unlearnbench.scoring.choice.prompts import header as header
    from unlearnbench.scoring.choice.prompts import letter_prompt as letter_prompt
    from unlearnbench.scoring.choice.rows import read_choices as read_choices

    "For benchmarks: conversations and judges"
    from unlearnbench.scoring.fluency import repeated_ngrams as repeated_ngrams
    from unlearnbench.scoring.generation.dialogues import Dialogue as Dialogue
    from unlearnbench.scoring.generation.dialogues import run_dialogues as run_dialogues
    from unlearnbench.scoring.judging.judgment import ReplySettings as ReplySettings
    from unlearnbench.scoring.judging.rater import Exchange as Exchange
    from unlearnbench.scoring.judging.rater import Rater as Rater
    from unlearnbench.scoring.judging.rater import Ratings as Ratings
    from unlearnbench.scoring.judging.remote import RequestLimits as RequestLimits

    "For attacks: the attack and its victim"
    from unlearnbench.models.blocks import keep_blocks as keep_blocks
    from unlearnbench.plugins.specs import AttackSpec as AttackSpec
    from unlearnbench.records.base import Options as Options
    from unlearnbench.robustness.attack import Attack as Attack
    from unlearnbench.robustness.attack import Attacked as Attacked
    from unlearnbench.robustness.attack import AttackWork as AttackWork
    from unlearnbench.robustness.victim import Victim as Victim

    "For extensions: what their hooks are given"
    from unlearnbench.records.cells import CellResult as CellResult
    from unlearnbench.records.cells import Job as Job

_INSTEAD = {
    "ReferenceNLL": "FrozenNLL",
    "ReferenceOutputs": "FrozenOutputs",
    "Panel": "Rater",
    "Verdict": "Ratings",
    "Replies": "ReplySettings",
    "LocalJudge": "Rater.open",
    "RemoteJudge": "Rater.open",
    "open_judge": "Rater.open",
    "load_prompts": "Rater.open(prompts=...)",
    "parse_rating": "Rater.rate",
    "Journal": "Rater.journal, or run_dialogues, which keeps what was answered",
    "hold": "run_dialogues",
    "complete": "continue_texts",
    "generation_hash": "run_dialogues, which keeps what was answered",
    "score_questions": "MultipleChoiceBenchmark.score",
    "few_shot": "str.join",
    "collate": "UnlearningMethod.stream_of",
    "padding_id": "UnlearningMethod.stream_of",
    "stack": "UnlearningMethod.joined_hidden",
    "joined_hidden": "UnlearningMethod.joined_hidden",
    "final_hidden": "UnlearningMethod.final_hidden",
    "head_logits": "over_positions, or FrozenOutputs.logits",
    "sequence_nll": "UnlearningMethod.sequence_nll",
    "token_nll": "UnlearningMethod.nll",
    "context_length": "UnlearningMethod.context_length",
    "pieces_of": "loss_in_pieces",
    "copy_of": "UnlearningMethod.scratch_weights",
    "swapped": "UnlearningMethod.scratch_weights, or UnlearningMethod.frozen_model",
    "select_all": "model.named_parameters()",
    "train_slice": "train_only(part=...)",
    "wide": "upcast",
    "kl_divergence": "token_kl within over_positions",
    "distillation": "token_cross_entropy within over_positions",
    "weighted_ascent": "next_token_nll, weighted",
    "activations_at": "BlockOutputs",
    "split_forward": "BlockOutputs.split",
    "drift": "BlockOutputs.log_drift",
    "miscounted": "check_per_topic",
    "of_topics": "per_topic",
}
"""Name that API 2 removed -> its replacement, for the message to a plugin that still imports it."""


def _read_list() -> dict[str, dict[str, str]]:
    """Heading -> name -> module, as the imports above have them."""
    [listed] = [node for node in ast.parse(inspect.getsource(sys.modules[__name__])).body if isinstance(node, ast.If)]
    headings: dict[str, dict[str, str]] = {}
    for node in listed.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            headings[str(node.value.value)] = {}
        elif isinstance(node, ast.ImportFrom):
            headings[next(reversed(headings))] |= {alias.name: str(node.module) for alias in node.names}
    return headings


HEADINGS = _read_list()
_MODULE_OF = {name: module for names in HEADINGS.values() for name, module in names.items()}

__all__ = ["API_VERSION", *_MODULE_OF]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(_MODULE_OF[name]), name)
    if name in _INSTEAD:  # an ImportError, for `from unlearnbench.api import` would not pass on what an AttributeError says
        raise ImportError(f"unlearnbench.api {API_VERSION} has no '{name}'; use {_INSTEAD[name]}")
    raise AttributeError(f"unlearnbench.api has no '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
