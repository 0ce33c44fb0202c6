"""Settings of `accord generate` and `accord decode`. Imports nothing heavy: this is what --help reads."""

from dataclasses import dataclass
from typing import Literal

GeneratorKind = Literal["auto", "causal", "seq2seq", "blender-vanilla", "blender-joint", "mic"]


@dataclass(frozen=True)
class GeneratorSettings:
    """Which generator is loaded, and how it reads a prompt (see `load_chosen`)."""

    model: str = "builtin:smollm2"
    """Generator: local path, Hub id, builtin:NAME, or a folder of `accord tune` or `accord calibrate`."""
    generator_kind: GeneratorKind = "auto"
    """How it reads dialogues and what it writes; auto asks the folder, else the architecture."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the weights."""
    system_prompt: str | None = None
    """System message put before every prompt that brings none; null leaves it to the chat template."""
    chat: Literal["auto", "yes", "no"] = "auto"
    """Apply the tokenizer's chat template; auto does so where it has one."""
    max_prompt_tokens: int = 512
    """A longer prompt loses its beginning; cut prompts are counted."""


@dataclass(frozen=True)
class GenerateSettings(GeneratorSettings):
    """How K different candidates per prompt are found."""

    strategy: Literal["gold", "predicted", "argmax"] = "gold"
    """Generators that write after a strategy: the row's own, one drawn from their own predictions, or the likeliest."""
    method: Literal["diverse_beam", "beam", "sample"] = "diverse_beam"
    """Groups of beams that keep apart, the K best beams, or K independent draws."""
    num_candidates: int = 10
    """K: candidates per prompt before identical ones are merged."""
    beams_per_group: int = 1
    """diverse_beam: beams in each of the K / beams_per_group groups; those of one group do not keep apart."""
    diversity_penalty: float = 4.0
    """diverse_beam: taken off a token's log-probability for each earlier group that chose it at the same step."""
    max_new_tokens: int = 40
    """Longest completion, end of sequence counted."""
    min_new_tokens: int = 4
    """No end of sequence before so many tokens."""
    trim_unfinished: bool = True
    """Cut a completion that reached max_new_tokens after its last whole sentence, if it has one, and end it there."""
    no_repeat_ngram_size: int = 0
    """No n-gram of this size twice in a completion; 0 allows all."""
    repetition_penalty: float = 1.0
    """Log-probabilities of tokens that the completion already holds are multiplied by it; above 1 avoids repeats."""
    length_penalty: float = 1.0
    """diverse_beam and beam: scores are divided by the number of tokens to this power."""
    early_stopping: Literal["estimate", "first", "never"] = "estimate"
    """A full group ends when no open beam is ahead by present length, at once, or when none can catch up any more."""
    temperature: float = 1.0
    """sample: logits are divided by it; below 1 makes likely tokens likelier."""
    top_k: int = 0
    """sample: only the k likeliest tokens; 0 allows all."""
    top_p: float = 1.0
    """sample: only the likeliest tokens that together have this probability."""
    batch_tokens: int = 8192
    """Prompts are read together up to so many tokens, candidates and padding counted."""


@dataclass(frozen=True)
class DecodeSettings(GeneratorSettings):
    """How a generator writes the texts that are evaluated."""

    strategy: Literal["gold", "predicted", "argmax"] = "predicted"
    """Generators that write after a strategy: the row's own, one drawn from their own predictions, or the likeliest."""
    method: Literal["sample", "greedy", "beam"] = "sample"
    """Draw from the nucleus, take the likeliest token each time, or the best of several beams."""
    samples: int = 1
    """Texts per prompt; more than one needs method sample."""
    num_beams: int = 4
    """beam: how many beams."""
    max_new_tokens: int = 40
    """Longest completion, end of sequence counted."""
    min_new_tokens: int = 0
    """No end of sequence before so many tokens."""
    trim_unfinished: bool = False
    """Cut a completion that reached max_new_tokens after its last whole sentence, if it has one."""
    no_repeat_ngram_size: int = 0
    """No n-gram of this size twice in a completion; 0 allows all."""
    length_penalty: float = 1.0
    """beam: scores are divided by the number of tokens to this power."""
    temperature: float = 1.0
    """sample: logits are divided by it; below 1 makes likely tokens likelier."""
    top_k: int = 0
    """sample: only the k likeliest tokens; 0 allows all."""
    top_p: float = 0.9
    """sample: only the likeliest tokens that together have this probability."""
    max_reference_tokens: int | None = None
    """Also write how likely the generator finds the references, for perplexity; longer ones are cut. Null: not."""
    batch_tokens: int = 8192
    """Prompts are read together up to so many tokens, samples and padding counted."""


@dataclass(frozen=True)
class RerankSettings:
    """The best-of-K control: pick among a generator's own samples by score."""

    k: int = 6
    """Samples per pick."""
    picks: int = 2
    """Texts per prompt, each the best of k samples of its own."""
    system: str = "best_of_k"
    """What the control is called in the evaluation."""
