"""Models of known shapes with random weights, and the tokens they read: speed does not depend on what weights say.

The end token's embedding is 0 and the output layer is tied to the embeddings, so nobody ever finds it likely and every
completion has the same number of tokens.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from accord.candidates.generators.causal import CausalGenerator
from accord.candidates.generators.protocol import Generator
from accord.candidates.generators.seq2seq import Seq2SeqGenerator

PAD, END = 0, 1
N_RESERVED = 3  # padding, end, unknown


def smollm2_135m(**changes: Any) -> Any:
    """SmolLM2-135M: 30 layers of width 576, 9 heads on 3 key/value heads, 49,152 tokens."""
    shape = {"vocab_size": 49_152, "hidden_size": 576, "intermediate_size": 1_536, "num_hidden_layers": 30}
    shape |= {"num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8_192}
    special = {"pad_token_id": PAD, "bos_token_id": END, "eos_token_id": END}
    config = LlamaConfig(**{**shape, **changes}, **special, initializer_range=0.1, tie_word_embeddings=True)
    return _without_ends(LlamaForCausalLM(config))


def t5_small(**changes: Any) -> Any:
    """T5-small: 6 + 6 layers of width 512, 8 heads, 32,128 tokens."""
    shape = {"vocab_size": 32_128, "d_model": 512, "d_kv": 64, "d_ff": 2_048, "num_layers": 6, "num_heads": 8}
    special = {"pad_token_id": PAD, "eos_token_id": END, "decoder_start_token_id": PAD}
    model = T5ForConditionalGeneration(T5Config(**{**shape, **changes}, **special, dropout_rate=0.0))
    return _varied(model, model.decoder.final_layer_norm)


def bart_base(**changes: Any) -> Any:
    """BART-base: 6 + 6 layers of width 768, 12 heads, 50,265 tokens."""
    shape = {"vocab_size": 50_265, "d_model": 768, "max_position_embeddings": 1_024}
    for part in ("encoder", "decoder"):
        shape |= {f"{part}_layers": 6, f"{part}_attention_heads": 12, f"{part}_ffn_dim": 3_072}
    special: dict[str, Any] = {"pad_token_id": PAD, "bos_token_id": END, "eos_token_id": END}
    special |= {"decoder_start_token_id": END, "forced_eos_token_id": None, "init_std": 0.1, "dropout": 0.0}
    model = BartForConditionalGeneration(BartConfig(**{**shape, **changes}, **special))
    return _varied(model, model.model.decoder.layers[-1].final_layer_norm)


def minilm_l6(**changes: Any) -> Any:
    """all-MiniLM-L6: 6 layers of width 384, 12 heads, 30,522 tokens."""
    shape = {"vocab_size": 30_522, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12}
    shape |= {"intermediate_size": 1_536, "max_position_embeddings": 512}
    return BertModel(BertConfig(**{**shape, **changes}))


TINY: dict[str, dict[str, Any]] = {
    "smollm2-135m": {"vocab_size": 500, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3}
    | {"num_attention_heads": 6, "num_key_value_heads": 2},
    "t5-small": {"vocab_size": 500, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 3, "num_heads": 4},
    "bart-base": {"vocab_size": 500, "d_model": 32}
    | {f"{part}_{name}": 2 for part in ("encoder", "decoder") for name in ("layers", "attention_heads")},
}
"""What makes each shape a toy, for `--smoke`."""

SHAPES: dict[str, Callable[..., Any]] = {
    "smollm2-135m": smollm2_135m,
    "t5-small": t5_small,
    "bart-base": bart_base,
}


def build_model(name: str, *, smoke: bool = False, seed: int = 0) -> Any:
    """The model of one shape in evaluation mode; the same weights for the same seed."""
    torch.manual_seed(seed)
    return SHAPES[name](**(TINY[name] if smoke else {})).eval()


def as_generator(model: Any) -> Generator:
    """A model behind accord's protocol, with a tokenizer that knows its tokens as words t3, t4, …"""
    kind = Seq2SeqGenerator if model.config.is_encoder_decoder else CausalGenerator
    return kind(model, word_tokenizer(model.config.vocab_size), name=model.config.model_type, chat=False)


def word_tokenizer(vocab_size: int) -> Any:
    """Token n is the word "tN"; nothing is put around a text."""
    words = ["<pad>", "</s>", "<unk>", *(f"t{number}" for number in range(N_RESERVED, vocab_size))]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def random_ids(lengths: list[int], *, vocab_size: int, seed: int) -> list[list[int]]:
    """Rows of so many tokens each, none of them special."""
    rng = np.random.default_rng(seed)
    return [rng.integers(N_RESERVED, vocab_size, size=length).tolist() for length in lengths]


def save_model(model: Any, folder: Path) -> Path:
    """Model and tokenizer as any version of transformers reads them."""
    model.save_pretrained(folder)
    word_tokenizer(model.config.vocab_size).save_pretrained(folder)
    return folder


def _varied(model: Any, last_norm: Any) -> Any:
    """Random signs in the last normalisation: or tied embeddings say the latest token again and again."""
    with torch.no_grad():
        last_norm.weight.mul_(torch.randint(0, 2, last_norm.weight.shape) * 2.0 - 1.0)
    return _without_ends(model)


def _without_ends(model: Any) -> Any:
    with torch.no_grad():
        model.get_input_embeddings().weight[END] = 0.0
    return model
