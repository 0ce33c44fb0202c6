"""Strategies: whose is followed, how one is drawn, and what is recorded."""

from pathlib import Path
from typing import Any

import pytest
import torch

from accord.candidates.decode import decode_stage
from accord.candidates.generate import generate_stage
from accord.candidates.generators.blender import STRATEGIES, BlenderJointGenerator
from accord.candidates.generators.causal import CausalGenerator
from accord.candidates.generators.load import KIND_KEY
from accord.candidates.generators.multiesc import MultiEscGenerator
from accord.candidates.settings import DecodeSettings, GenerateSettings
from accord.candidates.strategies import chosen_strategies, prompt_for, with_strategy
from accord.errors import ConfigError, DataError
from accord.json_files import read_json, read_jsonl
from accord.records import CandidateSet, Message, Output, PromptRow
from toys import save_tiny_causal_lm, tiny_joint, tiny_llama, tiny_multiesc, word_tokenizer, write_rows

ROWS = [PromptRow(f"p{number}", "i feel sad", ("sorry .",), strategy="Others") for number in range(300)]


class Likely(BlenderJointGenerator):
    """Finds the first four strategies likely: 0.5, 0.3, 0.15 and 0.05 of what the eight share."""

    def strategy_logits(self, prompt_ids: Any) -> torch.Tensor:
        probs = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0, 0.0, 0.0, 0.0])
        return probs.log().expand(len(prompt_ids), 8)


@pytest.fixture(scope="module")
def likely() -> Likely:
    return Likely(*tiny_joint(10), name="joint")


def chosen(generator: Any, rows: list[PromptRow] = ROWS, **options: Any) -> list[str | None]:
    given: dict[str, Any] = {"choice": "predicted", "max_prompt_tokens": 99, "batch_tokens": 100, "seed": 0} | options
    return [row.strategy for row in chosen_strategies(rows, generator, **given)]


def test_the_strategy_comes_as_a_last_message_without_text() -> None:
    asked = Message("assistant", "", "Others")
    assert with_strategy("why", "Others") == (Message("user", "why"), asked)
    assert with_strategy((Message("user", "a"), Message("assistant", "b")), "Others")[-1] == asked


def test_only_generators_that_take_one_are_given_one(likely: Likely) -> None:
    plain = CausalGenerator(tiny_llama(), word_tokenizer())
    assert prompt_for(ROWS[0], plain) == "i feel sad"
    assert chosen(plain, ROWS[:2]) == [None, None]
    assert prompt_for(ROWS[0], likely) == with_strategy("i feel sad", "Others")
    with pytest.raises(DataError, match=r"prompt 'p' has no strategy, but generator 'joint' writes after one"):
        prompt_for(PromptRow("p", "why"), likely)


def test_predictions_are_drawn_from_the_nucleus(likely: Likely) -> None:
    """p = 0.9 keeps 0.5, 0.3 and 0.15: shares 10/19, 6/19, 3/19 of 300, whose standard errors are below 9."""
    drawn = chosen(likely)
    counts = [drawn.count(name) for name in STRATEGIES]
    assert counts[3:] == [0, 0, 0, 0, 0]
    for count, share in zip(counts, (10 / 19, 6 / 19, 3 / 19), strict=False):
        assert abs(count - 300 * share) < 4 * 9


def test_draws_are_keyed_by_seed_and_row(likely: Likely) -> None:
    drawn = chosen(likely)
    assert chosen(likely, ROWS[5:9]) == chosen(likely, ROWS[5:9], batch_tokens=1) == drawn[5:9]
    assert chosen(likely, seed=1) != drawn


def test_the_likeliest_and_the_rows_own(likely: Likely) -> None:
    assert chosen(likely, ROWS[:2], choice="argmax") == ["Question", "Question"]
    assert chosen(likely, ROWS[:2], choice="gold") == ["Others", "Others"]


def test_logits_of_the_strategies_are_those_of_the_first_token() -> None:
    joint = BlenderJointGenerator(*tiny_joint(10))
    prompts = [[10, 11, 12], [20]]
    logits = joint.strategy_logits(prompts)
    start = torch.tensor([joint.start_ids])
    for row, prompt in enumerate(prompts):
        plain = joint.model(input_ids=torch.tensor([prompt]), decoder_input_ids=start).logits[0, -1]
        torch.testing.assert_close(logits[row], plain[list(joint.forbidden_tokens)], atol=1e-5, rtol=0)


def test_a_generator_that_cannot_choose() -> None:
    generator = MultiEscGenerator(*tiny_multiesc(), name="multi")
    with pytest.raises(
        ConfigError, match=r"strategy is 'argmax', but generator 'multi' cannot choose one. Set strategy"
    ):
        chosen(generator, choice="argmax")


# -- stages -----------------------------------------------------------------------------------------------------

CHAT = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "tell me", "strategy": "Question"},
    {"role": "user", "content": "i feel sad"},
]


@pytest.fixture(scope="module")
def joint_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("joint")
    model, tokenizer = tiny_joint(10)
    tokenizer.init_kwargs[KIND_KEY] = "blender-joint"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    rows = [
        {"id": f"p{number}", "prompt": CHAT[-1 - number % 3 :], "references": ["sorry ."], "strategy": strategy}
        for number, strategy in enumerate(("Question", "Others", "Information", "Self-disclosure"))
    ]
    return write_rows(tmp_path / "prompts.jsonl", rows)


def decoded(prompts: Path, folder: Path, model: str, **options: Any) -> list[Output]:
    settings = DecodeSettings(model=model, max_new_tokens=6, max_reference_tokens=20, batch_tokens=100, **options)
    stage = decode_stage(prompts, system="s", output_dir=folder, settings=settings, seed=0)
    return list(read_jsonl(stage / "outputs.jsonl", Output))


def test_outputs_say_which_strategy_was_followed(joint_folder: str, prompts: Path, tmp_path: Path) -> None:
    """Gold and predicted differ in strategy and text; what the generator thinks of a reference does not change."""
    gold = decoded(prompts, tmp_path / "gold", joint_folder, strategy="gold")
    assert [row.strategy for row in gold] == ["Question", "Others", "Information", "Self-disclosure"]
    predicted = decoded(prompts, tmp_path / "predicted", joint_folder)
    assert [row.strategy for row in predicted] != [row.strategy for row in gold]
    assert {row.strategy for row in predicted} <= set(STRATEGIES)
    assert [row.completion for row in predicted] != [row.completion for row in gold]
    assert [row.reference_logp for row in predicted] == [row.reference_logp for row in gold]
    n_right = sum(one.strategy == other.strategy for one, other in zip(predicted, gold, strict=True))
    shares = [read_json(tmp_path / name / "results.json")[-1] for name in ("gold", "predicted")]
    assert [(share["name"], share["value"]) for share in shares] == [
        ("annotated_strategies", 1.0),
        ("annotated_strategies", n_right / 4),
    ]
    assert read_json(tmp_path / "predicted" / "stage.json")["settings"]["strategy"] == "predicted"
    assert [row.prompt for row in gold] == [row.prompt for row in read_jsonl(prompts, PromptRow)]


def test_candidates_carry_the_strategy_that_they_were_written_for(
    joint_folder: str, prompts: Path, tmp_path: Path
) -> None:
    settings = GenerateSettings(model=joint_folder, num_candidates=4, max_new_tokens=6, batch_tokens=100)
    stage = generate_stage(prompts, output_dir=tmp_path / "out", settings=settings, seed=0)
    rows = list(read_jsonl(stage / "candidates.jsonl", CandidateSet))
    assert [row.strategy for row in rows] == ["Question", "Others", "Information", "Self-disclosure"]
    assert not any("[" in text for row in rows for text in row.completions)


def test_a_plain_generator_reads_the_rows_as_if_there_were_no_strategies(prompts: Path, tmp_path: Path) -> None:
    model = save_tiny_causal_lm(tmp_path / "model")
    bare = write_rows(
        tmp_path / "bare.jsonl",
        [
            {"id": f"p{number}", "prompt": [{**one, "strategy": None} for one in CHAT[-1 - number % 3 :]]}
            | {"references": ["sorry ."]}
            for number in range(4)
        ],
    )
    found = decoded(prompts, tmp_path / "with", model)
    assert [row.strategy for row in found] == [None] * 4
    assert read_json(tmp_path / "with" / "results.json")[-1]["name"] == "padding_share"
    expected = decoded(bare, tmp_path / "without", model)
    assert [(row.completion, row.reference_logp) for row in found] == [
        (row.completion, row.reference_logp) for row in expected
    ]
