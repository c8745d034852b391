"""Profiles: whose code a benchmark follows where the public codes of TOFU and MUSE differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

from unlearnbench_benchmarks.openunlearning.figures import EPSILON

Name = Literal["openunlearning", "original", "clean"]
"""The type of a profile's name: `openunlearning` as locuslab/open-unlearning; `original` as locuslab/tofu or
swj0419/muse_bench; `clean` with what is known to be wrong in these put right."""
WORDS: Mapping[object, str] = {True: "yes", False: "no", None: "-"}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The settings of one profile; `TITLES` says what each is about.

    Attributes:
        border: beginning of the answer's tokens: at the length of the prompt tokenised alone, or where the text has it.
        closing: True counts what the template puts behind an answer, and the end token, in losses and probabilities.
        last: True counts the last counted token in memorization, Min-K% and gradient norm.
        hides_padding: True hides from attention what equals the padding token, which is the end token where there is no other.
        epsilon: number added to denominators; 0 divides in log space.
        floor: True gives an answer whose last token is not said an extraction strength of 1/N, and 0 to no token.
        stemmed: True compares words by their stems in ROUGE.
        first: number of items of forget and retain sets that count; None for all.
        total: True limits prompt and answer together to the number of tokens, False the answer alone.
        cut: True cuts MUSE's references to 128 tokens with the beginning token.
        memorization: True has exact memorization, extraction strength, paraphrased probability and attacks on membership.
    """

    border: Literal["length", "text"] = "length"
    closing: bool = True
    last: bool = False
    hides_padding: bool = False
    epsilon: float = 0.0
    floor: bool = False
    stemmed: bool = True
    first: int | None = None
    total: bool = False
    cut: bool = False
    memorization: bool = True


TITLES = {
    "border": "the answer's tokens begin at the prompt's length in tokens, or at its end in the text",
    "closing": "closing tokens count in losses and probabilities",
    "last": "the last counted token counts in memorization, Min-K% and gradient norm",
    "hides_padding": "attention does not see tokens that equal the padding token: end tokens, where there is no other",
    "epsilon": "added to denominators",
    "floor": "extraction strength is 1/N where not even the last token is said, and 0 of no token",
    "stemmed": "ROUGE compares stems",
    "first": "items of the forget and of the retain set, at most",
    "total": "the limit of new tokens covers the prompt, too",
    "cut": "references are cut to 128 tokens",
    "memorization": "has memorization and attacks on membership",
}
"""Setting of a profile -> what it is about."""
OPEN_UNLEARNING = Profile(hides_padding=True, epsilon=EPSILON, floor=True)
CLEAN = Profile(border="text", closing=False, last=True)
TOFU: Mapping[str, Profile] = {
    "openunlearning": OPEN_UNLEARNING,
    "original": Profile(first=300, total=True, memorization=False),
    "clean": CLEAN,
}
"""Profiles of `tofu`."""
MUSE: Mapping[str, Profile] = {
    "openunlearning": OPEN_UNLEARNING,
    "original": Profile(last=True, stemmed=False, cut=True),
    "clean": replace(CLEAN, closing=True),  # nothing stands behind a passage
}
"""Profiles of `muse`."""


def table(profiles: Mapping[str, Profile]) -> Iterator[str]:
    """Yield the lines of a Markdown table: what each profile does."""
    yield f"| | {' | '.join(f'`{name}`' for name in profiles)} |"
    yield "|---" * (len(profiles) + 1) + "|"
    for field in fields(Profile):
        settings = [getattr(profile, field.name) for profile in profiles.values()]
        if len(set(settings)) > 1:
            cells = (WORDS[value] if value is None or isinstance(value, bool) else str(value) for value in settings)
            yield f"| {TITLES[field.name]} | {' | '.join(cells)} |"
