"""Models from scratch, where no pretrained one can be had: a tokenizer of the training texts and random weights.

`accord tune --model scratch:bart` makes one and trains it. What it knows is what stands in the training prompts and
references, and nothing else.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BlenderbotSmallConfig,
    BlenderbotSmallForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.utils.logging import disable_progress_bar

from accord.errors import ConfigError
from accord.files import naming_failed_writes
from accord.pretrained import SCRATCH_PREFIX
from accord.randomness import keyed_seed
from accord.records import PromptRow

PAD, START, END = "<pad>", "<s>", "</s>"
SPECIALS = (PAD, START, END)
PAD_ID, START_ID, END_ID = range(len(SPECIALS))
HEAD_WIDTH = 32
FEED_FORWARD = 4
SPARE_POSITIONS = 8
MIN_VOCABULARY = len(SPECIALS) + 256


class ScratchKind(NamedTuple):
    """`build`: a model of random weights, drawn from torch's random state; `one_row`: whether a prompt and its
    completion share one row of positions, or are read by an encoder and a decoder.
    """

    build: "Callable[[ScratchSize], Any]"
    one_row: bool


class ScratchSize(NamedTuple):
    """`vocabulary`: tokens, special ones and the 256 bytes counted; `width`: of the hidden states; `layers`: of the
    encoder and of the decoder each; `positions`: the longest sequence.
    """

    vocabulary: int
    width: int
    layers: int
    positions: int

    @property
    def n_heads(self) -> int:
        return self.width // HEAD_WIDTH

    @property
    def init_std(self) -> float:
        """Weights keep the size of what passes through them; the usual 0.02 suits a width of a thousand and more."""
        return float(self.width**-0.5)


def scratch_kind(name: str) -> ScratchKind | None:
    """The kind of `scratch:NAME`; None for any other model.

    Raises:
        ConfigError: an architecture that cannot be made.
    """
    if not name.startswith(SCRATCH_PREFIX):
        return None
    kind = name.removeprefix(SCRATCH_PREFIX)
    if kind not in KINDS:
        known = ", ".join(SCRATCH_PREFIX + known for known in KINDS)
        raise ConfigError(f"model {name} is unknown. Expected one of {known}.")
    return KINDS[kind]


def scratch_positions(kind: ScratchKind, *, max_prompt_tokens: int, max_reference_tokens: int) -> int:
    """Positions for what training reads: a prompt and a reference in one row, or the longer of the two.

    A few more are for what stands before a reference: start tokens, a strategy.
    """
    lengths = (max_prompt_tokens, max_reference_tokens)
    return SPARE_POSITIONS + (sum(lengths) if kind.one_row else max(lengths))


def require_scratch_size(size: ScratchSize) -> None:
    """Raises ConfigError: a size of which no model can be made."""
    if size.width < HEAD_WIDTH or size.width % HEAD_WIDTH:
        raise ConfigError(f"scratch_width is {size.width}. Expected a multiple of {HEAD_WIDTH}, the width of a head.")
    if size.vocabulary < MIN_VOCABULARY:
        raise ConfigError(
            f"scratch_vocabulary is {size.vocabulary}. Expected at least {MIN_VOCABULARY}: 256 bytes, so that every "
            f"text can be written, and {len(SPECIALS)} special tokens."
        )


def write_scratch_model(
    folder: Path, kind: ScratchKind, rows: Iterable[PromptRow], *, size: ScratchSize, seed: int
) -> None:
    """Write a model of random weights and its tokenizer to `folder`, in the format of transformers.

    Args:
        rows: the training rows; their prompts and references are all that the tokenizer ever sees.
        seed: keys the weights. The tokenizer depends on the texts alone.

    Raises:
        ConfigError: see `require_scratch_size`.
    """
    require_scratch_size(size)
    tokenizer = build_tokenizer(_texts(rows), vocabulary=size.vocabulary, ends=not kind.one_row)
    torch.manual_seed(keyed_seed(seed, "scratch"))
    model = kind.build(size._replace(vocabulary=len(tokenizer)))
    disable_progress_bar()  # writing takes a second; bars are for what takes longer
    temporary = folder.with_name(f".{folder.name}.tmp")
    with naming_failed_writes(folder, temporary):
        shutil.rmtree(temporary, ignore_errors=True)
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)


def build_tokenizer(texts: Iterable[str], *, vocabulary: int, ends: bool) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer (Sennrich et al. 2016; Radford et al. 2019) of `texts`.

    Merges are chosen by count, then by the pair itself, so the order of the texts is irrelevant. The vocabulary is
    smaller where the texts run out of pairs.

    Args:
        ends: put the end of sequence after every text, as an encoder and the targets of its decoder expect.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=ends)  # a first word is a word like any other
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(texts), trainer)
    if ends:
        tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, END_ID)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, bos_token=START, eos_token=END)


def _texts(rows: Iterable[PromptRow]) -> Iterator[str]:
    for row in rows:
        if isinstance(row.prompt, str):
            yield row.prompt
        else:
            yield from (f"{message.role}: {message.content}" for message in row.prompt)
        yield from row.references


def _bart(size: ScratchSize) -> Any:
    return _ready(BartForConditionalGeneration(BartConfig(**_like_bart(size))))


def _blenderbot_small(size: ScratchSize) -> Any:
    return _ready(BlenderbotSmallForConditionalGeneration(BlenderbotSmallConfig(**_like_bart(size))))


def _like_bart(size: ScratchSize) -> dict[str, Any]:
    return {
        "vocab_size": size.vocabulary,
        "d_model": size.width,
        "encoder_layers": size.layers,
        "decoder_layers": size.layers,
        "encoder_attention_heads": size.n_heads,
        "decoder_attention_heads": size.n_heads,
        "encoder_ffn_dim": FEED_FORWARD * size.width,
        "decoder_ffn_dim": FEED_FORWARD * size.width,
        "max_position_embeddings": size.positions,
        "pad_token_id": PAD_ID,
        "bos_token_id": START_ID,
        "eos_token_id": END_ID,
        "decoder_start_token_id": START_ID,
        "forced_eos_token_id": None,
        "init_std": size.init_std,
    }


def _t5(size: ScratchSize) -> Any:
    config = T5Config(
        vocab_size=size.vocabulary,
        d_model=size.width,
        d_kv=HEAD_WIDTH,
        d_ff=FEED_FORWARD * size.width,
        num_layers=size.layers,
        num_heads=size.n_heads,
        pad_token_id=PAD_ID,
        eos_token_id=END_ID,
        decoder_start_token_id=PAD_ID,
    )
    return _ready(T5ForConditionalGeneration(config))


def _gpt2(size: ScratchSize) -> Any:
    config = GPT2Config(
        vocab_size=size.vocabulary,
        n_embd=size.width,
        n_layer=size.layers,
        n_head=size.n_heads,
        n_positions=size.positions,
        initializer_range=size.init_std,
        pad_token_id=PAD_ID,
        bos_token_id=START_ID,
        eos_token_id=END_ID,
    )
    return _ready(GPT2LMHeadModel(config))


def _ready(model: Any) -> Any:
    model.generation_config.forced_eos_token_id = None  # it would end a text in mid-sentence at the length limit
    return model


KINDS: dict[str, ScratchKind] = {
    "bart": ScratchKind(_bart, one_row=False),
    "t5": ScratchKind(_t5, one_row=False),
    "blenderbot-small": ScratchKind(_blenderbot_small, one_row=False),
    "gpt2": ScratchKind(_gpt2, one_row=True),
}
"""What `scratch:NAME` can be."""
