"""The text of what attacks bring back: columns of a table, notes, and the derivation of a row's figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from unlearnbench.records.leaderboard import HIDDEN_MARGIN, AttackResult, Estimate, Leaderboard, Row
from unlearnbench.reports.formatting import MISSING, figure, span

WORST = "R"  # name of the column with the worst case
GONE = "F'"
SHARE = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class AttackColumn:
    """A column of a table on attacks.

    Attributes:
        name: column as users type it.
        head: column as it is shown.
        hint: explanation of the column.
        of: function from a row to its figure and what stands behind that; a figure is in [0, 1].
    """

    name: str
    head: str
    hint: str
    of: Callable[[Row], tuple[Estimate | None, str]]


def attack_columns(board: Leaderboard) -> list[AttackColumn]:
    """Return the columns on attacks: the worst case, F under it, and the score under each attack; none without attacks."""
    if not board.attacks:
        return []
    columns = [
        AttackColumn(
            name=WORST,
            head="R (worst) ↓",
            hint="share of what seemed gone that came back under the attack that brings most back",
            of=lambda row: _worst(row, "recovered"),
        ),
        AttackColumn(name=GONE, head="F' ↑", hint="F under that attack", of=lambda row: (_worst(row, "gone")[0], "")),
    ]
    for attack in board.attacks:
        for column in board.columns:
            if column.role == "forget" and column.primary and column.benchmark in attack.benchmarks:
                title, label = column.title, attack.label
                columns.append(
                    AttackColumn(
                        name=f"{title} after {label}",
                        head=f"{title} after {label} ↓",
                        hint=f"score on {title} under the attack {label}",
                        of=lambda row, title=title, label=label: (_score(row, label, title), ""),
                    )
                )
    return columns


def worst_of(row: Row) -> tuple[str, AttackResult] | None:
    """Return the label and the result of the attack that is a row's worst case."""
    return next(((label, found) for label, found in (row.attacks or {}).items() if found.worst is not None), None)


def clipped(estimate: Estimate | None) -> Estimate | None:
    """Return a share as tables have it, in [0, 1]."""
    if estimate is None:
        return None
    ends = {name: value if value is None else min(max(value, 0.0), 1.0) for name, value in estimate}
    return Estimate.model_validate({**ends, "n": estimate.n})


def cell(value: Estimate | None, behind: str, digits: int = 3) -> str:
    """Return a figure with what stands behind it."""
    text = figure(value.value if value else None, digits=digits)
    return f"{text} {behind}" if behind and text != MISSING else text


def _worst(row: Row, name: str) -> tuple[Estimate | None, str]:
    found = worst_of(row)
    if found is None or found[1].worst is None:
        return None, ""
    return clipped(getattr(found[1].worst, name)), found[0]


def _score(row: Row, label: str, title: str) -> Estimate | None:
    result = (row.attacks or {}).get(label)
    return result.columns.get(title) if result else None


def attack_notes(board: Leaderboard) -> list[str]:
    """Return the notes that a reader needs to read the columns on attacks."""
    if not board.attacks:
        return []
    labels = ", ".join(attack.label for attack in board.attacks)
    lines = [
        f"R: share of what seemed gone that came back, against the base and a model that never knew under the same attack; of "
        f"{labels} the one that one half of the items chose, its figure that of the other half. 0: it stayed away from this "
        "attack; 1: all of it was there. F': F under that attack. No attack shows that nothing is left."
    ]
    many: dict[str, list[str]] = {}
    for row in board.rows:
        for label, result in (row.attacks or {}).items():
            for note in result.notes:
                many.setdefault(f"{label}: {note}", []).append(row.variant)
        failed = [label for label, result in (row.attacks or {}).items() if result.failed]
        if failed:
            left = len(board.attacks) - len(failed)
            lines.append(f"{row.variant}: worst of {left} of {len(board.attacks)} attacks; {', '.join(failed)} failed.")
    return [*lines, *(f"{', '.join(rows)} under {note}" for note, rows in many.items())]


def attack_lines(row: Row, board: Leaderboard) -> Iterator[str]:
    """Yield the derivation of a row's figures under each attack, with all six scores."""
    for attack in board.attacks or ():
        result = (row.attacks or {}).get(attack.label)
        if result is None or not result.scores:
            continue
        half = "one half of the items" if attack.half else "all items"
        yield f"under {attack.label} (needs {attack.access}; on {half}){_chosen(result, attack.axis)}:"
        for name, six in result.scores.items():
            before = f"before: base {figure(six.base)}, row {figure(six.row)}, reference {figure(six.reference)}"
            after = f"base {figure(six.base_attacked)}, row {figure(six.row_attacked)}"
            yield f"  {name}: {before}; under it: {after}, reference {figure(six.reference_attacked)}"
        if result.left_before is not None and result.left is not None:
            yield f"  L0 = {_with_span(result.left_before)}, LA = {_with_span(result.left)}, F' = {_with_span(result.gone)}"
        if result.recovered is not None:
            yield f"  R = (LA - max(L0, 0)) / (1 - max(L0, 0)) = {_with_span(result.recovered)}"
        if result.worst is not None:
            chosen = f"{figure(result.worst.chosen_by)} on the half that chooses"
            yield f"  worst of {result.worst.of}, by {chosen}; on the other half R = {_with_span(result.worst.recovered)}"
        if result.figures:
            yield f"  {', '.join(f'{name} {figure(value)}' for name, value in result.figures.items())}"
        yield from (f"  {note}" for note in result.notes)


def _chosen(result: AttackResult, axis: str) -> str:
    """Return what each seed chose."""
    lines: list[str] = []
    for choice in result.chosen:
        settings = (choice.trial or {}).items()
        given = [f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in settings]
        given += [f"{axis or 'step'} {choice.at}"] if choice.at is not None else []
        lines.append("nothing done" if choice.trial is None else ", ".join(given))
    return f"; chosen: {'; '.join(dict.fromkeys(lines))}" if lines else ""


def _with_span(estimate: Estimate | None) -> str:
    if estimate is None:
        return MISSING
    spread = span(estimate)
    return f"{figure(estimate.value)} ({spread})" if spread else figure(estimate.value)


FORMULAS = f"""\
Under an attack: L = (row - reference) / (base - reference), of all three as they were (L0) and of all three under the attack
(LA), mean over topics; R = (LA - L0) / (1 - L0), with L0 at least 0; F' = 1 - LA, in [0, 1]. Without a reference chance stands
in. Verdict hidden, after no-effect: F's interval lies above 0, and under a counted attack that of R above
{figure(HIDDEN_MARGIN)}, at a level that the counted attacks share."""
