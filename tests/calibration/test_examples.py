"""From rows to examples: token ids, cut prompts, what the shuffled control shuffles."""

import pytest

from accord.calibration.examples import Example, encode_rows, require_references
from accord.candidates.generators.causal import CausalGenerator
from accord.errors import ConfigError
from accord.records import CandidateSet, Split
from toys import tiny_llama, word_tokenizer


def row(number: int, *, group: str | None = None, split: Split | None = None) -> CandidateSet:
    return CandidateSet(
        id=f"p{number}",
        prompt="i feel sad about my work .",
        completions=("sorry .", "stop .", "go home !", "what did you feel ?"),
        sum_logps=(0.0,) * 4,
        n_tokens=(3, 3, 3, 6),
        search_scores=(0.0,) * 4,
        scores=(0.4, 0.3, 0.2, 0.1),
        references=("that sounds hard .",),
        group=group,
        split=split,
    )


def toy_generator() -> CausalGenerator:
    return CausalGenerator(tiny_llama(), word_tokenizer(), chat=False)


def encoded(rows: list[CandidateSet], *, score_control: str = "none", seed: int = 1, limit: int = 99) -> list[Example]:
    return encode_rows(rows, toy_generator(), max_prompt_tokens=limit, score_control=score_control, seed=seed)


def test_shuffled_scores_are_a_permutation_keyed_by_prompt() -> None:
    """The same prompt and seed shuffle alike, whatever else is in the file; different prompts do not."""
    together = encoded([row(0), row(1), row(2)], score_control="shuffled")
    assert all(sorted(example.scores) == [0.1, 0.2, 0.3, 0.4] for example in together)
    assert all(example.true_scores == [0.4, 0.3, 0.2, 0.1] for example in together)
    assert encoded([row(2)], score_control="shuffled")[0].scores == together[2].scores
    assert len({tuple(e.scores) for e in encoded([row(n) for n in range(9)], score_control="shuffled")}) > 1


def test_a_long_prompt_loses_its_beginning_and_is_counted() -> None:
    whole, cut = encoded([row(0)])[0], encoded([row(0)], limit=3)[0]
    assert cut.prompt_ids == whole.prompt_ids[-3:]
    assert (whole.n_cut, cut.n_cut) == (0, len(whole.prompt_ids) - 3)
    assert cut.candidate_ids == whole.candidate_ids


def test_a_candidate_that_never_ended_gets_no_end() -> None:
    """ "go home !" has three tokens. Written with three (and so cut), it keeps three; with four it ends."""
    example = encoded([row(0)])[0]
    assert [len(ids) for ids in example.candidate_ids] == [3, 3, 3, 6]
    assert [ids[-1] == toy_generator().end_id for ids in example.candidate_ids] == [True, True, False, True]
    assert example.n_unfinished == 1
    assert example.reference_ids[0][-1] == toy_generator().end_id


def test_weights_that_leave_nothing_to_learn_are_refused() -> None:
    examples = encoded([row(0)])
    with pytest.raises(ConfigError, match="at least one above 0"):
        require_references(examples, ranking_weight=0.0, reference_weight=0.0)
    without = [examples[0]._replace(reference_ids=[])]
    with pytest.raises(ConfigError, match="no row has references"):
        require_references(without, ranking_weight=1.0, reference_weight=1.0)
    require_references(without, ranking_weight=1.0, reference_weight=0.0)
