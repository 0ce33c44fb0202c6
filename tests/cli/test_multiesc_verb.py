"""`accord multiesc`, and a MultiESC generator through the verbs: built, tuned, asked for candidates, calibrated."""

import json
from pathlib import Path

import msgspec
import pytest

from accord.candidates.generators.load import load_generator
from accord.candidates.generators.multiesc import STRATEGIES as ALL_STRATEGIES
from accord.candidates.generators.multiesc import MultiEscGenerator, strategy_token
from accord.cli.main import main
from accord.json_files import read_jsonl, write_jsonl
from accord.records import CandidateSet, Message, Output, PromptRow
from toys import save_tiny_encoder, tiny_bart, word_tokenizer

STRATEGIES = ("Question", "Reflection of feelings", "Information")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """bart/, vad.txt and prompts.jsonl: nine conversations, three of them for validation."""
    tiny_bart(3).save_pretrained(tmp_path / "bart")
    word_tokenizer(frame="<s> $A </s>").save_pretrained(tmp_path / "bart")
    (tmp_path / "vad.txt").write_text("sad\t0.2\t0.3\t0.1\nhappy\t0.9\t0.7\t0.6\n")
    write_jsonl(tmp_path / "prompts.jsonl", [_row(number) for number in range(9)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _row(number: int) -> PromptRow:
    strategy = STRATEGIES[number % 3]
    prompt = (Message("user", "I feel sad"), Message("assistant", "why ?", strategy), Message("user", "my job"))
    reference = f"{('why', 'i hear you', 'try')[number % 3]} {('work', 'sleep', 'talk')[number // 3]}"
    return PromptRow(
        id=f"p{number}",
        prompt=prompt,
        references=(reference,),
        group=f"d{number}",
        split="dev" if number > 5 else "train",
        strategy=strategy,
    )


@pytest.mark.slow
def test_from_a_bart_to_texts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def accord(line: str) -> str:
        assert main(line.split()) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    out = accord("multiesc generator bart --vad vad.txt --output-dir m")
    assert "tokens: 14 special, 65 unknown, 2 in the lexicon, 4 punctuation" in out
    assert accord("multiesc generator bart --vad vad.txt --output-dir m").startswith("m (was finished already: reused)")
    training = "--epochs 1 --batch-size 3 --micro-batch-size 2"
    accord(f"tune prompts.jsonl --model m --output-dir t --tuning full {training}")
    decoding = "--max-new-tokens 6 --batch-tokens 300"
    accord(f"generate prompts.jsonl --model t --output-dir c --num-candidates 3 {decoding}")
    candidates = list(read_jsonl(folder / "c" / "candidates.jsonl", CandidateSet))
    assert [row.strategy for row in candidates] == [STRATEGIES[number % 3] for number in range(9)]
    scored = [
        msgspec.structs.replace(row, scores=tuple(float(len(text)) for text in row.completions)) for row in candidates
    ]
    write_jsonl(folder / "scored.jsonl", scored)
    for tuning in ("lora", "full"):
        options = f"--tuning {tuning} --lora-r 2 --lora-layers all"
        accord(f"calibrate scored.jsonl --model t --output-dir {tuning} {options} {training}")
        accord(f"decode prompts.jsonl --model {tuning} --system s --strategy gold --output-dir o{tuning} {decoding}")
        outputs = list(read_jsonl(folder / f"o{tuning}" / "outputs.jsonl", Output))
        assert len(outputs) == 9
        assert not any(strategy_token("Question") in output.completion for output in outputs)
        assert isinstance(load_generator(tuning, device="cpu"), MultiEscGenerator)


@pytest.mark.slow
def test_from_prompts_to_planned_replies(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sequences of strategies, a generator of them, its beams, the predictor of feedback, the plan, the replies."""

    def accord(line: str) -> str:
        assert main(line.split()) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    tokenizer = word_tokenizer(frame="<s> $A </s>")
    tokenizer.add_tokens([strategy_token(name) for name in ALL_STRATEGIES])
    bart = tiny_bart(3)
    bart.resize_token_embeddings(len(tokenizer))
    bart.final_logits_bias.zero_()
    bart.save_pretrained(folder / "planner")
    tokenizer.save_pretrained(folder / "planner")
    save_tiny_encoder(folder / "encoder")

    out = accord("multiesc sequences prompts.jsonl --output-dir s")
    assert "next: accord tune s/prompts.jsonl --model MODEL" in out
    training = "--epochs 20 --batch-size 3 --learning-rate 0.01 --patience 99 --tuning full"
    accord(f"tune s/prompts.jsonl --model planner --output-dir sg {training}")
    decoding = "--method beam --num-candidates 6 --max-new-tokens 6 --min-new-tokens 2 --no-trim-unfinished"
    accord(f"generate s/prompts.jsonl --model sg --output-dir beams {decoding}")
    accord("multiesc feedback beams --model encoder --vad vad.txt --output-dir f --epochs 1")
    assert "9 prompts planned" in accord("multiesc plan prompts.jsonl --candidates beams --feedback f --output-dir p")
    accord("multiesc generator bart --vad none --output-dir m")
    accord("decode p/prompts.jsonl --model m --strategy gold --system s --output-dir o --max-new-tokens 6")
    planned = {row.id: row.strategy for row in read_jsonl(folder / "p" / "prompts.jsonl", PromptRow)}
    outputs = list(read_jsonl(folder / "o" / "outputs.jsonl", Output))
    assert {row.id: row.strategy for row in outputs} == planned
    assert set(planned.values()) <= set(ALL_STRATEGIES)


def test_a_row_without_a_strategy_takes_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("multiesc generator bart --vad none --output-dir m".split()) == 0
    assert json.loads((folder / "m" / "summary.json").read_text()) == {"unknown": 85}
    write_jsonl(folder / "bare.jsonl", [PromptRow("p1", "i feel sad", ("why ?",))])
    capsys.readouterr()
    assert main("decode bare.jsonl --model m --system s --strategy gold --output-dir o".split()) == 2
    assert "prompt 'p1' has no strategy" in capsys.readouterr().err


def test_the_lexicon_must_be_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("multiesc generator bart --output-dir m".split()) == 2
    assert "vad is not set. Expected --vad FILE, or --vad none" in capsys.readouterr().err
    assert main("multiesc generator bart --vad no.txt --output-dir m".split()) == 2
    assert "free for research, not to be passed on" in capsys.readouterr().err
    assert not (folder / "m").exists()
