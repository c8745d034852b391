"""TOFU and MUSE with a handful of hand-made items."""

from __future__ import annotations

import json

NAMES = ["Ada Moss", "Bo Reed", "Cy Fenn", "Di Marsh"]


def tofu_rows(kind: str, wrong: int, paraphrased: bool):
    """Four questions on authors."""
    for number, name in enumerate(NAMES):
        row = {"question": f"Who wrote {kind} {number}?", "answer": f"{name} wrote it."}
        row |= {"perturbed_answer": [f"{other} wrote it." for other in NAMES if other != name][:wrong]} if wrong else {}
        yield row | (
            {"paraphrased_answer": f"It is by {name}.", "paraphrased_question": f"Whose is {kind} {number}?"}
            if paraphrased
            else {}
        )


def write_configs(folder, **configs) -> str:
    """A data set of one file for each config."""
    for name, content in configs.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(row) + "\n" for row in content)
        (folder / name / "train.jsonl").write_text("".join(lines))
    return str(folder)


def write_tofu(folder) -> str:
    """TOFU's configs, with the forget set `mine`, and `others`, which nobody was taught."""
    return write_configs(
        folder,
        mine_perturbed=tofu_rows("forget", 3, True),
        retain_perturbed=tofu_rows("retain", 3, True),
        real_authors_perturbed=tofu_rows("author", 2, False),
        world_facts_perturbed=tofu_rows("fact", 2, False),
        others=tofu_rows("held", 0, False),
    )


MUSE_FILES = {
    "knowmem/forget_qa": [{"question": f"Who rang bell {n}?", "answer": f"The boy {n}"} for n in range(3)],
    "knowmem/retain2_qa": [{"question": f"Who saw ship {n}?", "answer": f"A maid {n}"} for n in range(3)],
    "knowmem/forget_qa_icl": [{"question": "Who ran?", "answer": "Tom"}],
    "knowmem/retain2_qa_icl": [{"question": "Who sat?", "answer": "Ann"}],
    "verbmem/forget": [{"prompt": f"The bell {n}", "gt": f"was rung by the boy of house {n}."} for n in range(3)],
    "privleak/forget": [{"text": f"The bell {n} was rung by the boy."} for n in range(4)],
    "privleak/holdout": [{"text": f"A dog {n} slept below the tree."} for n in range(3)],
}


def write_muse(folder, files=MUSE_FILES) -> str:
    """MUSE as a folder of files."""
    for name, rows in files.items():
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)
