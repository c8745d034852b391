"""Attacks carried out on every row: their cells, what is kept and what is not, and that the model is put back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.attacks import NOTHING, offer

from unlearnbench import compare
from unlearnbench.execution.place import Execution
from unlearnbench.records.cells import SELECTION, CellKey
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.reading import read_cells, read_manifest

CANARY = "xylophonecanary"
TOPICS = {"bio": {"forget": "sandbox:corpora:bio-forget", "retain": "sandbox:corpora:retain", "parts": ["wmdp/bio"]}}
RELEARN = {"steps": 2, "rates": [1e-3, 1e-2], "batch_size": 2, "max_length": 32}


def recipe_of(model: Path, attacks: dict[str, dict], **changes) -> dict:
    return {
        "name": "attacked",
        "model": str(model),
        "dtype": "float32",
        "topics": TOPICS,
        "benchmarks": {"wmdp": {"source": "sandbox:wmdp"}},
        "methods": {"grad-ascent": {"lr": 1e-3, "steps": 2, "batch_size": 2, "max_length": 32, "accumulate": 1}},
        "checkpoints": {"other": "sandbox:retrained"},
        "attacks": attacks,
        "limit": 4,
        **changes,
    }


def attacked_cells(folder: Path):
    run = RunFolder(folder)
    manifest = read_manifest(run)
    return {name: cell for name, cell in read_cells(run, manifest).items() if "!" in name}


def items_of(folder: Path, name: str):
    run = RunFolder(folder)
    row = next(row for row in read_manifest(run).rows if name in row.all_cells)
    return run.read_items(row.key(name), row.all_cells[name])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def finished(tiny_folder, store):
    """A comparison with a stress and an attack that chooses."""
    recipe = recipe_of(tiny_folder, {"quantize:4": {}, "relearn": RELEARN})
    compare(recipe, out=store / "attacked", cache=store / "cache")
    return store / "attacked"


def test_every_row_is_attacked_and_its_own_cells_stay_what_they_are(finished, tiny_folder, store):
    plain = store / "plain"
    compare(recipe_of(tiny_folder, {}), out=plain, cache=store / "other-cache")
    rows = {row.variant: row for row in read_manifest(RunFolder(finished)).rows}
    for row in read_manifest(RunFolder(plain)).rows:
        assert rows[row.variant].cells == row.cells
        assert set(rows[row.variant].attacked) == {f"{row.variant}/wmdp/0!{label}" for label in ("quantize:4", "relearn")}
        assert "attacked" not in row.model_dump()
    boards = [json.loads((folder / "leaderboard.json").read_text()) for folder in (finished, plain)]
    assert [board["attacks"] is None for board in boards] == [False, True]
    assert "attacks" not in boards[1]["recipe"]
    assert "attacks" not in (plain / "recipe.yaml").read_text()
    assert all(cell.status == "done" for cell in attacked_cells(finished).values())


def test_nothing_is_computed_twice(finished, tiny_folder, store):
    before = {path: path.stat().st_mtime_ns for path in (finished / "attacked").rglob("*.json")}
    recipe = recipe_of(tiny_folder, {"quantize:4": {}, "relearn": RELEARN})
    compare(recipe, out=finished, cache=store / "cache")
    assert {path: path.stat().st_mtime_ns for path in (finished / "attacked").rglob("*.json")} == before


def test_a_cell_that_was_lost_takes_the_chosen_trial_alone(finished, tiny_folder, store):
    name = "grad-ascent/wmdp/0!relearn"
    wanted = items_of(finished, name)
    [path] = (finished / "attacked" / "grad-ascent" / "relearn").rglob("*.json")
    [journal] = (finished / "logs" / "grad-ascent").glob("attack-relearn-*.jsonl")
    path.unlink()
    kept = journal.read_bytes()
    compare(recipe_of(tiny_folder, {"quantize:4": {}, "relearn": RELEARN}), out=finished, cache=store / "fresh-cache")
    assert items_of(finished, name) == wanted
    assert journal.read_bytes() == kept


def test_other_models_of_the_same_comparison_come_from_the_cache(finished, tiny_folder, store):
    recipe = recipe_of(tiny_folder, {"quantize:4": {}, "relearn": RELEARN})
    again = store / "again"
    compare(recipe, out=again, cache=store / "cache")
    cells = attacked_cells(again)
    assert all(cell.provenance["cached"] for cell in cells.values())
    for name in cells:
        assert items_of(again, name) == items_of(finished, name)


def test_a_process_of_its_own_gives_the_same(finished, tiny_folder, store):
    recipe = recipe_of(tiny_folder, {"quantize:4": {}, "relearn": RELEARN})
    isolated = store / "isolated"
    compare(recipe, out=isolated, cache=store / "isolated-cache", execution=Execution(executor="isolated"))
    for name, cell in attacked_cells(isolated).items():
        assert cell.status == "done"
        assert items_of(isolated, name) == items_of(finished, name)


def test_each_half_is_marked_and_chosen_on_one_alone(finished):
    halves = {item.id: item.values[SELECTION] for item in items_of(finished, "none/wmdp/0!relearn")}
    assert {item.id: item.values[SELECTION] for item in items_of(finished, "other/wmdp/0!quantize:4")} == halves
    assert set(halves.values()) == {0.0, 1.0}
    facts = attacked_cells(finished)["grad-ascent/wmdp/0!relearn"].provenance["attack"]
    points = {(point["trial"], point["at"]): point["score"] for point in facts["trials"]}
    assert set(points) == {(0, None), (1, 1), (1, 2), (2, 1), (2, 2)}
    chosen = 0 if facts["chosen"] is None else RELEARN["rates"].index(facts["chosen"]["lr"]) + 1
    assert points[chosen, facts["at"]] == max(points.values())
    selected = [item for item in items_of(finished, "grad-ascent/wmdp/0!relearn") if item.part == "bio" and halves[item.id]]
    assert sum(item.score for item in selected) / len(selected) == pytest.approx(points[chosen, facts["at"]], abs=1e-6)


def test_attacked_weights_never_reach_the_disk(finished):
    assert {path.parent.parent.parent.name for path in finished.rglob("*.safetensors")} == {"deltas"}
    before = {path: path.read_bytes() for path in finished.rglob("*.safetensors")}
    assert len(before) == 1  # of the one row that trains


def test_a_model_without_seeds_is_attacked_once_per_seed_where_chance_has_a_part(tiny_folder, store):
    recipe = recipe_of(tiny_folder, {"prune:30": {}, "relearn": {**RELEARN, "rates": [1e-3]}}, seeds=[0, 3], checkpoints={})
    out = store / "seeds"
    compare(recipe, out=out, cache=store / "cache")
    assert set(attacked_cells(out)) == {
        "none/wmdp/0!prune:30",
        *(f"none/wmdp/{seed}!relearn" for seed in (0, 3)),
        *(f"grad-ascent/wmdp/{seed}!{label}" for seed in (0, 3) for label in ("prune:30", "relearn")),
    }
    isolated = store / "isolated-seeds"
    compare(recipe, out=isolated, cache=store / "c3", execution=Execution(executor="isolated"))
    for name in attacked_cells(out):
        assert items_of(isolated, name) == items_of(out, name)


VANDAL = """
import torch

class Vandal(Attack):
    def carry_out(self, victim, trial):
        model = victim.model
        model.train()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.5)
        model.model.layers[0].register_forward_hook(lambda module, arguments, output: None)
        model.model.layers[1] = torch.nn.Identity()
        model.requires_grad_(False)
        torch.manual_seed(7)
        yield Attacked()
"""


def test_the_model_is_put_back_whatever_an_attack_does_to_it(finished, tiny_folder, store, tmp_path, monkeypatch):
    offer(tmp_path, monkeypatch, "vandal", VANDAL.replace("yield Attacked()", "yield Unanswered()") + NOTHING)
    out = store / "vandal"
    run = compare(
        recipe_of(tiny_folder, {"vandal": {}, "quantize:4": {}, "relearn": RELEARN}), out=out, cache=store / "vandal-cache"
    )
    assert run.leaderboard.rows[0].attacks["quantize:4"].failed == 0
    for name, cell in attacked_cells(out).items():
        assert cell.status == "done"
        if "vandal" not in name:
            assert items_of(out, name) == items_of(finished, name)


SECRET = f"""
class Secret(Attack):
    def carry_out(self, victim, trial):
        yield Attacked()
        raise ValueError("{CANARY} of " + victim.tokenizer.decode([5]))
"""


def test_an_attack_that_fails_costs_its_own_cells_and_its_words_are_not_kept(tiny_folder, store, tmp_path, monkeypatch):
    offer(tmp_path, monkeypatch, "secret", SECRET)
    out = store / "secret"
    run = compare(recipe_of(tiny_folder, {"secret": {}, "prune:30": {}}), out=out, cache=tmp_path / "cache")
    cells = attacked_cells(out)
    assert {name.partition("!")[2]: cell.status for name, cell in cells.items()} == {"secret": "failed", "prune:30": "done"}
    assert all("ValueError at" in cell.error for name, cell in cells.items() if "secret" in name)
    row = next(row for row in run.leaderboard.rows if row.variant == "grad-ascent")
    assert row.status == "done"
    assert row.attacks["secret"].failed == 1
    assert row.attacks["prune:30"].columns
    left = [path for place in (out, tmp_path / "cache") for path in place.rglob("*") if path.is_file()]
    assert left
    assert not [path for path in left if CANARY.encode() in path.read_bytes()]


TALKER = f"""
from dataclasses import replace

class Wordy(Attacked):
    def evaluate(self, benchmark, subject, name):
        return [replace(item, text="{CANARY}", question="{CANARY}", judgment="{CANARY}")
                for item in benchmark.evaluate(subject)]

class Talker(Attack):
    def carry_out(self, victim, trial):
        yield Wordy()
"""


def test_what_an_attacked_model_writes_is_not_kept(tiny_folder, tmp_path, monkeypatch):
    offer(tmp_path, monkeypatch, "talker", TALKER)
    compare(recipe_of(tiny_folder, {"talker": {}}), out=tmp_path / "out", cache=tmp_path / "cache")
    assert all(cell.status == "done" for cell in attacked_cells(tmp_path / "out").values())
    left = [path for place in ("out", "cache") for path in (tmp_path / place).rglob("*") if path.is_file()]
    assert not [path for path in left if CANARY.encode() in path.read_bytes()]


WORSE = """
class Worse(Attack):
    axis = "update"

    def trials(self):
        return [{"size": 1.0}, {"size": float("nan")}]

    def carry_out(self, victim, trial):
        import torch

        with torch.no_grad():
            victim.model.get_output_embeddings().weight.mul_(trial["size"] * -1.0)
        yield Attacked(at=1)
"""


def test_an_attack_that_helps_nobody_leaves_the_model_as_it_was(tmp_path, monkeypatch):
    """The sandbox's own model, which knows: turned round it answers worse, and with NaN nothing; so nothing is done."""
    offer(tmp_path, monkeypatch, "worse", WORSE)
    recipe = recipe_of(Path("sandbox:model"), {"worse": {}}, methods={}, checkpoints={}, limit=6)
    out = tmp_path / "out"
    compare(recipe, out=out, cache=tmp_path / "cache")
    facts = attacked_cells(out)["none/wmdp/0!worse"].provenance["attack"]
    assert facts["chosen"] is None
    assert [point["score"] is None for point in facts["trials"]] == [False, False, True]
    own, attacked = items_of(out, "none/wmdp/0"), items_of(out, "none/wmdp/0!worse")
    assert [(item.id, item.logprobs) for item in attacked] == [(item.id, item.logprobs) for item in own]


SEEN = """
import json, os
from pathlib import Path

class Seen(Attack):
    def carry_out(self, victim, trial):
        Path(os.environ["SEEN"]).write_text(json.dumps([q.id for own in victim.questions.values() for q in own]))
        yield Attacked()
"""


def test_an_attack_has_no_question_that_is_reported(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SEEN", str(tmp_path / "seen.json"))
    offer(tmp_path, monkeypatch, "seen", SEEN)
    out = tmp_path / "out"
    compare(recipe_of(tiny_folder, {"seen": {}}, methods={}, checkpoints={}), out=out, cache=tmp_path / "cache")
    seen = set(json.loads((tmp_path / "seen.json").read_text()))
    items = items_of(out, "none/wmdp/0!seen")
    assert seen == {item.id for item in items if item.values[SELECTION] == 1.0}
    assert len(seen) < len(items)


def test_keys_of_attacked_cells_are_read_as_they_are_written():
    for key in (
        CellKey(variant="a/b", benchmark="mcq:./x/y.jsonl", seed=3, attack="quantize:4"),
        CellKey(variant="none", benchmark="wmdp", seed=0),
    ):
        assert CellKey.read(key.variant, key.within(key.seed), key.seed) == key
        assert CellKey.read(key.variant, key.within(5), 5) == (key if key.attack else key.model_copy(update={"seed": 5}))
