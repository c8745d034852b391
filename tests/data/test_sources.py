from __future__ import annotations

import json
from pathlib import Path

import pytest

from unlearnbench.data.sources import parse_source, public_name
from unlearnbench.data.tables import list_configs, read_corpus, read_table
from unlearnbench.errors import UsageError


def jsonl(path: Path, *rows: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("cais/wmdp", ("cais/wmdp", None, None, None)),
        ("cais/wmdp:wmdp-bio#test", ("cais/wmdp", None, "wmdp-bio", "test")),
        ("cais/wmdp@abc123:wmdp-bio", ("cais/wmdp", "abc123", "wmdp-bio", None)),
        ("wikitext#validation", ("wikitext", None, None, "validation")),
        ("./some/folder:config", ("./some/folder", None, "config", None)),
    ],
)
def test_parts_of_a_source(text, parts):
    source = parse_source(text)
    assert (source.location, source.revision, source.config, source.split) == parts


def test_path_with_a_colon_is_a_path(tmp_path):
    file = jsonl(tmp_path / "a:b.jsonl", {"text": "x"})
    assert parse_source(str(file)).location == str(file)


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet", "csv", "txt"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, ending):
    import pyarrow
    import pyarrow.parquet

    rows = [{"text": "first, with a comma"}, {"text": "größer"}]
    file = tmp_path / f"corpus.{ending}"
    if ending == "jsonl":
        jsonl(file, *rows)
    elif ending == "json":
        file.write_text(json.dumps(rows))
    elif ending == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    elif ending == "csv":
        file.write_text('text\n"first, with a comma"\ngrößer\n', encoding="utf-8")
    else:
        file.write_text("\n".join(row["text"] for row in rows), encoding="utf-8")
    table = read_corpus(str(file))
    assert table.rows == rows
    assert table.digest == read_corpus(str(jsonl(tmp_path / "other.jsonl", *rows))).digest


def test_changed_content_of_the_same_size_is_seen(tmp_path):
    """A cache by size and time would miss this."""
    import os

    file = jsonl(tmp_path / "corpus.jsonl", {"text": "aaaa"})
    stamp = file.stat()
    first = read_corpus(str(file)).digest
    jsonl(file, {"text": "bbbb"})
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert read_corpus(str(file)).digest != first


def test_folder_laid_out_by_file_names(tmp_path):
    jsonl(tmp_path / "virology" / "test-00000-of-00001.jsonl", {"q": 1})
    jsonl(tmp_path / "virology" / "dev-00000-of-00001.jsonl", {"q": 2})
    jsonl(tmp_path / "anatomy" / "test.jsonl", {"q": 3})
    assert list_configs(str(tmp_path)) == ["anatomy", "virology"]
    assert read_table(f"{tmp_path}:virology", default_split="dev").rows == [{"q": 2}]
    assert read_table(f"{tmp_path}:virology#test").rows == [{"q": 1}]
    with pytest.raises(UsageError, match="Did you mean 'virology'"):
        read_table(f"{tmp_path}:virologi")
    with pytest.raises(UsageError, match=r"Unknown split .* 'validation'.*Available: test"):
        read_table(f"{tmp_path}:anatomy#validation")
    with pytest.raises(UsageError, match="has several configs; name one"):
        read_table(str(tmp_path))


def test_readme_cannot_point_out_of_the_folder(tmp_path):
    jsonl(tmp_path / "secret.jsonl", {"text": "no"})
    folder = tmp_path / "data"
    jsonl(folder / "own.jsonl", {"text": "yes"})
    head = "---\nconfigs:\n- config_name: a\n  data_files: ../secret.jsonl\n- config_name: b\n  data_files: own.jsonl\n---\n"
    (folder / "README.md").write_text(head)
    assert read_table(f"{folder}:b").rows == [{"text": "yes"}]
    with pytest.raises(UsageError, match=r"has no rows"):
        read_table(f"{folder}:a")


def test_reads_what_datasets_reads(real_data):
    """The same rows as the library that reads the hub's copy, config by config."""
    import datasets

    for folder, config, split in (("wmdp", "wmdp-bio", "test"), ("mmlu", "virology", "dev"), ("tofu", "forget10", "train")):
        ours = read_table(f"{real_data / folder}:{config}", default_split=split)
        theirs = datasets.load_dataset(str(real_data / folder), config, split=split)
        assert ours.rows == list(theirs)


def test_configs_of_a_real_folder(real_data):
    assert list_configs(str(real_data / "wmdp")) == ["wmdp-bio", "wmdp-cyber"]
    assert len(list_configs(str(real_data / "mmlu"))) == 21


def test_hub_ids_go_through_datasets(real_data):
    """The hub's own path, on a local copy in the hub's schema: `datasets` loads it, the rows are those we read."""
    from unlearnbench.data import tables as sources

    source = sources.Source("cais/wmdp", str(real_data / "wmdp"), config="wmdp-cyber", split="test")
    table = sources._read_hub(source)
    assert table.rows == read_table(f"{real_data / 'wmdp'}:wmdp-cyber", default_split="test").rows
    assert table.where(0) == "cais/wmdp, row 1,"
    assert sources._hub_configs(source) == ["wmdp-bio", "wmdp-cyber"]
    with pytest.raises(UsageError, match="wmdp-chem"):
        sources._read_hub(sources.Source("cais/wmdp", str(real_data / "wmdp"), config="wmdp-chem", split="test"))


def test_a_source_may_be_published_without_the_path_to_it(tmp_path, monkeypatch):
    (tmp_path / "texts.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "set" / "bio").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    names = {
        f"{tmp_path}/texts.jsonl": "texts.jsonl",
        f"{tmp_path}/set:bio#test": "set:bio#test",
        "./texts.jsonl": "texts.jsonl",
        "~/not-there/texts.jsonl": "texts.jsonl",
        "cais/wmdp-corpora:bio#train": "cais/wmdp-corpora:bio#train",
        "cais/wmdp@abc123": "cais/wmdp@abc123",
        "sandbox:corpora:retain": "sandbox:corpora:retain",
        "sandbox:model": "sandbox:model",
    }
    assert {source: public_name(source) for source in names} == names
