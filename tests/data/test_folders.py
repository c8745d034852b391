"""Folders as people have them: which files count, and what is said of the others."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from unlearnbench.data.sources import parse_source
from unlearnbench.data.tables import list_configs, read_corpus, read_table
from unlearnbench.errors import UsageError


def put(file: Path, *texts: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return file


def texts(source: object) -> list[str]:
    return [row["text"] for row in read_corpus(str(source)).rows]


def readme(folder: Path, head: str) -> None:
    (folder / "README.md").write_text(f"---\n{head}---\nText.\n---\n")


def test_a_path_may_have_all_that_a_source_means_something_by(tmp_path, monkeypatch):
    file = put(tmp_path / "run#1" / "a:b@c#d" / "train.jsonl", "one")
    put(file.parent.parent / "set" / "bio" / "test.jsonl", "two")
    assert texts(file) == texts(file.parent) == texts(f"{file.parent}#train") == ["one"]
    assert texts(f"{tmp_path}/run#1/set:bio#test") == texts(f"{tmp_path}/run#1/set:bio") == ["two"]
    put(tmp_path / "run#1" / "flat" / "x.jsonl", "three")
    monkeypatch.chdir(tmp_path)
    assert texts("run#1:flat") == texts("run#1:flat#train") == ["three"]
    for missing in ("run#1/none.jsonl", "run#2/none.jsonl", "dir@x/none.jsonl", "dir:x/none.jsonl"):
        with pytest.raises(UsageError, match=f"'{missing}' does not exist: there is no file or folder {missing}"):
            read_table(missing)
    assert parse_source("run:a#b").location == "run"


def test_paths_that_the_system_does_not_take(tmp_path):
    with pytest.raises(UsageError, match=r"cannot be read: File name too long"):
        read_table(f"/{'x' * 5000}.jsonl")
    with pytest.raises(UsageError, match=r"there is no file or folder"):
        read_table(f"~nobody-of-that-name/{tmp_path.name}.jsonl")


def test_a_readme_may_name_a_folder_for_a_config(tmp_path):
    put(tmp_path / "en" / "x.jsonl", "one")
    put(tmp_path / "de" / "train-0.jsonl", "zwei")
    put(tmp_path / "de" / "files" / "b.jsonl", "drei")
    readme(
        tmp_path,
        "configs:\n- config_name: en\n  data_dir: en\n- config_name: de\n  data_dir: de\n- data_files: en/*.jsonl\n"
        "- config_name: 3\n  data_dir: de/files\n  data_files: {train: '*.jsonl'}\n- config_name: out\n  data_dir: ..\n",
    )
    assert list_configs(str(tmp_path)) == ["en", "de", "default", "3", "out"]
    assert [texts(f"{tmp_path}:{name}") for name in ("en", "de", "3")] == [["one"], ["zwei"], ["drei"]]
    assert texts(tmp_path) == ["one"]
    with pytest.raises(UsageError, match="Unknown split"):
        read_table(f"{tmp_path}:out")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (
            "license: mit\ntitle: a: b\n",
            r"README\.md, line 3, is not valid YAML: mapping values are not allowed here; correct it, or",
        ),
        ("date: 2024-13-45\n", r"README\.md is not valid YAML: month must be in 1\.\.12"),
        (
            "configs: many\n",
            r"README\.md declares configs in a way that is not understood: configs: .* list; correct it, or name",
        ),
        ("configs:\n- config_name: a\n  data_files:\n  - split: train\n", r"not understood: configs\.0\.data_files"),
        ("- a\n- b\n", r"README\.md declares configs in a way that is not understood"),
    ],
)
def test_a_readme_that_cannot_be_understood(tmp_path, head, said):
    file = put(tmp_path / "x.jsonl", "one")
    readme(tmp_path, head)
    with pytest.raises(UsageError, match=said):
        read_table(str(tmp_path))
    assert texts(file) == ["one"]


def test_lines_in_a_readme_are_no_head(tmp_path):
    put(tmp_path / "x.jsonl", "one")
    (tmp_path / "README.md").write_text("# Title: a: b\n---\nnot: yaml: at all\n---\n")
    assert texts(tmp_path) == ["one"]


def test_what_datasets_saves_is_read_as_it_reads_it(tmp_path):
    import datasets

    one = datasets.Dataset.from_list([{"text": f"text {n}"} for n in range(5)])
    two = datasets.Dataset.from_list([{"text": "other"}], split="test")
    one.save_to_disk(str(tmp_path / "one"), num_shards=2)
    two.save_to_disk(str(tmp_path / "two"))
    datasets.DatasetDict(train=one, test=two).save_to_disk(str(tmp_path / "both"))
    for saved, split in (("one", "train"), ("two", "test"), ("both", "train"), ("both", "test")):
        theirs = datasets.load_from_disk(str(tmp_path / saved))
        table = read_table(f"{tmp_path / saved}#{split}")
        assert table.rows == list(theirs[split] if saved == "both" else theirs)
    assert read_table(str(tmp_path / "one")).where(4).endswith("data-00001-of-00002.arrow, row 2,")
    (tmp_path / "one" / "state.json").write_text("{}")
    with pytest.raises(UsageError, match="is not as `save_to_disk` of datasets writes one"):
        read_table(str(tmp_path / "one"))


def test_what_datasets_keeps_in_its_cache(tmp_path):
    import datasets

    put(tmp_path / "set" / "train.jsonl", "one")
    put(tmp_path / "set" / "test.jsonl", "two")
    loaded = datasets.load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    folder = Path(loaded["train"].cache_files[0]["filename"]).parent
    assert (texts(folder), texts(f"{folder}#test")) == (["one"], ["two"])


def test_what_lies_beside_the_data(tmp_path):
    """Descriptions, hidden files and folders; names that end with their split."""
    put(tmp_path / "bio_train.jsonl", "one")
    put(tmp_path / "bio_test.jsonl", "two")
    for name in ("dataset_infos.json", "._bio_train.jsonl", ".ipynb_checkpoints/bio-checkpoint.jsonl"):
        put(tmp_path / name, "no")
    assert list_configs(str(tmp_path)) == ["default"]
    assert (texts(tmp_path), texts(f"{tmp_path}#test")) == (["one"], ["two"])
    put(tmp_path / "more.jsonl", "three")  # says nothing of splits, so that the names tell nothing
    assert texts(tmp_path) == ["two", "one", "three"]


def test_files_that_may_not_be_overlooked(tmp_path):
    put(tmp_path / "a.jsonl", "one")
    (tmp_path / "LICENSE.txt").write_text("You may not.\n")
    with pytest.raises(UsageError, match=r"holds data files of several kinds \(LICENSE\.txt, a\.jsonl\); name one file"):
        read_table(str(tmp_path))
    (tmp_path / "LICENSE.txt").unlink()
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "nowhere.jsonl")
    with pytest.raises(UsageError, match=r"b\.jsonl cannot be read: No such file"):
        read_table(str(tmp_path))
    (tmp_path / "b.jsonl").unlink()
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "a.jsonl")
    assert texts(tmp_path) == ["one", "one"]
    (tmp_path / "b.jsonl").rename(tmp_path / "b.jsonl.gz")
    with pytest.raises(UsageError, match=r"of several kinds"):
        read_table(str(tmp_path))


def test_folders_without_data(tmp_path):
    with pytest.raises(UsageError, match=rf"The folder {tmp_path} holds no data files \(\.jsonl, [^)]*\)\.$"):
        read_table(str(tmp_path))
    put(tmp_path / "a" / "b" / "c" / "x.jsonl", "one")
    with pytest.raises(UsageError, match=rf"holds no data files .*; there are some in {tmp_path}/a/b/c\."):
        list_configs(str(tmp_path))
    with pytest.raises(UsageError, match=r"The folder /dev/null cannot be read: Not a directory"):
        read_table("/dev/null")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_without_permission(tmp_path):
    file = put(tmp_path / "a" / "x.jsonl", "one")
    file.chmod(0)
    with pytest.raises(UsageError, match=r"x\.jsonl cannot be read: Permission denied"):
        read_table(str(file))
    file.parent.chmod(0)
    try:
        for source in (file, file.parent):
            with pytest.raises(UsageError, match=r"cannot be read: Permission denied"):
                read_table(str(source))
    finally:
        file.parent.chmod(0o755)
