"""The two stages that run a generator: the same texts whatever the batches, the neighbours and the interruptions."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from accord.candidates.decode import completions, decode_stage
from accord.candidates.diverse_beam import Hypothesis
from accord.candidates.generate import candidate_set, generate_stage
from accord.candidates.generators.causal import CausalGenerator
from accord.candidates.settings import DecodeSettings, GenerateSettings
from accord.errors import ArtifactError, ConfigError, DataError
from accord.json_files import read_json, read_jsonl
from accord.records import CandidateSet, Output, PromptRow
from toys import save_tiny_causal_lm, tiny_llama, word_tokenizer, write_rows

TEXTS = ["i feel sad", "my mother lost the job yesterday and i feel very tired", "why", "what should i do ?", "help me"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_causal_lm(tmp_path_factory.mktemp("model"), seed=3)


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    rows = [
        {
            "id": f"p{number}",
            "prompt": text,
            "references": ["sorry to hear that"],
            "group": f"g{number}",
            "split": split,
        }
        for number, (text, split) in enumerate(zip(TEXTS, ["train", "dev", "train", "test", "train"], strict=True))
    ]
    return write_rows(tmp_path / "prompts.jsonl", rows)


def generate_settings(model: str, **changes: Any) -> GenerateSettings:
    settings = GenerateSettings(
        model=model, num_candidates=4, max_new_tokens=7, min_new_tokens=1, diversity_penalty=2.0
    )
    return replace(settings, **changes)


def decode_settings(model: str, **changes: Any) -> DecodeSettings:
    return replace(DecodeSettings(model=model, max_new_tokens=7, samples=3, top_p=1.0), **changes)


def candidates_in(folder: Path) -> list[CandidateSet]:
    return list(read_jsonl(folder / "candidates.jsonl", CandidateSet))


def outputs_in(folder: Path) -> list[Output]:
    return list(read_jsonl(folder / "outputs.jsonl", Output))


def test_candidates_keep_what_the_prompt_row_says(model: str, prompts: Path, tmp_path: Path) -> None:
    folder = generate_stage(prompts, output_dir=tmp_path / "out", settings=generate_settings(model), seed=0)
    found = candidates_in(folder)
    assert [row.id for row in found] == ["p0", "p1", "p2", "p3", "p4"]
    assert [row.prompt for row in found] == TEXTS
    assert found[1].split == "dev"
    assert found[3].group == "g3"
    assert found[0].references == ("sorry to hear that",)
    for row in found:
        assert len(set(row.completions)) == len(row.completions)
        assert len(row.completions) == len(row.sum_logps) == len(row.n_tokens) == len(row.copies)
        assert sum(row.copies) == 4
        assert list(row.search_scores) == sorted(row.search_scores, reverse=True)
    results = {row["name"]: row["value"] for row in read_json(folder / "results.json")}
    assert results["candidates_per_prompt"] == sum(len(row.completions) for row in found) / 5
    assert results["cut_prompts"] == 0


def test_identical_texts_become_one_with_the_best_ones_numbers() -> None:
    """The second text differs in a special token alone, which leaves no trace in the text: 2 copies, score −0.5."""
    generator = CausalGenerator(tiny_llama(), word_tokenizer())
    sad, why, pad = generator.tokenizer.convert_tokens_to_ids(["sad", "why", "[PAD]"])
    hypotheses = [
        Hypothesis((sad, pad), (-1.0, -2.0), (-9.0, -9.0), -1.5, False),
        Hypothesis((why,), (-1.0,), (-9.0,), -1.0, False),
        Hypothesis((sad,), (-0.5,), (-9.0,), -0.5, False),
    ]
    assert candidate_set(PromptRow("p", "i"), hypotheses, generator) == CandidateSet(
        id="p",
        prompt="i",
        completions=("sad", "why"),
        sum_logps=(-0.5, -1.0),
        n_tokens=(1, 1),
        search_scores=(-0.5, -1.0),
        copies=(2, 1),
    )


@pytest.mark.parametrize("method", ["diverse_beam", "beam", "sample"])
def test_batching_changes_no_candidate(method: str, model: str, prompts: Path, tmp_path: Path) -> None:
    found = []
    for batch_tokens in (1, 100, 8192):
        settings = generate_settings(model, method=method, batch_tokens=batch_tokens)
        found.append(
            candidates_in(generate_stage(prompts, output_dir=tmp_path / str(batch_tokens), settings=settings, seed=1))
        )
    for other in found[1:]:
        assert [row.completions for row in other] == [row.completions for row in found[0]]
        for a, b in zip(other, found[0], strict=True):
            assert a.sum_logps == pytest.approx(b.sum_logps, abs=1e-4)


def test_settings_of_the_search_reach_it(model: str, prompts: Path, tmp_path: Path) -> None:
    """Each changes some candidate here; groups of several beams hold more than one completion."""
    changes: list[dict[str, Any]] = [
        {},
        {"beams_per_group": 2},
        {"repetition_penalty": 3.0},
        {"beams_per_group": 2, "early_stopping": "first"},
    ]
    found = []
    for number, change in enumerate(changes):
        settings = generate_settings(model, max_new_tokens=12, min_new_tokens=0, **change)
        found.append(
            candidates_in(generate_stage(prompts, output_dir=tmp_path / str(number), settings=settings, seed=0))
        )
    texts = [[row.completions for row in rows] for rows in found]
    assert len({str(one) for one in texts}) == len(changes)
    assert all(sum(row.copies) == 4 for rows in found for row in rows)


def test_groups_that_do_not_divide_are_refused_at_the_door(prompts: Path, tmp_path: Path) -> None:
    settings = generate_settings("no-such-model", beams_per_group=3)
    with pytest.raises(
        ConfigError, match=r"4 candidates do not divide into groups of 3 beams. Set num_candidates to a"
    ):
        generate_stage(prompts, output_dir=tmp_path / "out", settings=settings, seed=0)
    assert not (tmp_path / "out").exists()


def test_only_the_wanted_split(model: str, prompts: Path, tmp_path: Path) -> None:
    folder = generate_stage(
        prompts, output_dir=tmp_path / "out", settings=generate_settings(model), seed=0, splits=["train"]
    )
    assert [row.id for row in candidates_in(folder)] == ["p0", "p2", "p4"]


def test_samples_depend_on_seed_prompt_and_number_alone(model: str, prompts: Path, tmp_path: Path) -> None:
    def texts(name: str, seed: int, path: Path = prompts, **changes: Any) -> list[tuple[str, int, str]]:
        folder = decode_stage(
            path, system="base", output_dir=tmp_path / name, settings=decode_settings(model, **changes), seed=seed
        )
        return [(row.id, row.sample, row.completion) for row in outputs_in(folder)]

    three = texts("three", 0)
    assert [(prompt, sample) for prompt, sample, _ in three] == [(f"p{p}", s) for p in range(5) for s in range(3)]
    assert texts("one-by-one", 0, batch_tokens=1) == three
    assert texts("two", 0, samples=2) == [row for row in three if row[1] < 2]
    assert texts("other-seed", 1) != three
    fewer = write_rows(tmp_path / "fewer.jsonl", [{"id": "p3", "prompt": TEXTS[3]}])
    assert texts("fewer", 0, fewer) == [row for row in three if row[0] == "p3"]


def test_outputs_name_system_and_seed(model: str, prompts: Path, tmp_path: Path) -> None:
    settings = decode_settings(model, method="beam", samples=1, num_beams=3)
    folder = decode_stage(prompts, system="tuned", output_dir=tmp_path / "out", settings=settings, seed=7)
    first = outputs_in(folder)[0]
    assert (first.system, first.seed, first.sample, first.group) == ("tuned", 7, 0, "g0")
    assert len(outputs_in(folder)) == 5


class InterruptedRunError(Exception):
    pass


def test_an_interrupted_run_goes_on_and_writes_the_same_bytes(
    model: str, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One prompt a batch; the first run dies in its third batch."""
    settings = generate_settings(model, batch_tokens=1)
    whole = generate_stage(prompts, output_dir=tmp_path / "whole", settings=settings, seed=0)
    calls: list[Sequence[str]] = []

    def dies(generator: Any, prompt_ids: Any, names: Sequence[str], **options: Any) -> Any:
        calls.append(names)
        if len(calls) == 3:
            raise InterruptedRunError
        return completions(generator, prompt_ids, names, **options)

    monkeypatch.setattr("accord.candidates.generate.completions", dies)
    with pytest.raises(InterruptedRunError):
        generate_stage(prompts, output_dir=tmp_path / "torn", settings=settings, seed=0)
    assert not (tmp_path / "torn" / "manifest.json").exists()
    torn = generate_stage(prompts, output_dir=tmp_path / "torn", settings=settings, seed=0)
    assert len(calls) == 3 + 3  # the third batch is done again, the first two are not
    for name in ("candidates.jsonl", "results.json", "manifest.json"):
        assert (torn / name).read_bytes() == (whole / name).read_bytes()


def test_finished_work_is_reused_and_other_settings_are_refused(model: str, prompts: Path, tmp_path: Path) -> None:
    settings = generate_settings(model)
    folder = generate_stage(prompts, output_dir=tmp_path / "out", settings=settings, seed=0)
    written = (folder / "manifest.json").stat().st_mtime_ns
    generate_stage(prompts, output_dir=tmp_path / "out", settings=settings, seed=0)
    assert (folder / "manifest.json").stat().st_mtime_ns == written
    with pytest.raises(ArtifactError, match="diversity_penalty"):
        generate_stage(prompts, output_dir=tmp_path / "out", settings=replace(settings, diversity_penalty=0.5), seed=0)


def test_a_model_counts_by_its_content_not_by_its_path(prompts: Path, tmp_path: Path) -> None:
    fingerprints = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        model = save_tiny_causal_lm(tmp_path / name, seed=seed)
        folder = generate_stage(prompts, output_dir=tmp_path / f"out-{name}", settings=generate_settings(model), seed=0)
        fingerprints.append(read_json(folder / "stage.json")["fingerprint"])
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_a_long_prompt_loses_its_beginning_and_is_counted(model: str, prompts: Path, tmp_path: Path) -> None:
    """The cut prompt "… very tired" answers like a prompt that was that short."""
    settings = generate_settings(model, max_prompt_tokens=4)
    folder = generate_stage(prompts, output_dir=tmp_path / "cut", settings=settings, seed=0)
    results = {row["name"]: row["value"] for row in read_json(folder / "results.json")}
    assert results["cut_prompts"] == 2
    short = write_rows(tmp_path / "short.jsonl", [{"id": "p1", "prompt": "i feel very tired"}])
    other = generate_stage(short, output_dir=tmp_path / "short", settings=settings, seed=0)
    assert candidates_in(other)[0].completions == candidates_in(folder)[1].completions


def test_several_samples_need_sampling(model: str, prompts: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="samples is 3 with method 'greedy', which gives the same text each time"):
        decode_stage(
            prompts,
            system="base",
            output_dir=tmp_path / "out",
            settings=decode_settings(model, method="greedy"),
            seed=0,
        )


def test_bad_prompt_files_are_named(model: str, tmp_path: Path) -> None:
    def run(path: Path, splits: Sequence[str] = ()) -> None:
        generate_stage(path, output_dir=tmp_path / "out", settings=generate_settings(model), seed=0, splits=splits)

    twice = write_rows(tmp_path / "twice.jsonl", [{"id": "p", "prompt": "why"}, {"id": "p", "prompt": "how"}])
    with pytest.raises(DataError, match="id 'p' occurs twice"):
        run(twice)
    one = write_rows(tmp_path / "one.jsonl", [{"id": "p", "prompt": "why"}])
    (tmp_path / "out" / "stage.json").unlink()
    with pytest.raises(DataError, match="has no prompt of split 'dev'"):
        run(one, splits=["dev"])


def test_json_records_round_trip(model: str, prompts: Path, tmp_path: Path) -> None:
    folder = generate_stage(prompts, output_dir=tmp_path / "out", settings=generate_settings(model), seed=0)
    for row in candidates_in(folder):
        assert msgspec.json.decode(msgspec.json.encode(row), type=CandidateSet) == row
