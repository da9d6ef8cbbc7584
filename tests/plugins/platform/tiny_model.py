"""A Llama of two layers with random weights, as a GGUF: small enough to be trained in a test, no hub needed.

python tiny_model.py OUT.gguf
"""

import sys
from pathlib import Path

import gguf
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

LAYERS, HIDDEN, INNER, HEADS, KV_HEADS, CONTEXT = 2, 128, 256, 4, 2, 512
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXTS = [
    "def is_even(n):\n    return n % 2 == 0\n",
    "def area(width, height):\n    return width * height\n",
    "Say hello to the user and count to ten: 1 2 3 4 5 6 7 8 9 10.",
] * 20
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def main(out: Path) -> None:
    tokens, merges = vocabulary()
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([control if token in SPECIAL else normal for token in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    for name, weight in weights(len(tokens)):
        writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def vocabulary():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet)
    )
    ids = tokenizer.get_vocab()
    import json

    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return sorted(ids, key=ids.get), [" ".join(merge) for merge in merges]


def weights(vocabulary_size):
    rng = np.random.default_rng(0)

    def random(*shape, scale=0.02):
        return rng.normal(0, scale, shape).astype(np.float32)

    ones = np.ones(HIDDEN, np.float32)
    kv = HIDDEN // HEADS * KV_HEADS
    yield "token_embd.weight", random(vocabulary_size, HIDDEN)
    for layer in range(LAYERS):
        at = f"blk.{layer}"
        yield f"{at}.attn_norm.weight", ones
        yield f"{at}.attn_q.weight", random(HIDDEN, HIDDEN)
        yield f"{at}.attn_k.weight", random(kv, HIDDEN)
        yield f"{at}.attn_v.weight", random(kv, HIDDEN)
        yield f"{at}.attn_output.weight", random(HIDDEN, HIDDEN)
        yield f"{at}.ffn_norm.weight", ones
        yield f"{at}.ffn_gate.weight", random(INNER, HIDDEN)
        yield f"{at}.ffn_up.weight", random(INNER, HIDDEN)
        yield f"{at}.ffn_down.weight", random(HIDDEN, INNER)
    yield "output_norm.weight", ones
    # Adapters cannot change it: it has to be able to tell tokens apart.
    yield "output.weight", random(vocabulary_size, HIDDEN, scale=0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
