"""The reference that `unlearnbench retrain` makes: its weights, its record, what a comparison reads of it, what goes wrong."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, get_linear_schedule_with_warmup

import unlearnbench
from unlearnbench.planning.retraining import plan_retraining
from unlearnbench.planning.retraining_recipe import RetrainingRequest
from unlearnbench.records.retraining import Retraining
from unlearnbench.system.files import content_hash

TEXTS = [f"The {animal} of {place} eats {food} at dawn." for animal, place, food in zip(
    ("heron", "otter", "lynx", "newt", "stoat", "crane", "vole", "hare", "wren", "toad"),
    ("Aran", "Bute", "Coll", "Dun", "Eigg", "Fair", "Gigha", "Hoy", "Iona", "Jura"),
    ("reeds", "eels", "mice", "gnats", "eggs", "frogs", "roots", "clover", "ants", "slugs"), strict=True,
)]  # fmt: skip
SETTINGS = ("--epochs", "2", "--batch-size", "4", "--lr", "1e-3", "--max-length", "12", "--dtype", "float32")
UPDATES = 5  # 10 texts, 2 epochs, 4 at a time


@pytest.fixture(scope="module")
def retain(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("texts") / "retain.jsonl"
    file.write_text("".join(f"{json.dumps({'text': text})}\n" for text in TEXTS))
    return file


def command(base: Path, retain: Path, out: Path, *more: object) -> list[str]:
    return ["retrain", *map(str, (base, "--retain", retain, "--out", out, *SETTINGS, "--device", "cpu", *more))]


@pytest.fixture(scope="module")
def made(tiny_folder, retain, tmp_path_factory, cache) -> Path:
    """A retrained model, made by the installed command's own entry in a process of its own."""
    out = tmp_path_factory.mktemp("retrained") / "reference"
    line = [sys.executable, "-m", "unlearnbench", *command(tiny_folder, retain, out)]
    environment = {**os.environ, "UNLEARNBENCH_CACHE": str(cache)}
    outcome = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert "10 texts, 2 epochs, 4 at a time: 5 updates on at most 240 tokens; about " in outcome.stderr
    assert f"--checkpoint retrain={out} --reference retrain" in outcome.stderr
    return out


@pytest.fixture(scope="module")
def record(made) -> Retraining:
    return Retraining.model_validate_json((made / "unlearnbench.json").read_text())


def encoded(folder: Path) -> list[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [tokenizer(text)["input_ids"][:12] for text in TEXTS]


def test_it_is_an_ordinary_model_folder(made, tiny_folder):
    model = AutoModelForCausalLM.from_pretrained(made)
    assert AutoTokenizer.from_pretrained(made).vocab_size == 2048
    before = load_file(tiny_folder / "model.safetensors")
    changed = {name for name, tensor in load_file(made / "model.safetensors").items() if not torch.equal(tensor, before[name])}
    assert changed == set(before)
    assert model.dtype == torch.float32
    assert not list(made.parent.glob(".*"))


def test_weights_are_those_of_the_stated_recipe(made, tiny_folder):
    """AdamW with decay .01, the norm of the gradients cut at 1, one epoch of warm-up, then linearly to 0; a plain loop."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder).eval()
    texts = encoded(tiny_folder)
    order = []
    for epoch in range(2):
        places = list(range(len(texts)))
        random.Random(f"0 0 {epoch}").shuffle(places)
        order += places
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = get_linear_schedule_with_warmup(optimizer, 3, UPDATES)  # half of 5 updates, rounded up
    for update in range(UPDATES):
        losses = []
        for place in order[4 * update : 4 * update + 4]:
            ids = torch.tensor([texts[place]])
            losses.append(model(ids, labels=ids).loss)
        torch.stack(losses).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    start, found = (load_file(folder / "model.safetensors") for folder in (tiny_folder, made))
    wanted = dict(model.named_parameters())
    for name, tensor in found.items():
        moved = (tensor - start[name]).norm()
        assert (tensor - wanted[name]).norm() < 0.02 * moved, name


def test_record_by_hand(record, made, tiny_folder):
    """Two whole epochs were seen; only the retain texts count."""
    assert record.cost.tokens == 2 * sum(map(len, encoded(tiny_folder)))
    assert record.cost.trained_parameters == sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(made).parameters())
    assert record.cost.unlearn_seconds > 0
    assert [(corpus.source, corpus.rows) for corpus in record.corpora] == [("retain.jsonl", 10)]
    wanted = {
        "epochs": 2, "lr": 1e-3, "weight_decay": 0.01, "lr_schedule": "linear", "lr_warm_up": 0.5, "steps": UPDATES,
        "batch_size": 4, "max_length": 12, "seed": 0, "dtype": "float32", "adapter": "none", "method": "fine-tune-retain",
    }  # fmt: skip
    assert {name: record.recipe[name] for name in wanted} == wanted
    assert record.recipe["trainer"]["gradient_clip_val"] == 1.0
    assert record.identity == content_hash(record.recipe)
    assert record.environment["device"].endswith("CPU")
    assert str(made.parent) not in (made / "unlearnbench.json").read_text()
    losses = list(csv.DictReader(io.StringIO(next(made.glob("logs/retrain/*/metrics.csv")).read_text())))
    assert len(losses) == UPDATES


def test_defaults_are_openunlearnings(cli, tiny_folder, retain, tmp_path):
    """5 epochs of 10 texts, 32 at a time: 50 / 32 updates, rounded up."""
    plan = plan_retraining(RetrainingRequest(model=str(tiny_folder), retain=[str(retain)], out=tmp_path / "o", cache=tmp_path))
    assert plan.updates == 2
    wanted = {"epochs": 5, "lr": 1e-5, "weight_decay": 0.01, "batch_size": 32, "lr_schedule": "linear", "lr_warm_up": 0.2}
    assert {name: plan.recipe[name] for name in wanted} == wanted
    outcome = cli("retrain", tiny_folder, "--retain", retain, "--out", tmp_path / "out", "--dry-run")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("10 texts, 5 epochs, 32 at a time: 2 updates on at most 32,768 tokens; about ")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "o").exists()


def test_several_corpora_are_one_epoch(tiny_folder, retain, tmp_path):
    """A source that is named twice counts once."""
    more = tmp_path / "more.txt"
    more.write_text("A line.\nAnother line.\n")
    sources = [str(retain), str(more), str(retain)]
    request = RetrainingRequest(model=str(tiny_folder), retain=sources, out=tmp_path / "o", cache=tmp_path, batch_size=4)
    plan = plan_retraining(request)
    assert (plan.texts, plan.updates) == (12, 15)
    assert [corpus.source for corpus in plan.corpora] == ["retain.jsonl", "more.txt"]


def test_a_seed_decides_the_weights(tiny_folder, retain, record, tmp_path):
    def again(seed: int) -> Retraining:
        return unlearnbench.retrain(
            str(tiny_folder), str(retain), tmp_path / f"seed-{seed}", epochs=2, lr=1e-3, batch_size=4, max_length=12,
            seed=seed, dtype="float32", device="cpu", cache=tmp_path / "cache",
        )  # fmt: skip

    assert again(0).weights == record.weights
    assert again(0).identity == record.identity
    assert again(1).weights != record.weights


def test_a_finished_model_is_not_trained_again(cli, made, tiny_folder, retain):
    before = (made / "unlearnbench.json").read_bytes()
    outcome = cli(*command(tiny_folder, retain, made))
    assert outcome.code == 0, outcome.err
    assert f"{made} holds this model already; nothing was trained." in outcome.err
    assert (made / "unlearnbench.json").read_bytes() == before


def test_another_model_in_the_folder_is_named(cli, made, tiny_folder, retain):
    outcome = cli(*command(tiny_folder, retain, made, "--seed", "3", "--set", "retrain.order=file"))
    assert outcome.code == 2
    assert outcome.err == (
        f"unlearnbench: {made} holds a model that was retrained otherwise (other order, seed); name another folder.\n"
    )


def test_weights_that_changed_are_not_the_records(cli, made, tiny_folder, retain, tmp_path):
    shutil.copytree(made, tmp_path / "copy")
    file = tmp_path / "copy" / "model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    outcome = cli(*command(tiny_folder, retain, tmp_path / "copy"))
    assert outcome.code == 2
    assert "its unlearnbench.json is damaged or belongs to other weights; name a folder that does not exist." in outcome.err


def test_it_is_the_reference_of_a_comparison(cli, made, record, tiny_folder, tmp_path):
    """The row has the cost of its retraining, the others their share of it, and `show` has the whole record."""
    (tmp_path / "r.yaml").write_text(
        f"model: {tiny_folder}\ndtype: float32\nlimit: 3\ncheckpoints: {{retrain: '{made}'}}\n"
        'topics: {bio: {forget: "sandbox:corpora:bio-forget", retain: "sandbox:corpora:retain", parts: [wmdp/bio]}}\n'
        'benchmarks: {wmdp: {source: "sandbox:wmdp"}}\n'
        "methods: {fine-tune-retain: {steps: 2, batch_size: 2, accumulate: 1, max_length: 16}}\n"
    )
    run = tmp_path / "run"
    outcome = cli("compare", tmp_path / "r.yaml", "--reference", "retrain", "--out", run, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    costs = {row["variant"]: row["cost"] for row in json.loads((run / "leaderboard.json").read_text())["rows"]}
    assert costs["retrain"]["unlearn_seconds"] == record.cost.unlearn_seconds
    assert costs["retrain"]["tokens"] == record.cost.tokens
    assert costs["retrain"]["of_retraining"] is None
    share = costs["fine-tune-retain"]["unlearn_seconds"] / record.cost.unlearn_seconds
    assert costs["fine-tune-retain"]["of_retraining"] == pytest.approx(share, abs=1e-6)
    assert costs["fine-tune-retain"]["shared_by"] == "seconds"
    table = cli("leaderboard", run, "--format", "csv").out
    rows = {row["variant"]: row for row in csv.DictReader(io.StringIO(table))}
    assert float(rows["fine-tune-retain"]["of_retraining"]) == pytest.approx(share, abs=1e-6)
    assert (
        "of retraining: what unlearning cost as a share of retraining retrain, by seconds"
        in (run / "leaderboard.md").read_text()
    )
    assert "of retraining" in (run / "report.html").read_text()
    shown = cli("show", run, "retrain/wmdp").out
    assert "retraining" in shown
    assert record.corpora[0].digest in shown
    assert cli("verify", run).code == 0
    chance = cli("leaderboard", run, "--reference", "chance", "--format", "csv").out
    assert "of_retraining" not in chance


def test_record_does_not_change_what_the_model_is(made, tmp_path):
    """So that scores of the same weights are found again, however long the training took."""
    from unlearnbench.models.folders import weights_identity
    from unlearnbench.system.files import JsonCache

    shutil.copytree(made, tmp_path / "copy")
    (tmp_path / "copy" / "unlearnbench.json").unlink()
    memory = JsonCache(tmp_path / "memory.json")
    assert weights_identity(made, memory) == weights_identity(tmp_path / "copy", memory)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--retain": None}, "There are no texts to train on; give --retain SOURCE"),
        ({"--retain": "nowhere.jsonl"}, "The source 'nowhere.jsonl' does not exist"),
        ({"untaught": "./no-such-model"}, "The source './no-such-model' does not exist"),
        ({"--lr": "-1"}, "Option retrain.lr takes float > 0"),
        ({"--epochs": "0"}, "Invalid value for '--epochs'"),
        ({"--seed": "-1"}, "--seed takes a whole number from 0 to 4294967295; got -1."),
        ({"--device": "tpu"}, "Unknown value of --device 'tpu'"),
        ({"--dtype": "int8"}, "Unknown value of --dtype 'int8'"),
        ({"--set": "rmu.lr=1"}, "Unknown name in --set 'rmu'"),
        ({"--set": "retrain.steps=9"}, "--set retrain.steps=9 is not for retrain: --epochs says how long it trains."),
        ({"--set": "retrain.method=rmu"}, "a reference is trained on the retain texts and nothing else."),
        ({"--set": "trainer.devices=2"}, "retrain trains in one process; trainer.devices is 2: leave it out."),
        ({"--set": "trainer.precison=32-true"}, "Did you mean 'precision'?"),
        ({"--out": None}, "Missing option '--out'"),
    ],
)
def test_bad_input_is_one_sentence(cli, tiny_folder, retain, tmp_path, monkeypatch, changes, words):
    monkeypatch.chdir(tmp_path)
    given = {"--retain": retain, "--out": tmp_path / "out", "--device": "cpu", **changes}
    untaught = given.pop("untaught", tiny_folder)
    flags = [word for pair in given.items() if pair[1] is not None for word in pair]
    outcome = cli("retrain", untaught, *flags)
    assert outcome.code == 2
    assert words in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_is_refused(cli, tiny_folder, retain, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    outcome = cli(*command(tiny_folder, retain, tmp_path / "taken"))
    assert outcome.code == 2
    assert outcome.err == f"unlearnbench: {tmp_path / 'taken'} is not empty; name a folder that does not exist.\n"
    outcome = cli(*command(tiny_folder, retain, tmp_path / "taken" / "mine.txt"))
    assert outcome.code == 2
    assert "cannot be a folder" in outcome.err
    assert [path.name for path in tmp_path.rglob("*")] == ["taken", "mine.txt"]


def test_a_training_that_diverges_leaves_nothing(cli, tiny_folder, retain, tmp_path):
    outcome = cli(*command(tiny_folder, retain, tmp_path / "out", "--lr", "1e30"))
    assert outcome.code == 1
    assert "The retraining failed, and nothing was written: FloatingPointError: the loss " in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_asked_to_stop_it_leaves_nothing(tiny_folder, retain, tmp_path):
    environment = {**os.environ, "UNLEARNBENCH_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "unlearnbench", *command(tiny_folder, retain, tmp_path / "out", "--epochs", "4000")]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        words = [process.stderr.readline(), process.stderr.readline()]
        process.terminate()
        words += process.stderr.readlines()
    assert process.returncode == 143
    assert words[-1] == f"Stopped by SIGTERM. Nothing is in {tmp_path / 'out'}; the same command begins anew.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_killed_half_way_it_begins_anew(tiny_folder, retain, made, tmp_path):
    """SIGKILL in the middle of the training: no folder; the same command makes the very model, and clears up."""
    out = tmp_path / "out"
    environment = {**os.environ, "UNLEARNBENCH_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "unlearnbench", *command(tiny_folder, retain, out, "--epochs", "40")]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for said in process.stderr:
            if "training (100)" in said:
                process.kill()
        process.wait()
    assert process.returncode == -9
    assert not out.exists()
    [left] = [path for path in tmp_path.iterdir() if path.name != "cache"]
    assert not list(left.glob("*.safetensors"))
    outcome = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert AutoModelForCausalLM.from_pretrained(out).dtype == torch.float32
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "out"}
