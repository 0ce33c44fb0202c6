"""Floating-point operations of a generator's matrix products, counted on paper from its weights.

A linear layer takes two operations for each weight and token, forward, and six with its gradients. Attention between
tokens is left out: some per cent at the lengths measured here.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import nn

FORWARD, TRAINED = 2, 6
OVER_PROMPT = ("EncDecAttention.k", "EncDecAttention.v", "encoder_attn.k_proj", "encoder_attn.v_proj")
"""A decoder's layers that read the prompt's states, in T5 and in BART."""


class Weights(NamedTuple):
    """How many weights of linear layers a token of each kind goes through."""

    prompt: int
    completion: int
    output: int

    def tera(self, *, prompt: int, completion: int, output: int, operations: int) -> float:
        """10¹² operations for so many tokens of each kind; `output`: those whose logits are computed."""
        products = self.prompt * prompt + self.completion * completion + self.output * output
        return operations * products / 1e12


def weights_of(model: Any) -> Weights:
    """The weights of a causal model, whose prompt goes the way of its completion, or of an encoder with a decoder."""
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    head = model.get_output_embeddings()
    body = {name: layer for name, layer in layers.items() if layer is not head}
    if not model.config.is_encoder_decoder:
        everything = total(body.values())
        return Weights(everything, everything, head.weight.numel())
    over_prompt = {name for name in body if ".encoder." in f".{name}" or name.endswith(OVER_PROMPT)}
    return Weights(
        prompt=total(layer for name, layer in body.items() if name in over_prompt),
        completion=total(layer for name, layer in body.items() if name not in over_prompt),
        output=head.weight.numel(),
    )


def total(layers: Iterable[nn.Linear]) -> int:
    return sum(layer.weight.numel() for layer in layers)
