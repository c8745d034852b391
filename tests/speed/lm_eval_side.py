"""The rival of the evaluation figures: lm-eval on the same questions, model and dtype, as one process.

python tests/speed/lm_eval_side.py MODEL DATA OUT --subjects a,b --shots 0 --dtype float32 [--cloze] [--limit N] [--batch N]

Writes to OUT each item's log-probability of each option: {"SUBJECT/INDEX": [nats, ...]}, and prints its peak memory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import yaml
from figures import peak_bytes

HEADER = "The following are multiple choice questions (with answers) about {title}.\n\n"
LETTERED = "{{question.strip()}}\n" + "".join(f"{a}. {{{{choices[{i}]}}}}\n" for i, a in enumerate("ABCD")) + "Answer:"
CLOZE = "Question: {{question.strip()}}\nAnswer:"


def task(name: str, files: dict[str, str], title: str, shots: int, cloze: bool) -> dict[str, Any]:
    """A task of lm-eval's `mmlu`, or of its `mmlu_continuation`, on local files."""
    kind = "parquet" if files["test"].endswith(".parquet") else "json"
    return {
        "task": name,
        "dataset_path": kind,
        "dataset_kwargs": {"data_files": files},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": CLOZE if cloze else LETTERED,
        "doc_to_choice": "{{choices}}" if cloze else list("ABCD"),
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc"}],
        **({} if cloze else {"description": HEADER.format(title=title)}),
        **({"fewshot_split": "dev", "fewshot_config": {"sampler": "first_n"}} if shots else {}),
    }


def main() -> None:
    """Evaluate and write the log-probabilities."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("data", type=Path, help="folder with one folder per subject: test*, dev*")
    parser.add_argument("out", type=Path)
    parser.add_argument("--subjects", required=True)
    parser.add_argument("--titles", default="")
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--cloze", action="store_true")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--batch", type=int, default=16)
    given = parser.parse_args()
    subjects = given.subjects.split(",")
    titles = given.titles.split(",") if given.titles else [subject.replace("_", " ") for subject in subjects]

    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    with tempfile.TemporaryDirectory() as folder:
        names = {f"unlearnbench_{subject}".replace("-", "_"): subject for subject in subjects}
        for (name, subject), title in zip(names.items(), titles, strict=True):
            files = {file.name.split(".")[0].split("-")[0]: str(file) for file in sorted((given.data / subject).iterdir())}
            content = yaml.safe_dump(task(name, files, title, given.shots, given.cloze))
            (Path(folder) / f"{name}.yaml").write_text(content)
        result = simple_evaluate(
            model="hf",
            model_args={"pretrained": given.model, "dtype": given.dtype},
            tasks=list(names),
            num_fewshot=given.shots,
            batch_size=given.batch,
            device="cpu",
            limit=given.limit,
            log_samples=True,
            bootstrap_iters=0,
            task_manager=TaskManager(include_path=folder),
        )
    scores = {
        f"{names[name]}/{sample['doc_id']}": [float(response[0]) for response in sample["filtered_resps"]]
        for name, samples in result["samples"].items()
        for sample in samples
    }
    given.out.write_text(json.dumps(scores))
    print(json.dumps({"items": len(scores), "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
