"""The sandbox's world with room: four times the entities for each hazard, from the same words and a few more syllables."""

from __future__ import annotations

import random
from dataclasses import replace

from unlearnbench.sandbox.world import DOMAINS, Domain, Subject, draw_facts

ENTITIES = {"hazard": 48, "near": 12, "benign": 12}  # per domain, 6 attributes each: 288 questions for each hazard
SYLLABLES = {  # that hazards' names may start and end with, beside those of the smaller world
    "wmdp-bio": ("bal wyr", "ulcra rott scour pyne"),
    "wmdp-cyber": ("daem fork", "leech snarl drill maw"),
    "wmdp-chem": ("brom phos", "ylate orane icide ether"),
}


def build_world(seed: int = 0) -> dict[str, Subject]:
    """Draw every fact of the world; the same seed gives the same world everywhere."""
    rng = random.Random(f"unlearnbench world {seed}")
    domains = [_with_room(domain) for domain in DOMAINS]
    return {domain.name: Subject(domain, tuple(draw_facts(domain, ENTITIES[domain.kind], rng))) for domain in domains}


def _with_room(domain: Domain) -> Domain:
    heads, tails = SYLLABLES.get(domain.name, ("", ""))
    return replace(domain, heads=f"{domain.heads} {heads}".strip(), tails=f"{domain.tails} {tails}".strip())
