"""`model.generate(custom_generate=accord.diverse_beam_search)` against the last transformers that had it built in."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    DynamicCache,
    ForcedEOSTokenLogitsProcessor,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TextStreamer,
)
from transformers.generation.utils import GenerateBeamDecoderOnlyOutput, GenerateBeamEncoderDecoderOutput

import accord
from accord.candidates.diverse_beam import diverse_beams
from accord.candidates.generators.causal import CausalGenerator
from accord.candidates.generators.seq2seq import Seq2SeqGenerator
from accord.candidates.processors import build_processors
from accord.errors import ConfigError
from beam_models import TENSORS, seeded_model
from toys import save_tiny_causal_lm, word_tokenizer

CASES = Path(__file__).parent.parent / "cases"
BATCHES = json.loads((CASES / "diverse_beam_batches.json").read_text())["cases"]
SINGLE = json.loads((CASES / "diverse_beam.json").read_text())["cases"]
KINDS = ["gpt2", "llama", "t5", "bart"]
PROMPTS = torch.tensor([[3, 4, 5, 9], [12, 13, 14, 15]])
GROUPS = {
    "num_beams": 4,
    "num_beam_groups": 2,
    "diversity_penalty": 1.0,
    "num_return_sequences": 4,
    "max_new_tokens": 6,
}
CORE_PROCESSORS = {"no_repeat_ngram_size", "repetition_penalty"}
CORE = {"max_new_tokens", "min_new_tokens", "diversity_penalty", "length_penalty", "early_stopping", *CORE_PROCESSORS}
CALL = {"inputs", "attention_mask", "eos_token_id", "pad_token_id", "num_beams", "num_beam_groups"}


def name_of(case: dict[str, Any]) -> str:
    return f"{case['kind']}-{case['seed']}"


def generated(model: Any, **arguments: Any) -> Any:
    """The beam output of the search; `arguments` as `generate` takes them, plain lists for tensors."""
    tensors = {name: torch.as_tensor(arguments[name]) for name in TENSORS if name in arguments}
    settings = {"do_sample": False, "return_dict_in_generate": True, "custom_generate": accord.diverse_beam_search}
    return model.generate(**{**settings, **arguments, **tensors})


def search(kind: str = "llama", seed: int = 4, **arguments: Any) -> Any:
    prompts = {"inputs": PROMPTS, "attention_mask": torch.ones_like(PROMPTS), "pad_token_id": {"bart": 1}.get(kind, 0)}
    return generated(seeded_model(kind, seed), **{**prompts, **GROUPS, **arguments})


@pytest.mark.parametrize("case", BATCHES, ids=name_of)
def test_padded_batches_equal_transformers_4_56(case: dict[str, Any]) -> None:
    output = generated(seeded_model(case["kind"], case["seed"]), **case["arguments"])
    assert output.sequences.tolist() == case["sequences"]
    assert output.sequences_scores.tolist() == pytest.approx(case["scores"], rel=1e-6, abs=1e-5)


@pytest.mark.parametrize("case", SINGLE[::5], ids=name_of)
def test_single_prompts_equal_transformers_4_56(case: dict[str, Any]) -> None:
    """Every fifth case; they hold completions up to their ends, without padding. The search itself is tested on all."""
    settings = dict(case["settings"])
    n_groups, n_beams, ends = settings.pop("n_groups"), settings.pop("beams_per_group"), settings.pop("eos_ids")
    tokens = {"eos_token_id": ends, "pad_token_id": settings.pop("pad_id")}
    groups = {"num_beams": n_groups * n_beams, "num_beam_groups": n_groups, "num_return_sequences": n_groups * n_beams}
    model = seeded_model(case["kind"], case["seed"])
    for answer in case["answers"]:
        prompt = [answer["prompt"]]
        mask = torch.ones(1, len(prompt[0]), dtype=torch.int64)
        output = generated(model, inputs=prompt, attention_mask=mask, **groups, **tokens, **settings)
        for row, expected in zip(output.sequences[:, mask.shape[1] :].tolist(), answer["sequences"], strict=True):
            assert row[: len(expected)] == expected
            assert set(row[len(expected) :]) <= {tokens["pad_token_id"]}
        assert output.sequences_scores.tolist() == pytest.approx(answer["scores"], rel=1e-6, abs=1e-5)


def is_of_the_core(case: dict[str, Any]) -> bool:
    """Nothing is asked that `diverse_beams` leaves to `generate`: no end, say, that is both forced and too early."""
    arguments = case["arguments"]
    clashes = case["kind"] == "bart" and arguments.get("min_new_tokens") == arguments.get("max_new_tokens")
    return set(arguments) - CALL - CORE == {"num_return_sequences"} and not clashes


@pytest.mark.parametrize("case", [case for case in BATCHES if is_of_the_core(case)], ids=name_of)
def test_the_search_behind_the_generator_protocol_finds_the_same(case: dict[str, Any]) -> None:
    """Rows that share their prompts. Processors see what those of `generate` see: a causal model's padded prompts, a
    decoder's start. BART's config forces an end at the limit, which is `generate`'s to do."""
    arguments, model = case["arguments"], seeded_model(case["kind"], case["seed"])
    rows, masks = arguments["inputs"], arguments["attention_mask"]
    prompts = [[token for token, kept in zip(*one, strict=True) if kept] for one in zip(rows, masks, strict=True)]
    generator: CausalGenerator | Seq2SeqGenerator
    if model.config.is_encoder_decoder:
        generator = Seq2SeqGenerator(model, word_tokenizer())
        starts = [generator.start_ids] * len(rows)
    else:
        generator, starts = CausalGenerator(model, word_tokenizer(), chat=False), rows
    assert generator._shares_prompts
    settings = {name: value for name, value in arguments.items() if name in CORE - CORE_PROCESSORS}
    processors = build_processors(**{name: arguments[name] for name in CORE_PROCESSORS if name in arguments})
    if model.generation_config.forced_eos_token_id is not None:
        limit = len(starts[0]) + arguments["max_new_tokens"]
        processors.append(ForcedEOSTokenLogitsProcessor(limit, model.generation_config.forced_eos_token_id))
    found = diverse_beams(
        generator.encode(prompts),
        n_groups=arguments["num_beam_groups"],
        beams_per_group=arguments["num_beams"] // arguments["num_beam_groups"],
        eos_ids=arguments["eos_token_id"],
        pad_id=arguments["pad_token_id"],
        prefixes=starts,
        processors=processors,
        **settings,
    )
    best = [one for hypotheses in found for one in hypotheses[: arguments["num_return_sequences"]]]
    assert [one.search_score for one in best] == pytest.approx(case["scores"], rel=1e-6, abs=1e-5)
    for one, expected in zip(best, case["sequences"], strict=True):
        ids = [*one.ids[:-1], arguments["eos_token_id"][0]] if one.is_finished else list(one.ids)
        assert expected[len(starts[0]) :][: len(ids)] == ids


def test_the_cases_cover_all_kinds_and_numbers_of_groups() -> None:
    assert {case["kind"] for case in BATCHES} == set(KINDS)
    assert {case["arguments"]["num_beam_groups"] for case in BATCHES} == {2, 3, 5, 10}
    assert len(BATCHES) == 90


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_groups", [2, 4])
def test_every_prompt_is_read_once_and_each_step_reads_one_token(
    kind: str, n_groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 prompts of 4 tokens: first 2 rows, then 2 · 4 beams; an encoder-decoder's first step reads its start token."""
    seen: list[tuple[int, ...]] = []
    model = seeded_model(kind, 4)
    forward = type(model).forward

    def watched(self: Any, *args: Any, **inputs: Any) -> Any:
        seen.append(tuple(inputs["decoder_input_ids" if self.config.is_encoder_decoder else "input_ids"].shape))
        return forward(self, *args, **inputs)

    watched.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]  # generate looks for its arguments
    monkeypatch.setattr(type(model), "forward", watched)
    settings = {"num_beams": 4, "num_beam_groups": n_groups, "diversity_penalty": 1.0, "min_new_tokens": 5}
    generated(model, inputs=PROMPTS, attention_mask=torch.ones_like(PROMPTS), max_new_tokens=5, **settings)
    first = 1 if kind in ("t5", "bart") else 4
    assert seen == [(2, first), *[(8, 1)] * 4]


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_the_cache_is_reordered_only_where_a_group_has_several_beams(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once to spread the prompts over the beams, then once a step."""
    reordered: list[int] = []
    reorder = DynamicCache.reorder_cache

    def watched(self: DynamicCache, rows: torch.Tensor) -> None:
        reordered.append(len(rows))
        reorder(self, rows)

    monkeypatch.setattr(DynamicCache, "reorder_cache", watched)
    caches = 2 if kind == "t5" else 1  # an encoder-decoder spreads two caches, and moves its own alone
    search(kind, num_beam_groups=4, min_new_tokens=6)
    assert reordered == [8] * caches
    reordered.clear()
    search(kind, num_beam_groups=2, min_new_tokens=6)
    assert reordered == [8] * (caches + 5)


@pytest.mark.parametrize("kind", KINDS)
def test_return_types(kind: str) -> None:
    output = search(kind)
    dataclass = GenerateBeamEncoderDecoderOutput if kind in ("t5", "bart") else GenerateBeamDecoderOnlyOutput
    assert type(output) is dataclass
    assert output.sequences.dtype == torch.int64
    assert output.sequences_scores.shape == (8,)
    assert torch.equal(search(kind, return_dict_in_generate=False), output.sequences)


@pytest.mark.parametrize("kind", KINDS)
def test_fewer_sequences_are_the_best_ones(kind: str) -> None:
    """Rows of two prompts: the first of each four."""
    every, best = search(kind), search(kind, num_return_sequences=1)
    assert best.sequences_scores.tolist() == every.sequences_scores[::4].tolist()


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_left_padding_changes_nothing(kind: str) -> None:
    """
    prompt | alone   | beside a longer one
    1      | 9 4     | . . 9 4
    2      | 3 4 5 9 | 3 4 5 9
    """
    together = search(kind, inputs=[[0, 0, 9, 4], [3, 4, 5, 9]], attention_mask=[[0, 0, 1, 1], [1, 1, 1, 1]])
    short, long = (search(kind, inputs=[row], attention_mask=[[1] * len(row)]) for row in ([9, 4], [3, 4, 5, 9]))
    expected = [row[2:] for row in short.sequences.tolist()] + [row[4:] for row in long.sequences.tolist()]
    assert [row[4:] for row in together.sequences.tolist()] == expected
    scores = [*short.sequences_scores.tolist(), *long.sequences_scores.tolist()]
    assert together.sequences_scores.tolist() == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_an_encoder_does_not_read_padding_without_a_mask(kind: str) -> None:
    """transformers 5 alone reads it, 4.56 did not."""
    pad = {"t5": 0, "bart": 1}[kind]
    inputs = [[3, 4, pad, pad], [12, 13, 14, 15]]
    masked = search(kind, inputs=inputs, attention_mask=[[1, 1, 0, 0], [1, 1, 1, 1]])
    unmasked = generated(seeded_model(kind, 4), inputs=inputs, pad_token_id=pad, **GROUPS)
    assert torch.equal(unmasked.sequences, masked.sequences)
    assert unmasked.sequences_scores.tolist() == pytest.approx(masked.sequences_scores.tolist(), abs=1e-6)


def test_groups_and_penalty_may_stand_in_the_generation_config() -> None:
    config = GenerationConfig(**GROUPS, pad_token_id=0, return_dict_in_generate=True)
    mask = torch.ones_like(PROMPTS)
    output = seeded_model("llama", 4).generate(
        PROMPTS, attention_mask=mask, generation_config=config, custom_generate=accord.diverse_beam_search
    )
    assert torch.equal(output.sequences, search().sequences)


def test_one_group_is_the_beam_search_of_transformers() -> None:
    mine = search(num_beam_groups=1)
    theirs = search(num_beam_groups=1, diversity_penalty=None, custom_generate=None, output_scores=True)
    assert torch.equal(mine.sequences, theirs.sequences)
    assert mine.sequences_scores.tolist() == pytest.approx(theirs.sequences_scores.tolist(), abs=1e-5)


class Ban(LogitsProcessor):
    """No token 11, written into the scores in place as users do; counts the rows of each call."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.rows.append(len(input_ids))
        scores[:, 11] = -torch.inf
        return scores


def test_processors_of_the_user_see_one_group_at_a_time() -> None:
    """2 prompts · 2 beams a group, 2 groups, 6 steps."""
    ban = Ban()
    output = search(logits_processor=LogitsProcessorList([ban]), min_new_tokens=6)
    assert ban.rows == [4] * 12
    assert 11 in search(min_new_tokens=6).sequences[:, 4:]
    assert 11 not in output.sequences[:, 4:]


class Length(StoppingCriteria):
    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        assert scores is None
        return torch.full((len(input_ids),), input_ids.shape[1] >= 7)


def test_stopping_criteria_of_the_user_end_the_search() -> None:
    """4 prompt tokens, 3 new ones, and an end where there is room for it, as transformers 4.56 writes it."""
    output = search(stopping_criteria=StoppingCriteriaList([Length()]), min_new_tokens=4)
    assert output.sequences.shape == (8, 8)
    assert set(output.sequences[:, 7].tolist()) == {2}


def test_a_model_without_an_end_token_writes_to_the_limit() -> None:
    output = search(eos_token_id=None, pad_token_id=None)
    assert output.sequences.shape == (8, 10)


def test_a_prompt_may_be_given_as_embeddings() -> None:
    model = seeded_model("llama", 4)
    with torch.no_grad():
        embedded = model.get_input_embeddings()(PROMPTS)
    output = generated(model, inputs_embeds=embedded, pad_token_id=0, **GROUPS)
    assert torch.equal(output.sequences, search().sequences[:, 4:])


def test_half_precision_gives_scores_in_single() -> None:
    model = seeded_model("t5", 3).to(torch.bfloat16)
    output = generated(model, inputs=PROMPTS, **GROUPS)
    assert output.sequences_scores.dtype == torch.float32
    assert output.sequences.shape[0] == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_beam_groups": None}, "num_beam_groups is not set. .* pass num_beam_groups=4 for one beam each, 1 for"),
        ({"num_beam_groups": 3}, "num_beams is 4 and num_beam_groups 3. Expected as many beams in every group"),
        ({"diversity_penalty": None}, "diversity_penalty is 0.0, which makes all 2 groups alike. Pass a"),
        ({"diversity_penalty": -1.0}, "diversity_penalty is -1.0, which"),
        ({"do_sample": True}, "do_sample is True. It draws nothing"),
        ({"force_words_ids": [[5]]}, "force_words_ids is list. Forced words are not searched for"),
        ({"output_attentions": True}, "output_attentions is True. Call the model once more"),
        ({"output_hidden_states": True}, "output_hidden_states is True. Call the model"),
        ({"output_logits": True}, "output_logits is True. Call the model"),
        ({"guidance_scale": 1.5}, "guidance_scale is 1.5. Guidance keeps"),
        ({"prompt_lookup_num_tokens": 3}, "prompt_lookup_num_tokens is 3. Assisted decoding"),
        ({"assistant_model": seeded_model("llama", 0)}, "assistant_model is LlamaForCausalLM. Assisted decoding"),
        ({"cache_implementation": "static"}, "the cache is a StaticCache. Expected a DynamicCache"),
    ],
)
def test_what_the_search_does_not_do_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"diverse_beam_search: {message}"):
        search(**changes)


def test_a_streamer_is_refused() -> None:
    """`generate` shows it the prompts before a custom function is called, so it takes two prompts here."""

    class Silent(TextStreamer):
        def __init__(self) -> None: ...

        def put(self, value: torch.Tensor) -> None: ...

    with pytest.raises(ConfigError, match=r"streamer is Silent. The best beam is known at the end only"):
        search(streamer=Silent())


def test_a_filled_cache_is_refused() -> None:
    model = seeded_model("llama", 4)
    with torch.no_grad():
        cache = model(PROMPTS.repeat_interleave(4, dim=0)[:, :2], use_cache=True).past_key_values
    with pytest.raises(ConfigError, match=r"past_key_values holds 2 tokens. Expected an empty cache: pass the whole"):
        search(past_key_values=cache)


def test_the_example_of_the_documentation_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "diverse-beam-search.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    exec(code.replace("MODEL", save_tiny_causal_lm(tmp_path)), {})
    lines = [line for line in capsys.readouterr().out.splitlines() if line[:1] == "-"]
    assert len(lines) == 12
    assert all("i feel sad" in line for line in lines[:6])
