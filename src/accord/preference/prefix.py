"""A prefix: trainable keys and values that every layer of a frozen encoder attends to, before those of the text.

Li and Liang (2021), as the paper uses it (Eq. 12): the prefix's activations are free parameters, the encoder's are
computed. Where we differ from the usual implementations (PEFT 0.21, UnifiedSKG):

1. The text keeps its positions. There they move up by the prefix's length, so that a text loses as many tokens of room,
   and a prefix that nobody attends to still changes every vector.
2. The prefix starts as keys and values of real tokens, not as noise, so that training starts near the plain encoder.
"""

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache, PretrainedConfig


class Prefix(nn.Module):
    """`keys` and `values` [layers, heads, P, head size], shared by all texts. P = 0 is not made; see `add_prefix`."""

    def __init__(self, encoder_config: PretrainedConfig, length: int) -> None:
        super().__init__()
        n_heads = encoder_config.num_attention_heads
        shape = (encoder_config.num_hidden_layers, n_heads, length, encoder_config.hidden_size // n_heads)
        self.keys = nn.Parameter(torch.zeros(shape))
        self.values = nn.Parameter(torch.zeros(shape))

    @property
    def length(self) -> int:
        """P, in tokens."""
        return self.keys.shape[2]

    def initialise(self, encoder: nn.Module, batch: dict[str, Tensor], *, rng: np.random.Generator) -> None:
        """Set keys and values to those of P random tokens of `batch` (arguments of the encoder), padding left out."""
        kept = np.argwhere(batch["attention_mask"].cpu().numpy() == 1)
        rows, positions = kept[rng.choice(len(kept), self.length, replace=len(kept) < self.length)].T
        cache = DynamicCache()
        with torch.no_grad():
            encoder(**{**batch, "attention_mask": _additive(batch["attention_mask"])}, past_key_values=cache)
            for number, layer in enumerate(cache.layers):
                self.keys[number].copy_(layer.keys[rows, :, positions].transpose(0, 1))
                self.values[number].copy_(layer.values[rows, :, positions].transpose(0, 1))


def _additive(mask: Tensor) -> Tensor:
    """A mask [B, T] (1 keeps) as what is added to attention scores, [B, 1, T, T]: transformers takes that as it is."""
    added = (1.0 - mask.float()) * torch.finfo(torch.float32).min
    return added[:, None, None, :].expand(-1, 1, mask.shape[1], -1)
