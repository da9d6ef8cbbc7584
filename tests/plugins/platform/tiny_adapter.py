"""A LoRA adapter of the tiny model with random weights, as llama.cpp reads it.

python tiny_adapter.py OUT.gguf SEED
"""

import sys
from pathlib import Path

import gguf
import numpy as np
from tiny_model import HIDDEN, LAYERS

RANK = 4


def main(out: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, 2.0 * RANK)
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_output"):
            for half, shape in (("a", (RANK, HIDDEN)), ("b", (HIDDEN, RANK))):
                weight = rng.normal(0, 0.3, shape).astype(np.float32)
                writer.add_tensor(f"blk.{layer}.{name}.weight.lora_{half}", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
