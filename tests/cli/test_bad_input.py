"""Every mistake a user can make: one clear sentence, exit code 2, nothing written, no traceback."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

SANDBOX_FORGET = "sandbox:corpora:bio-forget"
SANDBOX_RETAIN = "sandbox:corpora:retain"
FEW = ("--methods", "rmu,llmu,scrub,ssd")  # the mistake is looked for in rows enough
SCORED = ("--benchmarks", "wmdp", "--set", "wmdp.source=sandbox:wmdp")


@pytest.fixture
def refuse(cli, tmp_path: Path):
    """Run a command that must be refused; returns its one sentence."""

    def run(*arguments: object, out: Path | None = None) -> str:
        folder = out if out is not None else tmp_path / "run"
        whole = (
            arguments[0] == "compare"
            and all(str(word).startswith("--") for word in arguments[1:2])
            and "--methods" not in arguments
        )
        outcome = cli(*arguments, *(FEW if whole else ()), "--out", folder)
        assert outcome.code == 2, outcome.err
        assert "Traceback" not in outcome.err
        assert outcome.out == ""
        message = outcome.err.strip()
        assert message.startswith("unlearnbench: ")
        assert "\n" not in message
        if out is None:
            assert not folder.exists()
        return message

    return run


def test_unknown_method(refuse):
    message = refuse("compare", "--methods", "rmo")
    assert "Unknown method 'rmo'. Did you mean 'rmu'?" in message
    assert "none, npo, pdu, rmu" in message


def test_unknown_benchmark(refuse):
    assert "Did you mean 'mmlu'?" in refuse("compare", "--benchmarks", "wmdp,mmmlu")


def test_unknown_recipe(refuse):
    message = refuse("compare", "sandbax")
    assert "Did you mean 'sandbox'?" in message
    assert "ends in .yaml" in message


def test_missing_recipe_file(refuse, tmp_path):
    assert "cannot be read: No such file" in refuse("compare", tmp_path / "mine.yaml")


def test_variant_of_an_unknown_method(refuse, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "model: sandbox:model\nmethods: {rmu-late: {method: rnu}}\nbenchmarks: {wmdp: {source: 'sandbox:wmdp'}}\n"
    )
    assert "Did you mean 'rmu'?" in refuse("compare", recipe)


def test_unknown_option(refuse):
    message = refuse("compare", "--set", "rmu.learning=1")
    assert "Unknown option of rmu 'learning'" in message
    assert "`unlearnbench plugins rmu`" in message
    assert "Did you mean 'layer'?" in refuse("compare", "--set", "rmu.leyer=1")


def test_option_that_must_be_given(refuse):
    message = refuse("evaluate", "sandbox:model", "--benchmarks", "mcq")
    assert "Option mcq.source has no default; give it with --set mcq.source=VALUE." in message


def test_set_for_something_else(refuse):
    assert "Did you mean 'rmu'?" in refuse("compare", "--set", "rmi.lr=1")
    assert "NAME.option=value" in refuse("compare", "--set", "lr=1")


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("rmu.lr=fast", "rmu.lr takes float"),
        ("rmu.lr=-1", "rmu.lr takes float > 0: input should be greater than 0, got -1"),
        ("rmu.lr=", "rmu.lr takes float > 0: input should be a valid number, got None"),
        ("rmu.lr=true", "rmu.lr takes float > 0: a truth value is no number, got True"),
        ("rmu.layers=[true]", "rmu.layers takes list[int] | None: a truth value is no number, got [True]"),
        ("rmu.lr=.inf", "rmu.lr takes float > 0: a number must be finite, got inf"),
        ("rmu.steps=1.5", "rmu.steps takes int"),
        ("rmu.steps=0", "rmu.steps takes int > 0"),
        ("rmu.max_length=1", "rmu.max_length takes int >= 2"),
        ("rmu.vector=cube", "rmu.vector takes Literal['uniform', 'gaussian']"),
        ("rmu.layers=7", "rmu.layers takes list[int] | None: input should be a valid list, got 7"),
        ("llmu.answers=0", "llmu.answers takes int > 0"),
        ("llmu.prefix=1", "llmu.prefix takes float > 0, < 1"),
        ("llmu.adapter=lola", "input should be 'none' or 'lora', got 'lola'"),
        ("scrub.temperature=0", "scrub.temperature takes float > 0"),
        ("ssd.dampening=-1", "ssd.dampening takes float >= 0"),
        ("mmlu.shots=few", "mmlu.shots takes int >= 0"),
        ("mmlu.shots=-1", "mmlu.shots takes int >= 0"),
        ("wmdp.newlines=3", "wmdp.newlines takes Literal[1, 2]"),
        ("mt_bench.max_new_tokens=0", "mt_bench.max_new_tokens takes int > 0"),
    ],
)
def test_option_of_the_wrong_type(refuse, setting, named):
    assert named in refuse("compare", "--set", setting)


def test_number_in_scientific_notation_is_a_number(cli, tmp_path):
    """PyYAML reads 1e-2 as a string; the option is a float all the same, so this gets past it to the next mistake."""
    outcome = cli("compare", "--set", "rmu.lr=1e-2", "--set", "rmu.layer=99", "--out", tmp_path / "run")
    assert "no block 99" in outcome.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no rows; a corpus or benchmark needs at least one"),
        (b"\n\n", "has no rows"),
        (b'{"text": ""}\n{"text": ""}\n', "has no text of more than 0 characters"),
        (b'{"text": "a"}\n{"body": "b"}\n', "line 2, has neither the column 'text' nor 'prompt' and 'response'; it has: body"),
        (b'{"text": "a"}\n\xff\xfe\n', "line 2, is not UTF-8 text"),
        (b'{"text": "a"}\n{"text": \n', "line 2, is not valid JSON"),
        (b'["text"]\n', "line 1, is not a JSON object"),
        (b'{"text": "a", "text": "b"}\n', "line 1, is not valid JSON: the key 'text' is there twice in one object"),
        (b'{"\\u001b[2Jtext": "a"}\n', "it has: \\x1b[2Jtext. Columns"),
        (b'{"text": ["a"]}\n', "line 1, has a list in its column 'text', where a text must stand"),
    ],
)
def test_forget_file(refuse, tmp_path, content, said):
    file = tmp_path / "forget.jsonl"
    file.write_bytes(content)
    message = refuse("compare", "--forget", f"bio={file}", "--retain", SANDBOX_RETAIN)
    assert said in message
    assert str(file) in message


@pytest.mark.parametrize("flag", ["--forget", "--retain"])
def test_missing_file_is_no_hub_id(refuse, flag):
    """`data/none.jsonl` looks like one, but for its ending."""
    sources = {"--forget": SANDBOX_FORGET, "--retain": SANDBOX_RETAIN, flag: "data/none.jsonl"}
    message = refuse("compare", *(word for pair in sources.items() for word in pair))
    assert "The source 'data/none.jsonl' does not exist: there is no file or folder data/none.jsonl" in message


def test_questions_that_count_their_answers_from_one(refuse, tmp_path):
    file = tmp_path / "own.jsonl"
    file.write_text("".join(f'{{"question": "q{n}", "choices": ["a", "b", "c"], "answer": {n}}}\n' for n in (1, 2, 1, 2, 1)))
    message = refuse("compare", "--benchmarks", "mcq", "--set", f"mcq.source={file}")
    assert f"no answer of '{file}' is 0: they seem to count from 1" in message


def test_a_forget_file_may_have_an_equals_sign_in_its_name(refuse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("lr=1.jsonl").write_text('{"text": 1}\n')
    assert "lr=1.jsonl, line 1, has the number 1" in refuse("compare", "--forget", "lr=1.jsonl", "--retain", SANDBOX_RETAIN)


def test_forget_file_is_missing(refuse, tmp_path):
    message = refuse("compare", "--forget", tmp_path / "none.jsonl", "--retain", SANDBOX_RETAIN)
    assert "does not exist" in message
    assert "none.jsonl" in message


def test_retain_for_an_unknown_topic(refuse):
    assert "there is no topic 'bip'" in refuse(
        "compare", "--forget", f"bio={SANDBOX_FORGET}", "--retain", f"bip={SANDBOX_RETAIN}"
    )


def test_topic_without_retain(refuse):
    assert "give --retain bio2=SOURCE" in refuse("compare", "--forget", f"bio2={SANDBOX_FORGET}")


def test_model_without_topics(refuse, tiny_folder):
    assert "nothing to forget; give --forget" in refuse(
        "compare", "--model", tiny_folder, "--methods", "rmu", "--set", "rmu.layer=3", *SCORED
    )


def test_model_folder_without_weights(refuse, tiny_folder, tmp_path):
    folder = tmp_path / "bare"
    shutil.copytree(tiny_folder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    assert "has no weights (*.safetensors)" in refuse(
        "evaluate", folder, "--benchmarks", "wmdp", "--set", "wmdp.source=sandbox:wmdp"
    )


def test_model_folder_with_pickles_only(refuse, tiny_folder, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(tiny_folder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save({"weight": torch.zeros(1)}, folder / "pytorch_model.bin")
    message = refuse("compare", "--checkpoint", f"mine={folder}")
    assert "only as pickles (pytorch_model.bin)" in message
    assert "convert them to safetensors" in message


def test_model_folder_that_is_none(refuse, tmp_path):
    assert "does not exist" in refuse("evaluate", tmp_path / "nowhere", *SCORED)
    (tmp_path / "empty").mkdir()
    assert "config.json is missing" in refuse("evaluate", tmp_path / "empty", *SCORED)


def test_block_that_the_model_lacks(refuse):
    message = refuse("compare", "--set", "rmu.layer=8")
    assert "'rmu' does not fit sandbox:model: There is no block 8: LlamaForCausalLM has blocks 0 to 7" in message


def test_parameter_that_the_model_lacks(refuse):
    message = refuse("compare", "--set", "rmu.parameters=dense_4h_to_h")
    assert "matches 'dense_4h_to_h'; it has: self_attn.q_proj.weight" in message


def test_data_set_config_that_does_not_exist(refuse, real_data):
    message = refuse("compare", "--set", f"wmdp.source={real_data / 'wmdp'}", "--set", "wmdp.parts=[bio, chem]")
    assert "'chem'" in message
    assert "Available: bio, cyber" in message


def test_config_of_a_source(refuse):
    message = refuse("compare", "--forget", "bio=sandbox:corpora:bio-forgot", "--retain", SANDBOX_RETAIN)
    assert "Did you mean 'bio-forget'?" in message


def test_part_that_no_benchmark_has(refuse, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "model: sandbox:model\nmethods: {rmu: {layer: 3}}\nbenchmarks: {wmdp: {source: 'sandbox:wmdp'}}\n"
        f"topics: {{bio: {{forget: '{SANDBOX_FORGET}', retain: '{SANDBOX_RETAIN}', parts: [wmdp/boi]}}}}\n"
    )
    assert "Did you mean 'wmdp/bio'?" in refuse("compare", recipe)


def test_hub_id_while_offline(refuse):
    for arguments in (("evaluate", "someone/model", *SCORED), ("compare", "--set", "wmdp.source=cais/wmdp")):
        message = refuse(*arguments)
        assert "is no local path, and the hub cannot be reached" in message
        assert "point to a local copy" in message


def test_seed_that_is_no_number(refuse):
    assert "--seeds takes whole numbers from 0 to 4294967295 separated by commas, as in 0,1; got 'x'" in refuse(
        "compare", "--seeds", "0,x"
    )
    assert "got '-1'" in refuse("compare", "--seeds", "-1")


def test_out_is_a_file(refuse, tmp_path):
    file = tmp_path / "file"
    file.write_text("kept")
    assert f"{file} is a file" in refuse("compare", out=file)
    assert "is a file" in refuse("compare", out=file / "below")
    assert file.read_text() == "kept"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_out_is_not_writable(refuse, tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    assert "no permission" in refuse("compare", out=folder / "run")


def test_out_is_not_writable_even_for_root(refuse):
    """/proc takes no folders from anybody."""
    if not Path("/proc/version").exists():
        pytest.skip("no /proc on this system")
    assert "cannot be written" in refuse("compare", "--limit", "1", "--methods", "none", out=Path("/proc/run"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu(refuse):
    assert "--device cuda: this machine has no GPU" in refuse("compare", "--device", "cuda")


def test_other_choices(refuse):
    assert "auto, cpu, cuda" in refuse("compare", "--device", "tpu")
    assert "Did you mean 'bfloat16'?" in refuse("compare", "--dtype", "bfloat")
    assert "Available: isolated, local" in refuse("compare", "--executor", "cloud")
    assert "all, best, none" in refuse("compare", "--keep-deltas", "some")
    for limit in ("0", "-1", "many", "1.5"):
        assert f"--limit takes a whole number of at least 1; got '{limit}'" in refuse("compare", "--limit", limit)
    assert "NAME=PATH" in refuse("compare", "--checkpoint", "mine")
    assert "needs --benchmarks" in refuse("evaluate", "sandbox:model")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("compare", "--method", "rmu"), "No such option: --method (Possible options: --methods, --model, --set)."),
        (("compare", "sandbox", "rmu"), "unexpected extra argument"),
        (("evaluate",), "Missing argument 'model'."),
    ],
)
def test_words_that_the_command_does_not_take(refuse, arguments, said):
    message = refuse(*arguments)
    assert said in message
    assert f"`unlearnbench {arguments[0]} --help` lists what it takes" in message


def test_unknown_command(cli):
    outcome = cli("compar")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines() == [
        "unlearnbench: No such command 'compar'. Did you mean 'compare', 'card'? `unlearnbench --help` lists what it takes."
    ]


def test_no_command_shows_the_help(cli):
    outcome = cli()
    assert (outcome.code, outcome.err) == (2, "")
    assert "compare" in outcome.out


def test_importance_that_selects_nothing(refuse):
    assert "set ssd.alpha below 2, or ssd.over=retain" in refuse("compare", "--set", "ssd.over=all", "--set", "ssd.alpha=10")


@pytest.mark.parametrize("benchmark", ["wmdp", "mmlu"])
def test_answer_that_a_question_lacks(refuse, tmp_path, benchmark):
    file = tmp_path / "data" / "wmdp-bio" / "test.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"question": "q", "choices": ["a", "b"], "answer": "second"}) + "\n")
    message = refuse(
        "compare", "--methods", "none", "--benchmarks", benchmark, "--set", f"{benchmark}.source={tmp_path / 'data'}"
    )
    assert f"{file}, line 1, needs as answer an index from 0 to 1 or a letter from A to B; got 'second'" in message


def test_two_rows_of_one_name(refuse):
    assert "Two rows are called 'rmu'" in refuse("compare", "--methods", "rmu", "--checkpoint", "rmu=sandbox:model")


@pytest.mark.parametrize("name", ["../x", "a b", ".hidden", "a/b"])
def test_names_cannot_leave_the_folder(refuse, name):
    assert "must start with a letter or digit" in refuse("compare", "--checkpoint", f"{name}=sandbox:model")


def test_recipe_with_an_unknown_key(refuse, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("model: sandbox:model\nseed: [0]\n")
    assert "line 2: unknown key 'seed'. Did you mean 'seeds'?" in refuse("compare", recipe)
    recipe.write_text("model: sandbox:model\ntopics:\n  bio:\n    forgot: x\n    forget: y\n")
    assert "line 4: unknown key 'topics.bio.forgot'. Did you mean 'forget'?" in refuse("compare", recipe)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "methods:\n  rmu: {layer: 2}\n  rmu: {layer: 3}\n",
            "lines 3 and 4: the key 'methods.rmu' stands more than once; keep one",
        ),
        ("seeds: [true]\n", "line 2: 'seeds.0': a truth value is no number, got True"),
        ("trainer: {gradient_clip_val: .inf}\n", "line 2: 'trainer.gradient_clip_val': a number must be finite, got inf"),
        ("limit: !!int x\n", "is not valid YAML: invalid literal"),
        ("limit: !!bool x\n", "is not valid YAML: 'x'"),
        ("limit: " + "[" * 3000 + "\n", "is not valid YAML: it is nested too deeply"),
        ('name: "\\ud83d"\n', "line 2: '\\ud83d' has half a character"),
    ],
)
def test_recipe_that_yaml_takes_and_nobody_means(refuse, tmp_path, content, said):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"model: sandbox:model\n{content}")
    assert said in refuse("compare", recipe)


def test_recipe_with_a_wrong_value(refuse, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("model: sandbox:model\nlimit: many\n")
    assert "line 2: 'limit'" in refuse("compare", recipe)
    for content, said in (
        ("methods: {rmu: 5}\n", "line 2: 'methods.rmu': input should be a mapping, got 5"),
        ("benchmarks: wmdp\n", "line 2: 'benchmarks': input should be a mapping, got 'wmdp'"),
        ("topics: {bio: sandbox}\n", "line 2: 'topics.bio': input should be a mapping, got 'sandbox'"),
        ("seeds: [0, a]\n", "line 2: 'seeds.1': input should be a valid integer"),
        ("seeds: [-1]\n", "line 2: 'seeds.0': input should be greater than or equal to 0, got -1"),
    ):
        recipe.write_text(f"model: sandbox:model\n{content}")
        assert said in refuse("compare", recipe)
    recipe.write_text("methods: {rmu: {}}\n")
    assert "the key 'model' is missing" in refuse("compare", recipe)
    recipe.write_bytes(b"model: \xff\n")
    assert "it is not UTF-8 text" in refuse("compare", recipe)
    recipe.write_text("model: [sandbox\n")
    assert "is not valid YAML" in refuse("compare", recipe)
    recipe.write_text("just words")
    assert "must be a mapping" in refuse("compare", recipe)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "q", "choices": ["a"], "answer": 0}, "needs a list of 2 to 26 choices"),
        ({"question": "q", "choices": ["a", "b"], "answer": 2}, "an index from 0 to 1 or a letter from A to B; got 2"),
        ({"question": "q", "choices": ["a", "b"]}, "has no column 'answer'; it has: question, choices"),
    ],
)
def test_questions_of_ones_own(refuse, tmp_path, row, said):
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps(row) + "\n")
    assert said in refuse("evaluate", "sandbox:model", "--benchmarks", "mcq", "--set", f"mcq.source={file}")


def test_leaderboard_of_no_run(cli, tmp_path):
    outcome = cli("leaderboard", tmp_path / "nowhere")
    assert outcome.code == 2
    assert "There is no folder" in outcome.err
    outcome = cli("leaderboard", tmp_path)
    assert outcome.code == 2
    assert "is not the folder of a comparison" in outcome.err
    assert "Did you mean 'markdown'?" in cli("leaderboard", tmp_path, "--format", "markdwn").err


def test_no_room_for_the_deltas(cli, tmp_path, monkeypatch):
    """Known before anything is computed; with --keep-deltas none only one of them needs room."""
    monkeypatch.setattr("unlearnbench.runs.folder.RunFolder.free_bytes", lambda self: 700_000)
    rmu = ("compare", "--methods", "rmu", "--benchmarks", "wmdp", "--limit", "1", "--seeds", "0,1", "--set", "rmu.steps=1")
    refused = cli(*rmu, "--out", tmp_path / "run")
    assert refused.code == 2
    assert "take up to 1.2 MB" in refused.err
    assert "has room for 0.7 MB" in refused.err
    assert "--keep-deltas none" in refused.err
    assert not (tmp_path / "run").exists()
    done = cli(*rmu, "--out", tmp_path / "run", "--keep-deltas", "none")  # three matrices of 384 x 128 in float32 take 590 kB
    assert done.code == 0, done.err
    assert not list((tmp_path / "run").rglob("delta.safetensors"))


def test_limits_of_jobs(refuse):
    assert "Did you mean 'isolated'?" in refuse("compare", "--executor", "isolate")
    assert "add --executor isolated" in refuse("compare", "--job-timeout", "5")
    assert "--job-timeout takes a number of seconds above 0; got -1" in refuse(
        "compare", "--executor", "isolated", "--job-timeout", "-1"
    )
    message = refuse("compare", "--executor", "isolated", "--job-memory", "plenty")
    assert "--job-memory takes a size above 0 with its unit, as in 8GB or 512MiB; got 'plenty'" in message


def test_everything_on_the_command_line_is_said_at_once(cli, tmp_path):
    """What cannot be read, and what the preflight finds in the rest, in one numbered list."""
    flags = ("--methods", "rmo", "--benchmarks", ",", "--seeds", "x", "--limit", "0", "--dtype", "bfloat", "--device", "tpu")
    rows = ("--checkpoint", "mine", "--checkpoint", "../x=sandbox:model", "--control", "noise", "--retain", "bip=x.jsonl")
    others = ("--keep-deltas", "some", "--job-timeout", "-1", "--job-memory", "plenty", "--damage-margin", "2")
    more = ("--min-coverage", "7", "--keep-at-least", "9", "--set", "rmu.lr", "--executor", "cloud")
    outcome = cli("compare", *flags, *rows, *others, *more, "--out", tmp_path / "run")
    assert outcome.code == 2
    first, *listed = outcome.err.splitlines()
    said = [
        "Unknown method 'rmo'. Did you mean 'rmu'?",
        "--benchmarks takes a list separated by commas; got ','",
        "--seeds takes whole numbers",
        "--limit takes a whole number",
        "Unknown value of --dtype 'bfloat'",
        "Unknown value of --device 'tpu'",
        "--checkpoint takes NAME=PATH; got 'mine'",
        "The name '../x' must start with a letter or digit",
        "--control takes NAME=ROW; got 'noise'",
        "--retain bip=x.jsonl: there is no topic 'bip'",
        "Unknown value of --keep-deltas 'some'",
        "--job-timeout takes a number of seconds above 0",
        "--job-memory takes a size above 0",
        "--damage-margin takes a share",
        "--min-coverage takes a share",
        "--keep-at-least takes a share",
        "--keep-at-least and --probe-every are for trials",
        "--set takes NAME.option=value",
        "Unknown executor 'cloud'",
    ]
    missing = [words for words in said if not any(words in line for line in listed)]
    assert not missing, outcome.err
    assert first == f"unlearnbench: {len(listed)} things are in the way; nothing was computed."
    assert len(listed) == len(said), outcome.err
    assert not (tmp_path / "run").exists()


def test_mistakes_of_evaluate_and_tune_are_said_at_once(cli, tmp_path):
    out = tmp_path / "run"
    outcome = cli("evaluate", "sandbox:model", "--benchmarks", "wmpd", "--limit", "x", "--dtype", "y", "--out", out)
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 4)
    outcome = cli("tune", "rmu", "--limit", "x", "--job-timeout", "0", "--keep-at-least", "2", "--out", out)
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 5)
    assert "tune needs a budget" in outcome.err


def test_ranking_by_what_is_not_there_is_known_before_anything_runs(cli, tmp_path):
    for more in ((), ("--dry-run",)):
        outcome = cli("compare", "--methods", "rmu", "--rank-by", "wmpd", "--out", tmp_path / "run", *more)
        assert (outcome.code, outcome.out) == (2, "")
        assert "wmpd" in outcome.err
        assert not (tmp_path / "run").exists()
