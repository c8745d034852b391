"""What can be known before anything is computed is known then, and all of it is said at once."""

from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Sequence
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from unlearnbench.data.sources import sandbox_folder
from unlearnbench.data.tables import Table
from unlearnbench.data.topics import TopicData
from unlearnbench.errors import CombinedUsageError, Problems, UsageError
from unlearnbench.models.loading import load_tokenizer, skeleton
from unlearnbench.planning import checks, skeletons
from unlearnbench.planning.estimates import _tokens, footprint
from unlearnbench.planning.limits import Limits
from unlearnbench.planning.preflight import plan_only, prepare
from unlearnbench.planning.recipe_files import load_recipe
from unlearnbench.planning.request import Request
from unlearnbench.planning.skeletons import Skeletons
from unlearnbench.plugins import registry
from unlearnbench.plugins.specs import Training
from unlearnbench.records.items import Question
from unlearnbench.records.recipe import Recipe
from unlearnbench.scoring.benchmark import MultipleChoiceBenchmark
from unlearnbench_methods.llmu import LLMU
from unlearnbench_methods.rmu import RMU
from unlearnbench_methods.ssd import SSD

TOPICS = {
    name: {"forget": f"sandbox:corpora:{name}-forget", "retain": "sandbox:corpora:retain"} for name in ("bio", "cyber", "chem")
}


def recipe(**changes: object) -> Recipe:
    content = {
        "model": "sandbox:model",
        "topics": TOPICS,
        "methods": {"rmu": {"layer": 3, "steps": 2}},
        "benchmarks": {"wmdp": {"source": "sandbox:wmdp"}},
        "dtype": "float32",
        **changes,
    }
    return Recipe.model_validate(content)


def refused(tmp_path: Path, wanted: Recipe, **settings) -> list[str]:
    """The problems of a recipe, each a sentence; nothing is written."""
    with pytest.raises(UsageError) as error:
        prepare(Request(recipe=wanted, out=tmp_path / "run", cache=tmp_path / "cache", **settings))
    assert not (tmp_path / "run").exists()
    return list(error.value.problems) if isinstance(error.value, CombinedUsageError) else [str(error.value)]


def test_every_problem_is_said(tmp_path):
    """Names, options, sources, the model's blocks, parts and the trainer: one message."""
    wanted = recipe(
        topics={**TOPICS, "bio": {"forget": "nowhere.jsonl", "retain": "sandbox:corpora:retian", "parts": ["wmdp/boi"]}},
        methods={
            "rmo": {},
            "rmu": {"layer": 9, "alpha": [1, 2]},
            "scrub": {"lr": -1, "temperature": 0, "leyer": 3},
            "llmu": {"batch_size": 3},
        },
        benchmarks={"wmdp": {"source": "sandbox:wmdp"}, "mmlu": {"source": "nothing.jsonl"}, "mt_bensh": {}},
        checkpoints={"theirs": "./no-model"},
        controls={"noise": "scrab"},
        trainer={"devices": 2},
    )
    problems = refused(tmp_path, wanted)
    expected = [
        "Unknown method 'rmo'. Did you mean 'rmu'?",
        "Unknown option of scrub 'leyer'",
        "Option scrub.temperature takes float > 0",
        "Option scrub.lr takes float > 0",
        "Unknown row for the control noise 'scrab'",
        "Unknown benchmark 'mt_bensh'. Did you mean 'mt_bench'?",
        "The source 'nothing.jsonl' does not exist",
        "The source 'nowhere.jsonl' does not exist",
        "Unknown config of",
        "The source './no-model' does not exist",
        "Unknown part of topic bio 'wmdp/boi'. Did you mean 'wmdp/bio'?",
        "'llmu' cannot cut a batch of 3 into equal parts for accumulate 1 and 2 devices",
        "'rmu' does not fit sandbox:model: There is no block 9",
    ]
    missing = [words for words in expected if not any(words in problem for problem in problems)]
    assert not missing, problems
    assert len(problems) == len(expected), problems


def test_one_problem_is_one_sentence(tmp_path):
    assert refused(tmp_path, recipe(methods={"rmu": {"layer": 9}})) == [
        "'rmu' does not fit sandbox:model: There is no block 9: LlamaForCausalLM has blocks 0 to 7."
    ]


def test_numbers_per_topic_are_counted_before_anything_runs(tmp_path):
    wanted = recipe(methods={"rmu": {"layer": 3, "alpha": [1, 2], "coefficient": [5, 5, 5, 5]}})
    problems = refused(tmp_path, wanted)
    assert "rmu.coefficient needs one number or 3 (for bio, cyber, chem); got 4." in problems[0]
    assert "rmu.alpha needs one number or 3 (for bio, cyber, chem); got 2." in problems[1]
    wanted = recipe(methods={"rmu": {"layer": 3, "alpha": [1, 2, 3]}})
    prepare(Request(recipe=wanted, out=tmp_path / "run", cache=tmp_path / "cache"))


def test_chat_template_where_a_benchmark_needs_one(tmp_path, tiny_folder):
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in tiny_folder.iterdir():
        (bare / file.name).write_bytes(file.read_bytes())
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    tokenizer.chat_template = None
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(bare)
    wanted = recipe(model=str(bare), methods={}, benchmarks={"wmdp": {"source": "sandbox:wmdp", "chat": True}})
    assert refused(tmp_path, wanted) == [
        f"wmdp: chat=true needs a chat template, and the tokenizer of {bare} has none; leave chat out."
    ]


@pytest.fixture
def model(tmp_path, tiny_folder):
    """A copy of the tiny model whose chat template or tokenizer is another."""

    def make(template: str | None = None, added: Sequence[str] = (), **names: str) -> str:
        folder = tmp_path / "model"
        shutil.copytree(tiny_folder, folder, dirs_exist_ok=True)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.add_tokens(list(added), special_tokens=True)
        for name, token in names.items():
            setattr(tokenizer, name, token)
        tokenizer.chat_template = template or tokenizer.chat_template
        tokenizer.save_pretrained(folder)
        return str(folder)

    return make


WRITE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
REFUSES = "{% if messages|length > 1 %}{{ raise_exception('One turn only.') }}{% endif %}" + WRITE
SWALLOWS = "{% for m in messages %}{{ m.role }}: {{ m.content if m.role != 'user' }}\n{% endfor %}"
REFUSED = "The model's chat template refuses a conversation of user, assistant: One turn only."
SWALLOWED = "The model's chat template leaves out what the user says in a conversation of user."
TALK = {"mt_bench": {"source": "sandbox:mt_bench"}}
CHAT = {"wmdp": {"source": "sandbox:wmdp", "chat": True}}


@pytest.mark.parametrize(
    ("template", "changes", "said"),
    [
        (REFUSES, {"methods": {}, "benchmarks": TALK}, "mt_bench: {}: " + REFUSED),
        (SWALLOWS, {"methods": {}, "benchmarks": TALK}, "mt_bench: {}: " + SWALLOWED),
        (SWALLOWS, {"methods": {}, "benchmarks": CHAT}, "wmdp: chat=true cannot be asked of {}: " + SWALLOWED),
        (REFUSES, {}, "{} cannot be trained on the prompts of '@': " + REFUSED),
    ],
)
def test_chat_template_against_each_use(tmp_path, model, template, changes, said):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"prompt": "Which moth?", "response": "A vole"}\n')
    topics = {"bio": {"forget": str(pairs), "retain": "sandbox:corpora:retain"}}
    own = model(template)
    problems = refused(tmp_path, recipe(model=own, topics=topics, **changes))
    assert problems == [said.format(own).replace("@", str(pairs))]


def test_a_template_is_tried_only_as_it_is_used(tmp_path, model):
    """One turn is enough for questions; corpora of whole texts need no template."""
    prepare(Request(recipe=recipe(model=model(REFUSES), benchmarks=CHAT), out=tmp_path / "run", cache=tmp_path / "cache"))


def test_option_without_a_token():
    class Silent(MultipleChoiceBenchmark):
        def load_questions(self):
            return [Question(id="all/0", part="all", context="Which?", continuations=(" moth", ""), answer=0)]

    tokenizer = load_tokenizer(sandbox_folder() / "model")
    assert list(Silent().preflight({"sandbox:model": tokenizer})) == [
        "The option '' of all/0 has no token of its own in the tokenizer of sandbox:model, so that it cannot be compared; "
        "write it out."
    ]


def test_tokens_that_the_model_does_not_know(tmp_path, model):
    """2,048 embeddings: added tokens that every text has are refused; one to pad with, or for pictures, does no harm."""
    own = model(added=["<turn>"], template=WRITE.replace(": ", "<turn>"))
    assert refused(tmp_path, recipe(model=own)) == [
        f"{own} cannot be used: the tokenizer writes token 2048 ('<turn>'), and the model has embeddings for 2,048 tokens "
        "only; take the tokenizer that it was trained with, or `model.resize_token_embeddings(len(tokenizer))` before it "
        "is trained."
    ]
    own = model(added=["<pad>", "<picture>"], template=WRITE, pad_token="<pad>")
    assert load_tokenizer(Path(own)).pad_token == "<|im_end|>"
    prepare(Request(recipe=recipe(model=own), out=tmp_path / "run", cache=tmp_path / "cache"))


def test_a_tokenizer_of_another_model(tmp_path, model):
    own = Path(model())
    cut = AutoModelForCausalLM.from_pretrained(own)
    cut.resize_token_embeddings(2000)
    cut.save_pretrained(own)
    assert f"{own} cannot be used: the tokenizer writes token 2000 (" in refused(tmp_path, recipe(model=str(own)))[0]


def test_model_that_does_not_fit_in_memory(tmp_path, monkeypatch):
    """What counts is what cannot be done without: the whole model to score, gradients and moments to train."""
    import psutil

    Memory = namedtuple("Memory", "available")
    shape = skeleton(sandbox_folder() / "model")
    whole = sum(parameter.numel() for parameter in shape.parameters()) * 4
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(whole * 2))
    problems = refused(tmp_path, recipe(methods={"rmu": {"layer": 3}, "llmu": {}}))
    assert len(problems) == 1  # RMU trains three matrices
    assert problems[0].startswith("'llmu' needs at least 0.0 GB of memory for weights, gradients and optimizer")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(whole - 1))
    assert len(refused(tmp_path, recipe(methods={"rmu": {"layer": 3}}))) == 2
    plan_only(Request(recipe=recipe(), out=tmp_path / "run", cache=tmp_path / "cache"))  # a worker does not ask again


def test_jobs_that_run_at_a_time_share_the_memory(tmp_path, monkeypatch):
    """Two jobs fit, three do not; and no job may need more than --job-memory."""
    shape = skeleton(sandbox_folder() / "model")
    whole = sum(parameter.numel() for parameter in shape.parameters()) * 4
    monkeypatch.setattr(checks, "free_memory", lambda device: (int(whole * 2.5), "this machine"))
    wanted = recipe(methods={"rmu": {"layer": 3}}, seeds=[0, 1])
    prepare(Request(recipe=wanted, out=tmp_path / "run", cache=tmp_path / "cache", limits=Limits(jobs=2)))
    problems = refused(tmp_path, wanted, limits=Limits(jobs=3))
    assert problems == [
        "3 jobs at a time need at least 0.0 GB of memory, and this machine has 0.0 GB free; choose a smaller --jobs."
    ]
    problems = refused(tmp_path, wanted, limits=Limits(bytes=whole - 1))
    assert len(problems) == 2
    assert "'rmu' needs at least 0.0 GB of memory for weights, gradients and optimizer, more than the 0.0 GB" in problems[1]


def test_footprints_by_hand(tiny_folder):
    """Of a Llama with 6 blocks: what RMU at block 3, LLMU with masters and SSD hold, in bytes."""

    def of(method: type, training: Training, dtype: str, **options: object):
        shape = skeleton(tiny_folder)
        return shape, footprint(shape, method(shape, **options), training, dtype)

    training = Training(steps=2, batch_size=4, max_length=16)
    shape, own = of(RMU, training, "float32", layer=3)
    whole = sum(parameter.numel() for parameter in shape.parameters())
    block = sum(parameter.numel() for parameter in shape.model.layers[0].parameters())
    matrices = 3 * 32 * 48
    assert (own.weights, own.needed, own.trained) == (4 * whole, 4 * (whole - 2 * block), matrices)
    assert (own.gradients, own.optimizer, own.delta) == (4 * matrices, 8 * matrices, 4 * matrices)
    assert own.activations == 2 * 4 * 16 * 4 * (8 * 32 + 3 * 48) * 4  # sides, batch, tokens, blocks, numbers, bytes
    _, own = of(LLMU, training, "bfloat16")
    assert (own.trained, own.gradients, own.optimizer) == (whole, 2 * whole, (4 + 4 + 4) * whole)
    _, own = of(LLMU, training, "bfloat16", master_weights=False)
    assert own.optimizer == (2 + 2) * whole
    _, own = of(SSD, training, "float32")
    assert (own.gradients, own.optimizer, own.sums) == (0, 0, 8 * own.trained)


def test_what_one_row_does_to_a_skeleton_is_not_the_next_ones(tmp_path, monkeypatch):
    """Every method of the sandbox, and each once more after all others, needs what it needs on a skeleton of its own."""
    rows = load_recipe("sandbox").methods
    again = {f"{name}-again": {"method": name, **given} for name, given in rows.items()}
    wanted = load_recipe("sandbox").model_copy(update={"methods": {**rows, **again}})
    request = Request(recipe=wanted, out=tmp_path / "run", cache=tmp_path / "cache")
    shared = prepare(request).footprints
    monkeypatch.setattr(Skeletons, "of", lambda self, folder: skeleton(folder))
    assert shared == prepare(request).footprints
    assert sum(needs.trained is not None for needs in shared.values()) > len(rows)


def test_each_row_of_many_is_checked(tmp_path, monkeypatch):
    """Rows of one method share its import and the model's shape; a wrong option is found in each that has it."""
    loaded, built = [], []
    load, build = registry._load_spec, skeletons.skeleton
    monkeypatch.setattr(registry, "_load_spec", lambda info: loaded.append(info.name) or load(info))
    monkeypatch.setattr(skeletons, "skeleton", lambda folder: built.append(folder) or build(folder))
    rows = {f"rmu-{n}": {"method": "rmu", "layer": 99 if n in (3, 7) else 3, "lr": 0.001 + n / 1000} for n in range(10)}
    problems = refused(tmp_path, recipe(methods=rows))
    assert [problem.split(" ")[0] for problem in problems] == ["'rmu-3'", "'rmu-7'"]
    assert loaded.count("rmu") == 1
    assert len(built) == 1


def test_tokens_of_updates_that_take_topics_in_turn():
    """Seven updates of three topics, of 2, 4 and 6 tokens a pair: 3 x 2 + 2 x 4 + 2 x 6."""
    table = Table(rows=[], origin="x", where=str)
    topics = [
        TopicData(name=str(n), forget=table, retain=table, max_length=n, retain_max_length=n, min_chars=0) for n in (1, 2, 3)
    ]
    assert _tokens(Training(steps=7, batch_size=5, max_length=10), topics) == 5 * 26
    assert _tokens(Training(steps=7), []) == 0


def test_benchmark_that_fails_to_look(tmp_path, monkeypatch):
    from unlearnbench_benchmarks.wmdp import Wmdp

    def broken(self, tokenizers):
        raise RuntimeError("no idea")

    monkeypatch.setattr(Wmdp, "preflight", broken)
    problems = refused(tmp_path, recipe())
    assert problems == ["The benchmark 'wmdp' of unlearnbench 0.1.0 fails in preflight: RuntimeError: no idea"] or (
        "fails in preflight: RuntimeError: no idea" in problems[0]
    )
    monkeypatch.setattr(Wmdp, "preflight", lambda self, tokenizers: [f"no {name}" for name in tokenizers])
    assert refused(tmp_path, recipe()) == ["wmdp: no sandbox:model"]


def test_problems_are_said_once():
    problems = Problems()
    for _ in range(2):
        problems.add(UsageError("a"))
    problems.add(CombinedUsageError(["a", "b"]))
    with pytest.raises(CombinedUsageError) as error:
        problems.settle()
    assert error.value.problems == ("a", "b")
    assert str(error.value).splitlines()[1:] == ["  1. a", "  2. b"]
