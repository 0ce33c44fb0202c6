"""The shared causal prefix: a prompt and its K completions in one row, each completion blind to the others.

Reading K completions of C tokens after a prompt of P tokens costs P + K·(C − 1) tokens instead of K·(P + C), and
gives the same numbers as one row per completion, to float tolerance.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain, groupby, pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from accord.errors import ConfigError, DataError

PROMPT_SEGMENT = 0
PAD_SEGMENT = -1
PACKABLE_ATTENTION = ("sdpa", "eager")
IN_BLOCKS = "accord_packed_in_blocks"
BLOCK_TOKENS = 128
"""Of completions that attend in one go: their own scores are its square, fewer leave the cores idle."""


class PackedRows(NamedTuple):
    """B prompts with their completions, one padded row each; S is the longest row.

    `segment_ids`: 0 for the prompt, k ≥ 1 for the k-th completion, −1 for padding. `source`: for each of the
    T_total completion tokens the place in the flattened [B·S] whose state predicts it; `target_ids`: that token.
    """

    input_ids: Int[Tensor, " B S"]
    position_ids: Int[Tensor, " B S"]
    segment_ids: Int[Tensor, " B S"]
    source: Int[Tensor, " T_total"]
    target_ids: Int[Tensor, " T_total"]


def pack_rows(
    prompt_ids: Sequence[Sequence[int]], completion_ids: Sequence[Sequence[Sequence[int]]], *, pad_id: int
) -> PackedRows:
    """Lay out each prompt with its completions in one row; positions restart after the prompt for each completion.

    A completion's last token is only ever predicted, so it is a target and takes no place in the row.

    Args:
        prompt_ids: B prompts of at least one token.
        completion_ids: for each prompt its completions of at least one token; their number may differ, or be 0.

    Raises:
        DataError: an empty prompt or completion; names its place.
    """
    require_tokens(prompt_ids, completion_ids)
    rows = [_Row(list(ids)) for ids in prompt_ids]
    for row, completions in zip(rows, completion_ids, strict=True):
        n_prompt = len(row.ids)
        for k, completion in enumerate(completions, start=1):
            row.append(k, completion, n_prompt)
    width = max((len(row.ids) for row in rows), default=0)
    return PackedRows(
        input_ids=_padded([row.ids for row in rows], width, pad_id),
        position_ids=_padded([row.positions for row in rows], width, 0),
        segment_ids=_padded([row.segments for row in rows], width, PAD_SEGMENT),
        source=torch.tensor(
            [n * width + place for n, row in enumerate(rows) for place in row.sources], dtype=torch.long
        ),
        target_ids=torch.tensor(list(chain.from_iterable(row.targets for row in rows)), dtype=torch.long),
    )


def require_tokens(prompt_ids: Sequence[Sequence[int]], completion_ids: Sequence[Sequence[Sequence[int]]]) -> None:
    """Refuse what no generator can read.

    Raises:
        DataError: an empty prompt or completion; names its place.
    """
    for number, (prompt, completions) in enumerate(zip(prompt_ids, completion_ids, strict=True)):
        if not prompt:
            raise DataError(f"prompt {number} has no tokens. A generator needs at least one to start from.")
        for k, completion in enumerate(completions):
            if not completion:
                raise DataError(f"completion {k} of prompt {number} has no tokens; expected at least its end.")


def packed_attention_mask(segment_ids: Int[Tensor, " B S"], dtype: torch.dtype) -> Float[Tensor, " B 1 S S"]:
    """Additive mask: 0 where a token may look, the most negative finite number elsewhere.

    A token sees the prompt and its own completion, up to itself. Padding sees the prompt and padding, so that no
    row of attention weights is undefined; nobody sees padding but padding. Additive floats and not booleans,
    because eager attention would add a boolean as 0 or 1.
    """
    size = segment_ids.shape[1]
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    prompt = (segment_ids == PROMPT_SEGMENT)[:, None, :]
    causal = torch.ones(size, size, dtype=torch.bool, device=segment_ids.device).tril()
    mask = torch.zeros(same.shape, dtype=dtype, device=segment_ids.device)
    return mask.masked_fill(~((same | prompt) & causal), torch.finfo(dtype).min)[:, None]


def packed_completion_states(
    model: Any, prompt_ids: Sequence[Sequence[int]], completion_ids: Sequence[Sequence[Sequence[int]]], *, pad_id: int
) -> Float[Tensor, " T_total D"]:
    """The last hidden states that predict each completion token, from one row per prompt.

    Args:
        model: a causal language model of transformers, bare or under PEFT.
        prompt_ids, completion_ids: see `pack_rows`; a completion includes its end of sequence.

    Returns:
        Prompt by prompt, completion by completion, token by token. The state at the prompt's last token predicts
        each completion's first token. Gradients flow through the shared prompt.

    Raises:
        ConfigError: a model that this layout does not serve (see `require_packable`).
    """
    rows = pack_rows(prompt_ids, completion_ids, pad_id=pad_id)
    require_packable(model, longest=int(rows.position_ids.max()) + 1 if rows.position_ids.numel() else 0)
    trunk = causal_trunk(model)
    embeddings = trunk.get_input_embeddings().weight
    rows = PackedRows(*(part.to(embeddings.device) for part in rows))
    if not rows.target_ids.numel():
        return embeddings.new_zeros(0, embeddings.shape[1])
    states = trunk_states(trunk, rows.segment_ids, rows.position_ids, input_ids=rows.input_ids)
    return states.flatten(0, 1)[rows.source]


def trunk_states(
    trunk: Any, segment_ids: Int[Tensor, " B S"], position_ids: Int[Tensor, " B S"], **inputs: Tensor
) -> Float[Tensor, " B S D"]:
    """The trunk's last hidden states over packed rows; `inputs` are its input_ids or inputs_embeds."""
    mask = packed_attention_mask(segment_ids, trunk.get_input_embeddings().weight.dtype)
    with attending_in_blocks(trunk.config, segment_ids):
        states: Tensor = trunk(
            position_ids=position_ids, attention_mask=mask, use_cache=False, **inputs
        ).last_hidden_state
    return states


def block_bounds(segment_ids: Sequence[int]) -> tuple[int, ...]:
    """Where a row's blocks of queries end: the prompt, then whole completions, at most `BLOCK_TOKENS` tokens each or
    one completion that is longer. What stands after the last bound is padding, whose states nobody reads."""
    bounds = [segment_ids.count(PROMPT_SEGMENT)]
    end = bounds[0]
    for _, tokens in groupby(segment for segment in segment_ids[end:] if segment != PAD_SEGMENT):
        size = len(list(tokens))
        if len(bounds) > 1 and end + size - bounds[-2] <= BLOCK_TOKENS:
            bounds.pop()
        end += size
        bounds.append(end)
    return tuple(bounds)


def attend_in_blocks(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, **options: Any
) -> tuple[Tensor, None]:
    """An attention function of transformers: that of `sdpa`, for each row's prompt and each block of its completions.

    A mask per pair of tokens lets no kernel skip what it hides. The prompt is plainly causal, and a block of
    completions is shown the prompt's keys and its own: the scores grow with the number of completions, not with its
    square. Only under `attending_in_blocks`.
    """
    rows = (torch.split(part, 1) for part in (query, key, value, attention_mask))
    found = [
        _attend_row(module, *row, bounds=bounds, options=options)
        for *row, bounds in zip(*rows, _BOUNDS.get(), strict=True)
    ]
    return torch.cat(found), None


def _attend_row(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    *,
    bounds: tuple[int, ...],
    options: Mapping[str, Any],
) -> Tensor:
    """Attention's output [1, S, heads, head size] of one row; 0 for padding."""
    n_prompt, size = bounds[0], query.shape[2]
    sizes = [n_prompt, *(end - start for start, end in pairwise(bounds)), size - bounds[-1]]
    queries, keys, values = (torch.split(part, sizes, dim=2) for part in (query, key, value))
    causal = {**options, "is_causal": True}
    found = [sdpa_attention_forward(module, queries[0], keys[0], values[0], None, **causal)[0]]
    for number, (start, end) in enumerate(pairwise(bounds), start=1):
        seen = mask[:, :, start:end]
        found.append(
            sdpa_attention_forward(
                module,
                queries[number],
                torch.cat([keys[0], keys[number]], dim=2),
                torch.cat([values[0], values[number]], dim=2),
                torch.cat([seen[..., :n_prompt], seen[..., start:end]], dim=3),
                **options,
            )[0]
        )
    found.append(found[0].new_zeros(1, sizes[-1], *found[0].shape[2:]))
    return torch.cat(found, dim=1)


_BOUNDS: ContextVar[Sequence[tuple[int, ...]]] = ContextVar("bounds")
AttentionInterface.register(IN_BLOCKS, attend_in_blocks)
AttentionMaskInterface.register(IN_BLOCKS, sdpa_mask)


@contextmanager
def attending_in_blocks(config: Any, segment_ids: Int[Tensor, " B S"]) -> Iterator[None]:
    """On a CPU, where scores are computed one after the other, let a trunk of `sdpa` attend by `attend_in_blocks`."""
    before = config._attn_implementation
    if segment_ids.device.type != "cpu" or before != "sdpa":
        yield
        return
    token = _BOUNDS.set([block_bounds(row) for row in segment_ids.tolist()])
    config._attn_implementation = IN_BLOCKS
    try:
        yield
    finally:
        config._attn_implementation = before
        _BOUNDS.reset(token)


def unwrapped(model: Any) -> Any:
    """The transformers model itself; PEFT injects its adapters into that model's own layers."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def causal_trunk(model: Any) -> Any:
    """The model without its vocabulary head (`LlamaModel`, `GPT2Model`, …), adapters included."""
    return unwrapped(model).base_model


def require_packable(model: Any, *, longest: int) -> None:
    """Refuse models whose answer would silently differ in the packed layout.

    Args:
        longest: tokens of the longest prompt plus completion; a sliding window at least that long does no harm.

    Raises:
        ConfigError: names what the model has and what is served.
    """
    config, trunk = unwrapped(model).config, causal_trunk(model)
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    attention = getattr(config, "_attn_implementation", None)
    found = None
    if "position_ids" not in inspect.signature(type(trunk).forward).parameters or getattr(config, "alibi", False):
        found = "takes its positions from the order of the tokens (no position_ids, e.g. ALiBi)"
    elif getattr(trunk, "_is_stateful", False):
        found = "reads the row as one stream (recurrent layers)"
    elif window is not None and window < longest:
        found = f"has a sliding window of {window} tokens, shorter than a text of {longest}"
    elif attention not in PACKABLE_ATTENTION:
        found = f"uses {attention!r} attention, which takes no mask per pair of tokens"
    if found is not None:
        raise ConfigError(
            f"the generator ({config.model_type}) {found}. Calibration packs a prompt with its completions and serves "
            f"models with explicit positions and full attention ({' or '.join(PACKABLE_ATTENTION)}), such as Llama, "
            "SmolLM, Qwen2 or GPT-2. Choose one of those."
        )


class _Row:
    """One prompt's row while it is being laid out."""

    def __init__(self, prompt_ids: list[int]) -> None:
        self.ids = prompt_ids
        self.positions = list(range(len(prompt_ids)))
        self.segments = [PROMPT_SEGMENT] * len(prompt_ids)
        self.sources: list[int] = []
        self.targets: list[int] = []

    def append(self, segment: int, completion: Sequence[int], n_prompt: int) -> None:
        start, inputs = len(self.ids), completion[:-1]
        self.ids.extend(inputs)
        self.positions.extend(range(n_prompt, n_prompt + len(inputs)))
        self.segments.extend([segment] * len(inputs))
        self.sources.extend([n_prompt - 1, *range(start, start + len(inputs))])
        self.targets.extend(completion)


def _padded(rows: Sequence[Sequence[int]], width: int, value: int) -> Int[Tensor, " B S"]:
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows], dtype=torch.long).reshape(-1, width)
