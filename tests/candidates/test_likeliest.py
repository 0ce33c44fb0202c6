"""The largest few, against sorting through everything."""

import pytest
import torch

from accord.candidates.likeliest import BLOCK, likeliest


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("n_vocab", [8, BLOCK, 7 * BLOCK, 8 * BLOCK, 8 * BLOCK + 1, 20 * BLOCK + BLOCK - 1])
def test_the_same_as_of_the_whole(n_vocab: int, n: int) -> None:
    """Oracle: `torch.topk`. Fewer blocks than looked for, as many, more; without numbers after the last and with."""
    rng = torch.Generator().manual_seed(n_vocab)
    numbers = torch.stack([torch.randperm(n_vocab, generator=rng) for _ in range(50)]).float()
    found, expected = likeliest(numbers, n), numbers.topk(n, dim=1)
    assert torch.equal(found.values, expected.values)
    assert torch.equal(found.places, expected.indices)


def test_of_equals_any_are_found() -> None:
    numbers = torch.randint(0, 5, (30, 10 * BLOCK + 3), generator=torch.Generator().manual_seed(0)).float()
    found = likeliest(numbers, 6)
    assert torch.equal(found.values, numbers.topk(6, dim=1).values)
    assert torch.equal(numbers.gather(1, found.places), found.values)
    assert all(len(set(places)) == 6 for places in found.places.tolist())


def test_nan_comes_first() -> None:
    numbers = torch.zeros(1, 10 * BLOCK)
    numbers[0, 400], numbers[0, 3] = torch.nan, 9.0
    assert likeliest(numbers, 2).places.tolist() == [[400, 3]]
