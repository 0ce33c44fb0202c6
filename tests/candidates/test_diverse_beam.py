"""Diverse beam search against the last transformers release that had it, and what must hold whatever the batch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.candidates.diverse_beam import Hypothesis, _Search, diverse_beams
from accord.candidates.generators.causal import CausalEncoded, CausalGenerator
from accord.candidates.generators.protocol import Encoded
from accord.candidates.generators.shared_causal import SharedCausalEncoded
from accord.candidates.processors import build_processors
from accord.errors import ConfigError
from beam_models import VOCABULARY, seeded_model
from toys import word_tokenizer

CASES = json.loads((Path(__file__).parent.parent / "cases" / "diverse_beam.json").read_text())["cases"]
PROMPTS = [[3, 4, 5], [9], [12, 13, 14, 15, 12, 13], [20, 7]]
PAD = 0


def encoded(model: Any, prompts: list[list[int]]) -> Encoded:
    """As users get it: rows that share their prompts."""
    found = CausalGenerator(model, word_tokenizer(), chat=False).encode(prompts)
    assert isinstance(found, SharedCausalEncoded)
    return found


def encoded_apart(model: Any, prompts: list[list[int]]) -> Encoded:
    """As models get it that attend in ways of their own: each row with a cache of its own."""
    model.set_attn_implementation("eager")
    found = CausalGenerator(model, word_tokenizer(), chat=False).encode(prompts)
    assert isinstance(found, CausalEncoded)
    return found


class Chain:
    """A model whose next token depends on the last one alone: `logits` [V, V] after each; prompts are tokens."""

    def __init__(self, logits: torch.Tensor, prompts: list[int]) -> None:
        self._table, self.logits = logits, logits[prompts]

    def expand(self, copies: int) -> None:
        self.logits = self.logits.repeat_interleave(copies, dim=0)

    def reorder(self, rows: torch.Tensor) -> None:
        self.logits = self.logits[rows]

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        self.logits = self._table[tokens]
        return self.logits


def search(
    model: Any, prompts: list[list[int]], *, encode: Callable[..., Encoded] = encoded, **changes: Any
) -> list[list[Hypothesis]]:
    settings = {"n_groups": 3, "max_new_tokens": 8, "eos_ids": [1, 2], "pad_id": PAD, **changes}
    names = [name for name in ("no_repeat_ngram_size", "repetition_penalty") if name in settings]
    settings["processors"] = build_processors(**{name: settings.pop(name) for name in names})
    return diverse_beams(encode(model, prompts), **settings)


def teacher_forced_logp(model: Any, prompt: list[int], ids: tuple[int, ...]) -> float:
    with torch.no_grad():
        logps = model(input_ids=torch.tensor([[*prompt, *ids]])).logits[0].double().log_softmax(dim=-1)
    places = torch.arange(len(prompt) - 1, len(prompt) + len(ids) - 1)
    return float(logps[places, torch.tensor(ids)].sum())


@pytest.mark.parametrize("encode", [encoded, encoded_apart])
@pytest.mark.parametrize("case", CASES, ids=[f"{case['kind']}-{case['seed']}" for case in CASES])
def test_sequences_and_scores_equal_transformers_4_56(case: dict[str, Any], encode: Callable[..., Encoded]) -> None:
    """All prompts as one padded batch here; one at a time there. There every end is written as the first end token."""
    answers, settings = case["answers"], case["settings"]
    prompts = [answer["prompt"] for answer in answers]
    first_end = settings["eos_ids"][0]
    model = seeded_model(case["kind"], case["seed"])
    found = search(model, prompts, encode=encode, **settings, prefixes=prompts)
    for hypotheses, answer in zip(found, answers, strict=True):
        rows = [[*one.ids[:-1], first_end] if one.is_finished else list(one.ids) for one in hypotheses]
        assert rows == answer["sequences"]
        assert [one.search_score for one in hypotheses] == pytest.approx(answer["scores"], abs=2e-5)


@pytest.mark.parametrize(("n_groups", "beams_per_group"), [(1, 1), (1, 4), (6, 1), (3, 2), (2, 3)])
@pytest.mark.parametrize("rounded_to", [None, 0.25])
@pytest.mark.parametrize("changes", [{}, {"diversity_penalty": 0.5}, {"min_new_tokens": 4}, {"padding_counts": False}])
def test_likely_tokens_alone_decide_as_all_tokens_do(
    n_groups: int,
    beams_per_group: int,
    rounded_to: float | None,
    changes: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Equal to the last bit, with 500 tokens of which two end; rounded logits make equals everywhere."""
    logits = torch.randn(500, 500, generator=torch.Generator().manual_seed(n_groups)) * 3
    if rounded_to is not None:
        logits = (logits / rounded_to).round() * rounded_to
    logits[:, 7:9] += 6.0
    best, n_compared = _Search._best, 0

    def compared(
        self: _Search, group: int, own_logps: torch.Tensor, likely: Any, counts: torch.Tensor, step: int
    ) -> Any:
        nonlocal n_compared
        found = best(self, group, own_logps, likely, counts, step)
        expected = self._best_of_all(group, own_logps, self.running[:, group], counts, step)
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True))
        n_compared += likely is not None
        return found

    monkeypatch.setattr(_Search, "_best", compared)
    settings = {"diversity_penalty": 4.0, "max_new_tokens": 9, "eos_ids": [7, 8], "pad_id": 7, **changes}
    chain = Chain(logits, list(range(20, 28)))
    diverse_beams(chain, n_groups=n_groups, beams_per_group=beams_per_group, **settings)
    assert n_compared >= 2 * n_groups


@pytest.mark.parametrize(
    ("rounded_to", "processors", "n_ranked"),
    [(None, [], 0), (None, [lambda _, logps: logps], 8 * 6), (100.0, [], 8 * 6)],
)
def test_all_tokens_are_ranked_only_for_processors_and_equals(
    rounded_to: float | None, processors: list[Any], n_ranked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 prompts, 6 groups, one step. A processor may raise what is unlikely; logits rounded to 0 leave all equal."""
    n_prompts: list[int] = []
    rank_all = _Search._best_of_all

    def counted(self: _Search, group: int, own_logps: torch.Tensor, *more: Any) -> Any:
        n_prompts.append(len(own_logps))
        return rank_all(self, group, own_logps, *more)

    monkeypatch.setattr(_Search, "_best_of_all", counted)
    logits = torch.randn(500, 500, generator=torch.Generator().manual_seed(0)) * 3
    if rounded_to is not None:
        logits = (logits / rounded_to).round() * rounded_to
    chain = Chain(logits, list(range(20, 28)))
    diverse_beams(
        chain, n_groups=6, diversity_penalty=4.0, max_new_tokens=1, eos_ids=[7], pad_id=0, processors=processors
    )
    assert sum(n_prompts) == n_ranked


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("beams_per_group", [1, 2])
def test_the_models_own_logps_are_kept_beside_the_penalised_score(kind: str, beams_per_group: int) -> None:
    model = seeded_model(kind, 4)
    found = search(model, PROMPTS, diversity_penalty=3.0, beams_per_group=beams_per_group)
    for prompt, hypotheses in zip(PROMPTS, found, strict=True):
        for one in hypotheses:
            assert one.sum_logp == pytest.approx(teacher_forced_logp(model, prompt, one.ids), abs=1e-4)
            assert one.search_score <= one.sum_logp / len(one.ids) + 1e-5
            assert one.is_finished == (one.ids[-1] in (1, 2))


@pytest.mark.parametrize("beams_per_group", [1, 2])
def test_neighbours_do_not_change_a_prompts_completions(beams_per_group: int) -> None:
    """Some prompts are done early here, so that they leave the batch under way."""
    model = seeded_model("llama", 72)
    changes: dict[str, Any] = {"beams_per_group": beams_per_group, "eos_ids": [1, 2, 6, 11], "diversity_penalty": 1.0}
    together = search(model, PROMPTS, max_new_tokens=20, **changes)
    alone = [search(model, [prompt], max_new_tokens=20, **changes)[0] for prompt in PROMPTS]
    assert [[one.ids for one in row] for row in together] == [[one.ids for one in row] for row in alone]
    assert len({max(len(one.ids) for one in row) for row in together}) > 1


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_one_group_is_plain_beam_search(kind: str) -> None:
    """Oracle: beam search of the installed transformers."""
    model = seeded_model(kind, 7)
    for prompt in PROMPTS:
        output = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            num_beams=4,
            num_return_sequences=4,
            max_new_tokens=8,
            do_sample=False,
            eos_token_id=[1],
            pad_token_id=PAD,
            return_dict_in_generate=True,
            output_scores=True,
        )
        (found,) = search(model, [prompt], n_groups=1, beams_per_group=4, eos_ids=[1])
        rows = output.sequences[:, len(prompt) :].tolist()
        assert [list(one.ids) for one in found] == [row[: row.index(1) + 1] if 1 in row else row for row in rows]
        assert [one.search_score for one in found] == pytest.approx(output.sequences_scores.tolist(), abs=2e-5)


def test_without_penalty_all_groups_find_the_same() -> None:
    (found,) = search(seeded_model("llama", 1), [[3, 4]], diversity_penalty=0.0)
    assert len({one.ids for one in found}) == 1


def test_a_large_penalty_makes_every_first_token_differ() -> None:
    (found,) = search(seeded_model("llama", 1), [[3, 4]], n_groups=6, diversity_penalty=100.0, min_new_tokens=2)
    assert len({one.ids[0] for one in found}) == 6


@pytest.mark.parametrize(("penalty", "with_padding", "without"), [(2.0, 85, 67), (0.0, None, None)])
def test_padding_that_is_an_end_token_counts_only_when_asked(
    penalty: float, with_padding: int | None, without: int | None
) -> None:
    """Where finished groups' padding is the end token, it keeps later groups from ending: 85 tokens instead of 67."""
    model = seeded_model("llama", 7)
    changes: dict[str, Any] = {
        "n_groups": 4,
        "pad_id": 1,
        "eos_ids": [1],
        "max_new_tokens": 14,
        "diversity_penalty": penalty,
    }
    counted, natural = (
        sum(len(one.ids) for row in search(model, PROMPTS, padding_counts=counts, **changes) for one in row)
        for counts in (True, False)
    )
    assert (counted, natural) == (with_padding, without) if penalty else counted == natural


def test_no_end_before_the_minimum_and_no_ngram_twice() -> None:
    found = search(seeded_model("gpt2", 10), PROMPTS, min_new_tokens=5, no_repeat_ngram_size=2, max_new_tokens=12)
    for one in (one for row in found for one in row):
        assert len(one.ids) > 5
        pairs = list(zip(one.ids, one.ids[1:], strict=False))
        assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_groups": 0}, "0 groups of 1 beams. Expected at least one group"),
        ({"diversity_penalty": -1.0}, "diversity_penalty is -1.0. Expected 0 or more"),
        ({"min_new_tokens": 9}, "min_new_tokens is 9 and max_new_tokens 8"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search(seeded_model("gpt2", 0), [[3]], **changes)


def test_the_cases_fit_the_models() -> None:
    assert len(CASES) == 78
    assert max(token for case in CASES for answer in case["answers"] for token in answer["prompt"]) < VOCABULARY
