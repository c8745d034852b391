"""Attacks of a test, offered as an installed distribution would offer them."""

from __future__ import annotations

from pathlib import Path

IMPORTS = "from unlearnbench.api import Attack, Attacked, AttackSpec, hookimpl\n"
NOTHING = """

class Unanswered(Attacked):
    def evaluate(self, benchmark, subject, name):
        from unlearnbench.api import ItemResult

        return [
            ItemResult(id=q.id, part=q.part, score=0.0, choice=(q.answer + 1) % 4, answer=q.answer)
            for q in benchmark.questions[: len(benchmark.questions)]
        ]
"""


def offer(place: Path, monkeypatch, name: str, source: str, **spec: object) -> None:
    """Let a module with the class `Name` be found as the attack `name`, a stress by default, until the test ends."""
    module = f"attack_of_a_test_{name}"
    facts = {"access": "weights", "stress": "carry_out" in source and "def trials" not in source, **spec}
    hook = f"""

@hookimpl
def unlearnbench_attacks():
    return [AttackSpec(name="{name}", factory={name.capitalize()}, summary="a test's", source="-", **{facts!r})]
"""
    site = place / "site"
    info = site / f"{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (site / f"{module}.py").write_text(IMPORTS + source + hook)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[unlearnbench.attacks]\n{name} = {module}\n")
    monkeypatch.syspath_prepend(str(site))
