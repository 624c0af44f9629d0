"""Builds a tiny chat model: random weights, one token for each byte, a chat template.

    python tests/real_upstream/make_tiny_model.py DIR

writes a model cache to DIR (about 1 MB) in which the model is called ``spool/tiny``. Its answers are nonsense
and, decoded greedily, always the same nonsense. It never stops by itself, so ask with ``max_tokens``. Where the
last message of a chat is the assistant's, its chat template leaves that message open, and the model goes on from it.
Nothing is downloaded. Needs what requirements.txt beside this file lists.
"""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "spool/tiny"
REVISION = "1" * 40  # another one for another model: a cache may hold the one before
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% if not (loop.last and message['role'] == 'assistant') %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}<|assistant|>{% endif %}"
)
SPECIAL = ["<unk>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"]
SPOKEN = [*map(chr, range(33, 127)), "Ġ", "Ċ"]
"""What answers are made of: ASCII, a space and a newline as the tokenizer writes them."""


def build(cache: Path) -> Path:
    """Write the model into the model cache at ``cache``, unless it is there; the directory that holds it."""
    repo = cache / ("models--" + NAME.replace("/", "--"))
    snapshot = repo / "snapshots" / REVISION
    main = repo / "refs" / "main"
    if not main.exists() or main.read_text() != REVISION:
        tokenizer = _tokenizer()
        tokenizer.save_pretrained(snapshot)
        _model(tokenizer.get_vocab()).save_pretrained(snapshot)
        main.parent.mkdir(parents=True, exist_ok=True)
        main.write_text(REVISION)  # last: a build that was cut off is not taken for a whole one
    return snapshot


def _tokenizer():  # type: ignore[no-untyped-def]
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # Without merges: an answer is the same tokens when it is read as when it was written, wherever it was cut.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<|end|>", pad_token="<|end|>"
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _model(vocabulary: dict[str, int]):  # type: ignore[no-untyped-def]
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        initializer_range=0.4,  # the usual 0.02 is so even that greedy answers repeat one token
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=1,
    )
    model = LlamaForCausalLM(config).eval()
    silent = [number for token, number in vocabulary.items() if token not in SPOKEN]
    with (
        torch.no_grad()
    ):  # a logit of 0 is never the highest of so many: no answer ends early, or holds half a character
        model.lm_head.weight[silent] = 0
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build the tiny model.")
    parser.add_argument("directory", type=Path)
    print(build(parser.parse_args().directory))
