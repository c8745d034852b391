"""Porter's stemmer, in the variant that NLTK has made of it: words without their endings.

Source: Porter (1980), "An algorithm for suffix stripping", Program 14(3); with the changes of NLTK's `PorterStemmer` in its
    default mode, which rouge-score uses: a list of irregular forms, and other rules for -ies, -ied, -y, -alli, -fulli, -logi.
Deviations: none; a test compares with NLTK.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise


def _rules(text: str) -> dict[str, str]:
    """Return suffix -> what stands in its place, in their order."""
    return {suffix: new for suffix, _, new in (rule.partition(">") for rule in text.split())}


_IRREGULAR = _rules(
    "sky>sky skies>sky dying>die lying>lie tying>tie news>news howe>howe innings>inning inning>inning outings>outing "
    "outing>outing cannings>canning canning>canning proceed>proceed exceed>exceed succeed>succeed"
)
_PLURALS = _rules("sses>ss ies>i ss>ss s>")
_STEP_2 = _rules(
    "ational>ate tional>tion enci>ence anci>ance izer>ize bli>ble alli>al entli>ent eli>e ousli>ous ization>ize ation>ate "
    "ator>ate alism>al iveness>ive fulness>ful ousness>ous aliti>al iviti>ive biliti>ble fulli>ful"
)
_STEP_3 = _rules("icate>ic ative> alize>al iciti>ic ical>ic ful> ness>")
_STEP_4 = _rules("al ance ence er ic able ible ant ement ment ent ion ou ism ate iti ous ive ize")


@cache
def stem(word: str) -> str:
    """Return the stem of a word in lower case.

    Args:
        word: word of letters and digits, in lower case.
    """
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 2:
        return word
    word = _past(_plural(word))
    if word.endswith("y") and len(word) > 2 and _consonants(word[:-1])[-1]:
        word = word[:-1] + "i"
    word = _shorten(_double_suffix(word), _STEP_3, lambda rest: _measure(rest) > 0)
    word = _shorten(word, _STEP_4, lambda rest: _measure(rest) > 1, _before_ion)
    return _final(word)


def _consonants(word: str) -> list[bool]:
    """Return for each letter whether it is a consonant; y is one unless it follows one."""
    found: list[bool] = []
    for letter in word:
        found.append(letter not in "aeiou" and not (letter == "y" and bool(found) and found[-1]))
    return found


def _measure(word: str) -> int:
    """Return how often a vowel is followed by a consonant: Porter's m."""
    kinds = _consonants(word)
    return sum(not first and second for first, second in pairwise(kinds))


def _ends_cvc(word: str) -> bool:
    """Return whether a word ends with consonant, vowel, consonant, the last none of w, x, y; Porter's *o."""
    kinds = _consonants(word)
    return (kinds[-3:] == [True, False, True] and word[-1] not in "wxy") or kinds == [False, True]


def _ends_double(word: str) -> bool:
    return len(word) > 1 and word[-1] == word[-2] and _consonants(word)[-1]


def _shorten(
    word: str,
    rules: Mapping[str, str],
    allows: Callable[[str], bool],
    also: Callable[[str, str], bool] = lambda _rest, _suffix: True,
) -> str:
    """Apply the first rule whose suffix the word has, where what is left allows it; a rule that does not apply ends it, too."""
    for suffix, new in rules.items():
        if word.endswith(suffix):
            rest = word[: len(word) - len(suffix)]
            return rest + new if allows(rest) and also(rest, suffix) else word
    return word


def _before_ion(rest: str, suffix: str) -> bool:
    return suffix != "ion" or rest[-1] in "st"


def _plural(word: str) -> str:
    if word.endswith("ies") and len(word) == 4:
        return word[:-1]
    return _shorten(word, _PLURALS, lambda _rest: True)


def _past(word: str) -> str:
    """Take off -ed and -ing, and mend what is left."""
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for suffix in ("ed", "ing"):
        rest = word[: len(word) - len(suffix)]
        if word.endswith(suffix) and not all(_consonants(rest)):
            return _mended(rest)
    return word


def _mended(rest: str) -> str:
    if rest.endswith(("at", "bl", "iz")):
        return rest + "e"
    if _ends_double(rest):
        return rest if rest[-1] in "lsz" else rest[:-1]
    return rest + "e" if _measure(rest) == 1 and _ends_cvc(rest) else rest


def _double_suffix(word: str) -> str:
    if word.endswith("alli") and _measure(word[:-4]) > 0:
        return _double_suffix(word[:-2])
    if word.endswith("logi"):
        return word[:-1] if _measure(word[:-3]) > 0 else word  # geology, like archaeology
    return _shorten(word, _STEP_2, lambda rest: _measure(rest) > 0)


def _final(word: str) -> str:
    """Take off a last e, and one of two last l."""
    if word.endswith("e"):
        rest = word[:-1]
        if _measure(rest) > 1 or (_measure(rest) == 1 and not _ends_cvc(rest)):
            word = rest
    return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word
