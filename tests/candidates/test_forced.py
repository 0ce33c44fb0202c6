"""Forced prefixes and forbidden tokens, of any architecture: a generator says what it is not free to write."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from accord.candidates.decode import Method, completions
from accord.candidates.forced import WholeCompletions, WithoutTokens, encoded_after
from accord.candidates.generators.causal import CausalGenerator
from accord.candidates.generators.protocol import FreelyWritten
from accord.candidates.generators.seq2seq import Seq2SeqGenerator
from accord.candidates.logps import completion_logps
from accord.records import Prompt
from toys import tiny_bart, tiny_llama, tiny_t5, word_tokenizer

TEXTS = ["i feel sad", "my mother lost the job yesterday and i feel very tired", "why"]
FORBIDDEN = (40, 41, 42, 43)


class _Opened(FreelyWritten):
    """Two tokens before every text, which depend on the prompt's length, and four that it never holds."""

    forbidden_tokens = FORBIDDEN

    def forced_prefix(self, prompt: Prompt) -> list[int]:
        return [40 + len(prompt) % 2, 42 + len(prompt) % 2]

    def loss_positions(self, completion_ids: Sequence[int]) -> range:
        return range(2, len(completion_ids))


class OpenedCausal(_Opened, CausalGenerator): ...


class OpenedSeq2Seq(_Opened, Seq2SeqGenerator): ...


MAKERS: dict[str, Any] = {
    "llama": lambda: OpenedCausal(tiny_llama(7), word_tokenizer()),
    "t5": lambda: OpenedSeq2Seq(tiny_t5(10), word_tokenizer(frame="$A </s>")),
    "bart": lambda: OpenedSeq2Seq(tiny_bart(10), word_tokenizer(frame="<s> $A </s>")),
}


@pytest.fixture(params=MAKERS, scope="module")
def generator(request: pytest.FixtureRequest) -> Any:
    return MAKERS[request.param]()


def plain_logits(generator: Any, prompt: list[int], written: list[int]) -> torch.Tensor:
    """What predicts each of `written`, [T, V], from one forward pass on one row."""
    if isinstance(generator, Seq2SeqGenerator):
        decoder_ids = torch.tensor([[*generator.start_ids, *written[:-1]]])
        logits: torch.Tensor = generator.model(input_ids=torch.tensor([prompt]), decoder_input_ids=decoder_ids).logits[
            0
        ]
    else:
        logits = generator.model(input_ids=torch.tensor([prompt + written[:-1]])).logits[0]
    return logits[-len(written) :]


@torch.no_grad()
@pytest.mark.parametrize("method", ["diverse_beam", "beam", "greedy", "sample"])
def test_every_decoder_begins_after_the_prefix(generator: Any, method: Method) -> None:
    """Log-probabilities are those of the text after prompt and prefix, the forbidden tokens cut out of the softmax."""
    prompts = [generator.prompt_ids(text) for text in TEXTS]
    prefixes = [generator.forced_prefix(text) for text in TEXTS]
    options: dict[str, Any] = {"method": method, "n": 4, "max_new_tokens": 7, "diversity_penalty": 1.0}
    found = completions(generator, prompts, TEXTS, prefixes=prefixes, **options)
    n_vocab = generator.model.config.vocab_size
    kept = [token for token in range(n_vocab) if token not in FORBIDDEN]
    for prompt, prefix, row in zip(prompts, prefixes, found, strict=True):
        counted = completion_logps(generator, [prompt], [[prefix + list(one.ids) for one in row]])
        assert counted.n_tokens[0].tolist() == [len(one.ids) for one in row]
        for one, sum_logp in zip(row, counted.sum_logps[0].tolist(), strict=True):
            assert not set(one.ids) & set(FORBIDDEN)
            logps = plain_logits(generator, prompt, prefix + list(one.ids))[2:, kept].log_softmax(-1)
            expected = float(logps[range(len(one.ids)), [kept.index(token) for token in one.ids]].sum())
            assert one.sum_logp == pytest.approx(expected, abs=1e-4)
            assert sum_logp == pytest.approx(expected, abs=1e-4)


@torch.no_grad()
def test_greedy_takes_the_likeliest_token_that_is_allowed(generator: Any) -> None:
    prompt, prefix = generator.prompt_ids(TEXTS[0]), generator.forced_prefix(TEXTS[0])
    ((one,),) = completions(generator, [prompt], ["p"], method="greedy", max_new_tokens=5, prefixes=[prefix])
    logits = plain_logits(generator, prompt, prefix + list(one.ids))[2:]
    logits[:, FORBIDDEN] = -torch.inf
    assert logits.argmax(-1).tolist() == list(one.ids)


@torch.no_grad()
def test_rows_that_forbid_tokens_move_like_any_others() -> None:
    generator = MAKERS["llama"]()
    encoded = encoded_after(generator, [[10, 11], [12]], None)
    assert isinstance(encoded, WithoutTokens)
    encoded.expand(2)
    encoded.reorder(torch.tensor([3, 0]))
    logits = encoded.step(torch.tensor([20, 21]))
    assert torch.equal(logits, encoded.logits)
    assert torch.isinf(logits[:, FORBIDDEN]).all()
    assert int(torch.isinf(logits).sum()) == 2 * len(FORBIDDEN)
    expected = plain_logits(generator, [12], [20, 9])[1]
    free = [token for token in range(len(expected)) if token not in FORBIDDEN]
    torch.testing.assert_close(logits[0, free], expected[free], atol=1e-5, rtol=0)


@torch.no_grad()
def test_tuning_counts_every_token_that_is_read(generator: Any) -> None:
    completion = [40, 42, 20, 21, 5]
    found = completion_logps(WholeCompletions(generator), [[10, 11]], [[completion]])
    logps = plain_logits(generator, [10, 11], completion).log_softmax(-1)
    assert found.n_tokens.tolist() == [[5]]
    assert float(found.sum_logps) == pytest.approx(float(logps[range(5), completion].sum()), abs=1e-4)


def test_nothing_forced_and_nothing_forbidden_costs_nothing() -> None:
    """A free generator's rows are its own, not wrapped, and all its tokens count."""
    generator = CausalGenerator(tiny_llama(), word_tokenizer())
    assert type(encoded_after(generator, [[10]], [[]])) is type(generator.encode([[10]]))
    assert generator.forced_prefix("why") == []
    assert list(generator.loss_positions([7, 8, 5])) == [0, 1, 2]
