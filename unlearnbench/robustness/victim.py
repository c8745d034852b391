"""The victim of an attack: the model and what an attacker may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from unlearnbench.data.batches import Schedule, encode_corpus
from unlearnbench.models.capacity import check_ids, context_length
from unlearnbench.models.loading import padding_id

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from unlearnbench.data.topics import TopicData
    from unlearnbench.records.items import Question


@dataclass(frozen=True, kw_only=True)
class Victim:
    """The model under attack, and what an attacker may use. Of the questions that are reported it has none.

    Attributes:
        model: the model, in eval mode; an attack may change it.
        tokenizer: the model's tokenizer.
        seed: the seed of the attack.
        questions: the questions that an attacker may use, with their answers, by benchmark.
        step: a function to call after each update or step, with its loss or None.
        corpora: the topics' corpora, for `schedule`; empty for an attack whose spec does not say that it reads them.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    seed: int
    questions: Mapping[str, Sequence[Question]]
    step: Callable[[float | None], None]
    corpora: Sequence[object] = ()

    def schedule(
        self, side: Literal["forget", "retain"], *, steps: int, batch_size: int, max_length: int, shuffled: bool = True
    ) -> Schedule:
        """Return the batches of one side of the corpora, padded on the right: update k takes topic k mod n.

        Args:
            side: side of the corpora.
            steps: number of updates.
            batch_size: number of sequences in an update.
            max_length: largest number of tokens of a text; a topic may cut its corpora shorter.
            shuffled: True orders the texts by the attack's seed, False keeps the corpora's order.
        """
        readable = context_length(self.model)
        corpora = [
            encode_corpus(
                topic.forget if side == "forget" else topic.retain,
                topic.name,
                self.tokenizer,
                max_length=topic.longest(side, max_length),
                readable=readable,
                min_chars=topic.min_chars,
            )
            for topic in cast("Sequence[TopicData]", self.corpora)
        ]
        for corpus in corpora:
            check_ids((example.ids for example in corpus.examples), self.model)
        return Schedule(
            corpora,
            steps=steps,
            batch_size=batch_size,
            pad=padding_id(self.tokenizer),
            side="right",
            shuffle_seed=self.seed if shuffled else None,
        )
