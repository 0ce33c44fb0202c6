"""What both sides of benchmarks/preference_fit.py train, and on what: the same model, the same items, one place."""

from typing import Any, NamedTuple

import numpy as np
import torch

from accord.data.labels import build_votes
from accord.data.schemes import load_scheme
from accord.data.sources.convabuse import SCHEME, read_convabuse
from accord.preference.inputs import render_prompt
from accord.preference.model import PreferenceConfig, PreferenceModel
from accord.preference.predict import encode_pairs
from accord.preference.tune import EncoderText, add_adapters, add_prefix
from accord.pretrained import load_encoder, load_tokenizer
from benchmarks.texts import SEED, corpus_dir, made_pairs

N_ITEMS = 2500
"""Of the made corpus, as many as ConvAbuse has for training."""
MAX_TOKENS = 256
PREFIX_LENGTH = 10
LORA_RANK = 8
RATES = {"prefix": 1e-2, "lora": 5e-4, "head": 1e-3}
WEIGHT_DECAY = {"prefix": 0.0, "lora": 0.01, "head": 0.01}
BATCH_SIZE = 64
TUNINGS = ("prefix", "lora", "head")


class Items(NamedTuple):
    """Where they are from, prompts and completions, and the votes [N, 2]: unacceptable, acceptable."""

    source: str
    pairs: list[tuple[str, str]]
    votes: np.ndarray


def training_items(n_items: int | None) -> Items:
    """ConvAbuse's training items where ACCORD_DATA_DIR has them, else made ones with as many votes.

    Fewer are spread evenly over their order by length, so that texts are as long as in the whole; more are the same
    ones again.
    """
    folder = corpus_dir("convabuse")
    if folder is None:
        pairs = made_pairs(n_items or N_ITEMS)
        rng = np.random.default_rng(SEED)
        acceptable = rng.binomial(4, rng.beta(4, 1, size=len(pairs)))
        return Items("demo sentences", pairs, np.stack([4 - acceptable, acceptable], axis=1))
    scheme = load_scheme(SCHEME)
    items = [item for item in read_convabuse(folder, scheme=scheme, on_bad_row="raise").items if item.split == "train"]
    found = build_votes(items, scheme)
    votes = np.stack([found.n_votes - found.n_acceptable, found.n_acceptable], axis=1)
    pairs = [(render_prompt(item.prompt), item.completion) for item in items]
    n_items = n_items or len(pairs)
    by_length = sorted(range(len(pairs)), key=lambda number: sum(map(len, pairs[number])))
    step = max(1.0, len(pairs) / n_items)
    chosen = sorted(by_length[int((number + 0.5) * step) % len(pairs)] for number in range(n_items))
    return Items("ConvAbuse", [pairs[number] for number in chosen], votes[chosen])


def build_model(tuning: str, pairs: list[tuple[str, str]], *, dropout: bool) -> tuple[PreferenceModel, EncoderText]:
    """The model with what its tuning trains, and the rows it reads; equal on both sides.

    Args:
        dropout: as the encoder is shipped, or none at all, so that losses can be compared.
    """
    tokenizer = load_tokenizer("builtin:minilm")
    encoder: Any = load_encoder("builtin:minilm")
    if not dropout:
        encoder.config.hidden_dropout_prob = encoder.config.attention_probs_dropout_prob = 0.0
    config = PreferenceConfig(
        base_model="builtin:minilm",
        id2label={0: "unacceptable", 1: "acceptable"},
        n_views=3 if tuning == "head" else 1,
        head_size=64,
        dropout=0.3 if dropout else 0.0,
        max_input_tokens=MAX_TOKENS,
    )
    model = PreferenceModel.from_encoder(encoder, config, seed=SEED)
    rows = [pair.views[0] for pair in encode_pairs(model, tokenizer, pairs[:PREFIX_LENGTH])]
    text = EncoderText(tokenizer, rows, 8192)
    if tuning == "prefix":
        add_prefix(model, text, np.arange(len(rows)), length=PREFIX_LENGTH, seed=SEED)
    elif tuning == "lora":
        add_adapters(model, rank=LORA_RANK, seed=SEED)
    else:
        model.encoder.requires_grad_(False)
    return model, text


def soft_labels(votes: np.ndarray) -> torch.Tensor:
    """Vote shares [N, 2]."""
    return torch.tensor(votes / votes.sum(axis=1, keepdims=True), dtype=torch.float32)
