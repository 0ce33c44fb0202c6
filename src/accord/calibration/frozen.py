"""Frozen layers computed once: with an adapter on the upper layers alone, what enters them never changes.

Candidates and references are constant too, so each packed row's hidden states at the lowest trained layer are
computed on first sight and kept. Exact; saves the lower layers' share of every later step.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from accord.candidates.generators.causal import CausalGenerator
from accord.candidates.generators.packed import causal_trunk, pack_rows, require_packable, trunk_states
from accord.candidates.generators.protocol import Generator
from accord.candidates.logps import StateReader

logger = logging.getLogger(__name__)

MAX_BYTES = 2 << 30
TOLERANCE = 1e-3

RowKey = tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]


class FrozenTrunk:
    """A generator's reading half that keeps what its layers below `first_layer` give for each packed row.

    Made for Llama-like trunks: embeddings, a stack `layers` of equal kind, a norm, positions by rotation. Every row is
    computed alone, so that what is kept does not depend on which rows came first. Beyond `max_bytes` rows are
    computed anew each time.
    """

    def __init__(self, generator: CausalGenerator, first_layer: int, *, max_bytes: int = MAX_BYTES) -> None:
        self.generator = generator
        self.first_layer = first_layer
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._kept: dict[RowKey, Tensor] = {}

    def completion_states(
        self, prompt_ids: Sequence[Sequence[int]], completion_ids: Sequence[Sequence[Sequence[int]]]
    ) -> Tensor:
        """See `Generator.completion_states`."""
        rows = pack_rows(prompt_ids, completion_ids, pad_id=self.generator.pad_id)
        entering = [self._entering(prompt, group) for prompt, group in zip(prompt_ids, completion_ids, strict=True)]
        if not rows.target_ids.numel():
            return entering[0].new_zeros(0, entering[0].shape[1]) if entering else torch.zeros(0, 0)
        embeddings = nn.utils.rnn.pad_sequence(entering, batch_first=True)
        layers = self._layers()[self.first_layer :]
        states = self._run(layers, rows.segment_ids, rows.position_ids, inputs_embeds=embeddings)
        return states.flatten(0, 1)[rows.source.to(states.device)]

    def output_logits(self, states: Tensor) -> Tensor:
        """See `Generator.output_logits`."""
        return self.generator.output_logits(states)

    @property
    def forbidden_tokens(self) -> tuple[int, ...]:
        """See `Generator.forbidden_tokens`."""
        return self.generator.forbidden_tokens

    def loss_positions(self, completion_ids: Sequence[int]) -> Sequence[int]:
        """See `Generator.loss_positions`."""
        return self.generator.loss_positions(completion_ids)

    def _entering(self, prompt_ids: Sequence[int], completion_ids: Sequence[Sequence[int]]) -> Tensor:
        """Hidden states [S, D] that enter layer `first_layer`, kept if there is room."""
        key: RowKey = (tuple(prompt_ids), tuple(tuple(ids) for ids in completion_ids))
        if key in self._kept:
            return self._kept[key]
        rows = pack_rows([prompt_ids], [completion_ids], pad_id=self.generator.pad_id)
        require_packable(self.generator.model, longest=int(rows.position_ids.max()) + 1)
        end = _Recorder()
        layers = nn.ModuleList([*self._layers()[: self.first_layer], end])
        with torch.no_grad():
            self._run(layers, rows.segment_ids, rows.position_ids, input_ids=rows.input_ids.to(self.generator.device))
        states = end.states[0]
        if self.n_bytes + states.nbytes <= self.max_bytes:
            self._kept[key] = states
            self.n_bytes += states.nbytes
        return states

    def _layers(self) -> nn.ModuleList:
        (layers,) = self.generator.layer_stacks.values()
        return layers

    def _run(self, layers: nn.ModuleList, segment_ids: Tensor, position_ids: Tensor, **inputs: Tensor) -> Tensor:
        trunk, device = causal_trunk(self.generator.model), self.generator.device
        with _only_layers(trunk, layers):
            return trunk_states(trunk, segment_ids.to(device), position_ids.to(device), **inputs)


def with_frozen_layers_kept(
    generator: Generator, first_layer: int, *, prompt_ids: Sequence[int], completion_ids: Sequence[Sequence[int]]
) -> StateReader:
    """`generator` behind a `FrozenTrunk` where that gives the same states on the given row, else itself.

    A trunk that scales its embeddings, adds positions to them, mixes kinds of layers or drops out is read in full, and
    so is a generator that packs no rows (sequence-to-sequence).
    """
    if not isinstance(generator, CausalGenerator) or not _is_llama_like(generator.model):
        return generator
    if first_layer == 0 or not completion_ids:
        return generator
    keeper = FrozenTrunk(generator, first_layer)
    with torch.no_grad():
        expected = generator.completion_states([prompt_ids], [completion_ids])
        found = keeper.completion_states([prompt_ids], [completion_ids])
    if torch.allclose(found, expected, atol=TOLERANCE * float(expected.abs().max()), rtol=0):
        return keeper
    logger.info("The frozen layers of %s cannot be kept; every step reads all layers.", generator.name)
    return generator


class _Recorder(nn.Module):
    """Stands in the place of the first layer that is not wanted and remembers what would enter it."""

    states: Tensor

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        self.states = hidden_states
        return hidden_states


@contextmanager
def _only_layers(trunk: Any, layers: nn.ModuleList) -> Iterator[None]:
    """Let the trunk run through `layers` instead of its own stack."""
    whole = trunk.layers
    trunk.layers = layers
    try:
        yield
    finally:
        trunk.layers = whole


def _is_llama_like(model: Any) -> bool:
    trunk = causal_trunk(model)
    return (
        all(hasattr(trunk, name) for name in ("layers", "norm", "rotary_emb"))
        and not getattr(model.config, "attention_dropout", 0.0)
        and not any(module.p > 0 for module in _frozen_dropouts(trunk))
    )


def _frozen_dropouts(trunk: Any) -> list[nn.Dropout]:
    """Dropouts of the model itself; the adapter's sit on trained layers."""
    return [m for name, m in trunk.named_modules() if isinstance(m, nn.Dropout) and "lora_" not in name]
