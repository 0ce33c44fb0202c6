"""The largest few of a whole vocabulary, found without sorting through it."""

from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 64


class Likeliest(NamedTuple):
    """The largest numbers of each row, best first, and where they stand: [R, C] both, the places int64."""

    values: Tensor
    places: Tensor


def likeliest(numbers: Tensor, n: int) -> Likeliest:
    """The `n` largest of each row of `numbers` [R, V]; which of equals is found, and in which order, is left open.

    The n largest stand in the n blocks of the largest maxima, and maxima are found in one quick pass. The numbers
    after the last whole block are looked at besides. nan counts as larger than all others, as in `torch.topk`.
    """
    n_blocks = numbers.shape[1] // BLOCK
    if n_blocks <= n:
        return Likeliest(*numbers.topk(n, dim=1))
    blocks = numbers[:, : n_blocks * BLOCK].view(-1, n_blocks, BLOCK)
    chosen = blocks.amax(dim=2).topk(n, dim=1).indices
    inside = blocks.gather(1, chosen[:, :, None].expand(-1, -1, BLOCK)).flatten(1)
    best, found = torch.cat([inside, numbers[:, n_blocks * BLOCK :]], dim=1).topk(n, dim=1)
    starts = BLOCK * torch.cat([chosen, chosen.new_full((len(chosen), 1), n_blocks)], dim=1)
    return Likeliest(best, starts.gather(1, found // BLOCK) + found % BLOCK)
