"""Floating-point operations of a generator's matrix products, counted on paper from its weights.

A linear layer takes two operations for each weight and token, forward, and six with its gradients. Attention between
tokens is left out: some per cent at the lengths measured here.
"""

from typing import Any, NamedTuple

from torch import nn

FORWARD, TRAINED = 2, 6
OVER_PROMPT = ("EncDecAttention.k", "EncDecAttention.v", "encoder_attn.k_proj", "encoder_attn.v_proj")
"""A decoder's layers that read the prompt's states, in T5 and in BART."""


class Weights(NamedTuple):
    """How many weights of linear layers a token of each kind goes through: of a prompt, of a completion, one predicted.

    `unread`: of a completion's tokens, those that are only predicted: the last, unless a start token is read instead.
    """

    prompt: int
    completion: int
    output: int
    unread: int

    def tera(self, *, prompt_tokens: int, n_completions: int, tokens_each: int, operations: int) -> float:
        """10¹² operations of reading so many tokens of prompts, and of reading and predicting completions."""
        read = self.completion * (tokens_each - self.unread) + self.output * tokens_each
        return operations * (self.prompt * prompt_tokens + n_completions * read) / 1e12


def weights_of(model: Any) -> Weights:
    """The weights of a causal model, whose prompt goes the way of its completion, or of an encoder with a decoder."""
    head = model.get_output_embeddings()
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    body = {name: layer.weight.numel() for name, layer in layers if layer is not head}
    everything, output = sum(body.values()), head.weight.numel()
    if not model.config.is_encoder_decoder:
        return Weights(everything, everything, output, unread=1)
    prompt = sum(n for name, n in body.items() if ".encoder." in f".{name}" or name.endswith(OVER_PROMPT))
    return Weights(prompt, everything - prompt, output, unread=0)
