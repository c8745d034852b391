"""From questions to tokens: the model's chat template with fixed settings, or plain tags.

Source: locuslab/open-unlearning at d3d7cf9, configs/model and src/data/utils.py; locuslab/tofu at bdc209e,
    config/model_config.yaml.
Deviations: a text that is too long is refused instead of cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from unlearnbench.api import Answered, UsageError, encode_answers, encode_prompts
from unlearnbench_benchmarks.openunlearning.profiles import Profile

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SYSTEM = "You are a helpful assistant."
DATE = "10 Apr 2025"  # Llama 3 writes today's date where none is given
TemplateName = Literal["auto", "chat", "question-answer", "llama-2-chat"]
"""The type of a template's name: `auto` takes the model's chat template where it has one, else `question-answer`."""


@dataclass(frozen=True)
class Tags:
    """Texts around questions and answers, for models without a chat template.

    Attributes:
        user_start: text before a question.
        user_end: text behind it.
        answer_start: text before an answer.
        answer_end: text behind the answer of an example.
    """

    user_start: str
    user_end: str
    answer_start: str
    answer_end: str


TAGS: Mapping[str, Tags] = {
    "question-answer": Tags("Question: ", "\n", "Answer: ", "\n\n"),
    "llama-2-chat": Tags("[INST] ", " [/INST]", "", " "),  # a space before the answer would be a token of its own
}
"""Name of a template -> its tags."""


@dataclass(frozen=True, kw_only=True)
class Template:
    """The way in which a model is asked.

    Attributes:
        name: name of the template.
        system: system text of a chat template; empty for none. A template that refuses one gets none.
        date: date that a chat template is told.
    """

    name: TemplateName = "auto"
    system: str = SYSTEM
    date: str = DATE

    def settings(self) -> list[object]:
        """Return what tells this template from others, for a hash."""
        return [asdict(self), {name: asdict(tags) for name, tags in TAGS.items()}]

    def chats(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        """Return whether this model is asked through its chat template."""
        return self.name == "chat" or (self.name == "auto" and bool(tokenizer.chat_template))

    def problem(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """Return why a model cannot be asked in this way; empty where it can."""
        if self.name == "chat" and not tokenizer.chat_template:
            return "template=chat needs a chat template, and the tokenizer has none; take template=question-answer."
        try:
            self.encode("question", "answer", tokenizer, Profile())
        except UsageError as error:
            return str(error)
        return ""

    def texts(
        self, question: str, answer: str, tokenizer: PreTrainedTokenizerBase, examples: Sequence[tuple[str, str]] = ()
    ) -> tuple[str, str]:
        """Return the prompt as text, and the whole text with the answer and what the template puts behind it.

        Raises:
            UsageError: the chat template refuses the conversation.
        """
        if not self.chats(tokenizer):
            tags = TAGS["question-answer" if self.name == "auto" else self.name]
            shots = (f"{tags.user_start}{q}{tags.user_end}{tags.answer_start}{a}{tags.answer_end}" for q, a in examples)
            prompt = f"{''.join(shots)}{tags.user_start}{question}{tags.user_end}{tags.answer_start}"
            return prompt, prompt + answer
        pairs = [turn for q, a in examples for turn in (("user", q), ("assistant", a))]
        turns = [{"role": role, "content": text} for role, text in (*pairs, ("user", question), ("assistant", answer))]
        system = [{"role": "system", "content": self.system}] if self.system else []
        try:
            return self._rendered([*system, *turns], tokenizer)
        except UsageError:
            if not system:
                raise
            return self._rendered(turns, tokenizer)  # Gemma refuses system texts

    def _rendered(self, messages: Sequence[dict[str, str]], tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
        def render(part: Sequence[dict[str, str]], *, ask: bool) -> str:
            return str(
                tokenizer.apply_chat_template(list(part), tokenize=False, add_generation_prompt=ask, date_string=self.date)
            )

        try:
            return render(messages[:-1], ask=True), render(messages, ask=False)
        except Exception as error:  # a template is somebody's program
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise UsageError(f"the model's chat template refuses a question with its answer: {reason}.") from error

    def encode(
        self,
        question: str,
        answer: str,
        tokenizer: PreTrainedTokenizerBase,
        profile: Profile,
        examples: Sequence[tuple[str, str]] = (),
    ) -> Answered:
        """Return a question with its answer in tokens, and where the counted ones begin.

        Args:
            question: question.
            answer: answer.
            tokenizer: tokenizer of the model.
            profile: profile, which decides on the border and on closing tokens.
            examples: pairs of question and answer that come first.
        """
        prompt, whole = self.texts(question, answer, tokenizer, examples)
        special = not self.chats(tokenizer)
        if profile.border == "text":
            return encode_answers([(prompt, answer.strip() if not special else answer)], tokenizer, special=special)[0]
        start = len(encode_prompts([prompt], tokenizer, special=special)[0])
        ids = encode_prompts([whole], tokenizer, special=special)[0]
        return _closed(ids, start, tokenizer)

    def prompt(self, question: str, tokenizer: PreTrainedTokenizerBase, examples: Sequence[tuple[str, str]] = ()) -> list[int]:
        """Return the tokens up to where the answer begins."""
        text, _ = self.texts(question, "answer", tokenizer, examples)
        return encode_prompts([text], tokenizer, special=not self.chats(tokenizer))[0]


class Completion(NamedTuple):
    """A text that is to be continued, and what follows it."""

    prefix: str
    text: str


def encode_completion(item: Completion, tokenizer: PreTrainedTokenizerBase, profile: Profile, *, longest: int) -> Answered:
    """Return a text after its prefix in tokens, and where the text's begin; no end token is put behind it.

    Args:
        item: the two texts; a space stands between them.
        tokenizer: tokenizer of the model.
        profile: profile, which decides on the border.
        longest: number of tokens of the text that are kept.
    """
    prefix = item.prefix
    gap = " " if prefix else ""
    if profile.border == "text":
        ids, start = encode_answers([(prefix, gap + item.text)], tokenizer)[0]
    else:
        start = len(encode_prompts([prefix], tokenizer)[0])
        ids = encode_prompts([prefix + gap + item.text], tokenizer)[0]
    return Answered(ids[: start + longest], start)


def hidden_token(tokenizer: PreTrainedTokenizerBase, profile: Profile) -> int | None:
    """Return the token that a profile hides from attention: the padding token, or the end token in its place."""
    if not profile.hides_padding:
        return None
    return tokenizer.pad_token_id if isinstance(tokenizer.pad_token_id, int) else tokenizer.eos_token_id  # pyright: ignore[reportReturnType]


def _closed(ids: list[int], start: int, tokenizer: PreTrainedTokenizerBase) -> Answered:
    """Put the end token behind a text that does not end with it."""
    end = tokenizer.eos_token_id
    return Answered([*ids, end] if isinstance(end, int) and ids[-1:] != [end] else ids, start)
