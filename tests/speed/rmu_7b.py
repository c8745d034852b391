"""RMU at Zephyr-7B's shape with random weights in bfloat16: what one update needs when only blocks 0 to 7 are loaded.

python rmu_7b.py FOLDER

The model is written to FOLDER first, by another process. Blocks above 7 are files with holes: reading them would show as
resident memory, and keeping them costs no disk.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from figures import HERE, peak_bytes

BLOCKS, KEPT, LAYER = 32, 8, 7
SHAPE = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
    "max_position_embeddings": 32768,
    "sliding_window": 4096,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "bos_token_id": 1,
    "eos_token_id": 2,
}
BLOCK = {
    "self_attn.q_proj.weight": (4096, 4096),
    "self_attn.k_proj.weight": (1024, 4096),
    "self_attn.v_proj.weight": (1024, 4096),
    "self_attn.o_proj.weight": (4096, 4096),
    "mlp.gate_proj.weight": (14336, 4096),
    "mlp.up_proj.weight": (14336, 4096),
    "mlp.down_proj.weight": (4096, 14336),
    "input_layernorm.weight": (4096,),
    "post_attention_layernorm.weight": (4096,),
}
OUTER = {"model.embed_tokens.weight": (32000, 4096), "model.norm.weight": (4096,), "lm_head.weight": (32000, 4096)}


def write_model(folder: Path) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(SHAPE))
    torch.manual_seed(0)

    def drawn(shape: tuple[int, ...]) -> torch.Tensor:
        return torch.ones(shape, dtype=torch.bfloat16) if len(shape) == 1 else (torch.randn(shape) * 0.02).bfloat16()

    index: dict[str, str] = {}
    for number in range(BLOCKS + 1):
        names = OUTER if number == BLOCKS else {f"model.layers.{number}.{name}": shape for name, shape in BLOCK.items()}
        file = f"model-{number:05}.safetensors"
        if number < KEPT or number == BLOCKS:
            save_file({name: drawn(shape) for name, shape in names.items()}, folder / file)
        else:
            _write_holes(folder / file, names)
        index |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def _write_holes(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file whose tensors are zeros that take no disk."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        end = offset + 2 * int(torch.tensor(shape).prod())
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)


def naive_bytes() -> int:
    """Two models, gradients of everything up to the target block, and the optimizer's moments; bfloat16 throughout."""
    count = {name: int(torch.tensor(shape).prod()) for name, shape in {**BLOCK, **OUTER}.items()}
    block = sum(count[name] for name in BLOCK)
    model = BLOCKS * block + sum(count[name] for name in OUTER)
    gradients = count["model.embed_tokens.weight"] + (LAYER + 1) * block
    return 2 * (2 * model + gradients + 2 * 3 * count["mlp.down_proj.weight"])


def main(folder: Path) -> None:
    if not folder.exists():
        writer = "import pathlib, sys, rmu_7b; rmu_7b.write_model(pathlib.Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", writer, str(folder.absolute())], check=True, cwd=HERE)
    from rmu_update import schedules, trained

    from unlearnbench.models.blocks import decoder_blocks
    from unlearnbench.models.restorable import LoadedModel
    from unlearnbench_methods.rmu import RMU

    updates = 1
    loaded = LoadedModel(str(folder), "bfloat16", torch.device("cpu"))
    method = loaded.build(lambda model: RMU(model, layer=LAYER, coefficient=6.5, alpha=1200.0, diagnostics=0))
    started = time.perf_counter()
    losses = trained(method, *schedules(1, updates, SHAPE["vocab_size"]))[1]
    delta = loaded.delta()
    assert set(delta) == {f"model.layers.{block}.mlp.down_proj.weight" for block in (5, 6, 7)}
    said = {
        "blocks": f"0 to {len(decoder_blocks(loaded.model)[1]) - 1}",
        "updates": updates,
        "seconds": time.perf_counter() - started,
        "loss": losses[-1],
        "naive_bytes": naive_bytes(),
        "peak_bytes": peak_bytes(),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
