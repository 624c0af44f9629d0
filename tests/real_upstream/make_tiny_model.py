"""Builds a tiny chat model: random weights, a tokenizer trained on the text below, a chat template.

    python tests/real_upstream/make_tiny_model.py DIR

writes a model cache to DIR (about 1 MB) in which the model is called ``spool/tiny``. Its answers are nonsense
and, decoded greedily, always the same nonsense. It never stops by itself, so ask with ``max_tokens``.
Nothing is downloaded. Needs what requirements.txt beside this file lists.
"""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "spool/tiny"
REVISION = "0" * 40
TEXT = """
Output is spooled and read at the pace of the reader. A client sends a prompt and gets the number of a job.
A worker takes the job, asks the model, and writes every piece of the answer to the end of the log. Readers
follow the log from wherever they are, as often as they like. A reader that was cut off comes back with the
number of the last piece that it saw and gets the next one. Nothing comes twice and nothing is missing.
The quick brown fox jumps over the lazy dog, 0123456789 times; why not? "Because," said the dog, "it can."
"""
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<unk>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"]


def build(cache: Path) -> Path:
    """Write the model into the model cache at ``cache``, unless it is there; the directory that holds it."""
    repo = cache / ("models--" + NAME.replace("/", "--"))
    snapshot = repo / "snapshots" / REVISION
    main = repo / "refs" / "main"
    if not main.exists():
        _tokenizer().save_pretrained(snapshot)
        _model().save_pretrained(snapshot)
        main.parent.mkdir(parents=True, exist_ok=True)
        main.write_text(REVISION)  # last: a build that was cut off is not taken for a whole one
    return snapshot


def _tokenizer():  # type: ignore[no-untyped-def]
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=384, special_tokens=SPECIAL))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<|end|>", pad_token="<|end|>"
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _model():  # type: ignore[no-untyped-def]
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=384,
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
    with torch.no_grad():  # a logit of 0 is never the highest of 384: no answer ends early
        model.lm_head.weight[: len(SPECIAL)] = 0
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build the tiny model.")
    parser.add_argument("directory", type=Path)
    print(build(parser.parse_args().directory))
