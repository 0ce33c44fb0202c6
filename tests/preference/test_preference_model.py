"""The model is a Hugging Face model, and what it says of a text depends on nothing but prompt and text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, PreTrainedTokenizerFast, RobertaConfig, RobertaModel

from accord.errors import ArtifactError, ConfigError
from accord.preference.inputs import PairEncoder, collate, render_prompt
from accord.preference.model import PreferenceConfig, PreferenceModel, save_preference_model
from accord.preference.predict import (
    LoadedPreferenceModel,
    acceptance_logits,
    collate_options,
    encode_pairs,
    load_preference_model,
    predict,
    predict_logits,
)
from accord.pretrained import load_encoder, load_tokenizer
from accord.records import Message, Prompt
from toys import save_tiny_encoder, tiny_bert, word_tokenizer

PAIRS: list[tuple[Prompt, str]] = [
    ("i feel sad .", "sorry to hear that , it sounds hard ."),
    ((Message("user", "i lost my job today ."), Message("assistant", "tell me more ?")), "you must go home !"),
    ("", "why do you feel bad ?"),
    ("i feel tired about my work and my mother and my friend and my home .", "yes"),
    ("i feel sad .", ""),
]


def tiny_model(**options: Any) -> LoadedPreferenceModel:
    config = PreferenceConfig(
        id2label={0: "unacceptable", 1: "acceptable"},
        head_size=16,
        max_input_tokens=options.pop("max_input_tokens", 64),
        **options,
    )
    model = PreferenceModel.from_encoder(tiny_bert(), config, seed=3)
    return LoadedPreferenceModel(model, word_tokenizer(pair_template=True))


def words(tokenizer: Any, ids: tuple[int, ...]) -> str:
    return " ".join(tokenizer.convert_ids_to_tokens(list(ids)))


def test_chat_is_rendered_as_role_tagged_lines() -> None:
    chat = (Message("user", "i lost my job ."), Message("assistant", "sorry ."))
    assert render_prompt(chat) == "user: i lost my job .\nassistant: sorry ."
    assert render_prompt("i lost my job .") == "i lost my job ."


def test_pair_encoding_marks_the_completions_own_tokens() -> None:
    """[CLS] i feel sad [SEP] really hard [SEP]
    0     0 0    0   0     1      1    0"""
    tokenizer = word_tokenizer(pair_template=True)
    pair = PairEncoder(tokenizer, max_length=64, pooling="completion_mean", n_views=3).encode(
        "i feel sad", "really hard"
    )
    row = pair.views[0]
    assert words(tokenizer, row.ids) == "[CLS] i feel sad [SEP] really hard [SEP]"
    assert row.type_ids == (0, 0, 0, 0, 0, 1, 1, 1)
    assert row.pooling_mask == (0, 0, 0, 0, 0, 1, 1, 0)
    assert [words(tokenizer, view.ids) for view in pair.views[1:]] == [
        "[CLS] really hard [SEP]",
        "[CLS] i feel sad [SEP]",
    ]
    assert pair.views[1].pooling_mask == (1, 1, 1, 1)
    expected = tokenizer("i feel sad", "really hard")
    assert row.ids == tuple(expected["input_ids"])


def test_long_prompt_loses_its_beginning_and_completion_stays() -> None:
    tokenizer = word_tokenizer(pair_template=True)
    pair = PairEncoder(tokenizer, max_length=8, pooling="completion_mean", n_views=1).encode(
        "i feel so very sad", "go home"
    )
    assert words(tokenizer, pair.views[0].ids) == "[CLS] so very sad [SEP] go home [SEP]"
    assert pair.prompt_is_cut
    assert not pair.completion_is_cut


def test_completion_is_cut_only_where_it_fills_the_row_alone_and_is_counted() -> None:
    tokenizer = word_tokenizer(pair_template=True)
    pair = PairEncoder(tokenizer, max_length=6, pooling="completion_mean", n_views=1).encode(
        "i feel sad", "you must go home now"
    )
    assert words(tokenizer, pair.views[0].ids) == "[CLS] [SEP] you must go [SEP]"
    assert pair.completion_is_cut
    model, tokenizer = tiny_model(max_input_tokens=6)
    predicted = predict(model, tokenizer, [("i feel sad", "you must go home"), ("i", "go home")])
    assert (predicted.n_prompts_cut, predicted.n_completions_cut) == (1, 1)


def test_empty_completion_is_represented_by_the_token_that_closes_it() -> None:
    tokenizer = word_tokenizer(pair_template=True)
    row = PairEncoder(tokenizer, max_length=8, pooling="completion_mean", n_views=1).encode("i feel sad", "").views[0]
    assert row.pooling_mask == (0, 0, 0, 0, 0, 1)


def test_first_token_pooling_marks_the_first_token() -> None:
    encoder = PairEncoder(word_tokenizer(pair_template=True), max_length=8, pooling="first_token", n_views=3)
    assert all(view.pooling_mask[0] == 1 and sum(view.pooling_mask) == 1 for view in encoder.encode("i", "go").views)


def roberta_tokenizer() -> PreTrainedTokenizerFast:
    """<s> prompt </s></s> completion </s>, no token types."""
    vocabulary = {
        token: n for n, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "i", "feel", "sad", "go", "home"])
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=32,
    )


def test_roberta_like_tokenizers_work_the_same() -> None:
    tokenizer = roberta_tokenizer()
    row = (
        PairEncoder(tokenizer, max_length=16, pooling="completion_mean", n_views=1)
        .encode("i feel sad", "go home")
        .views[0]
    )
    assert words(tokenizer, row.ids) == "<s> i feel sad </s> </s> go home </s>"
    assert row.pooling_mask == (0, 0, 0, 0, 0, 0, 1, 1, 0)
    torch.manual_seed(0)
    encoder = RobertaModel(
        RobertaConfig(
            vocab_size=9,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=34,
            type_vocab_size=1,
            pad_token_id=0,
        )
    ).eval()
    model = PreferenceModel.from_encoder(encoder, PreferenceConfig(max_input_tokens=16), seed=0)
    both = predict_logits(model, tokenizer, [("i", "go"), ("i feel sad i feel", "go home")])
    np.testing.assert_allclose(predict_logits(model, tokenizer, [("i", "go")])[0], both[0], atol=1e-5)


def test_collate_pads_on_the_right_and_masks_the_padding() -> None:
    encoder = PairEncoder(word_tokenizer(pair_template=True), max_length=8, pooling="completion_mean", n_views=1)
    rows = [encoder.encode("i", "go home").views[0], encoder.encode("i", "go").views[0]]
    batch = collate(rows, pad_id=0, uses_type_ids=True)
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]]
    assert batch["pooling_mask"].tolist() == [[0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 0, 0]]
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 0]]


def test_too_great_max_length_and_slow_tokenizers_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_length is 129, but the tokenizer's model takes 128 tokens"):
        PairEncoder(word_tokenizer(pair_template=True), max_length=129, pooling="completion_mean", n_views=1)
    with pytest.raises(ConfigError, match="object is a slow tokenizer"):
        PairEncoder(object(), max_length=8, pooling="completion_mean", n_views=1)


@pytest.mark.parametrize("n_views", [1, 3])
@pytest.mark.parametrize("pooling", ["completion_mean", "first_token"])
def test_neighbours_and_padding_do_not_move_a_score(n_views: int, pooling: str) -> None:
    model, tokenizer = tiny_model(n_views=n_views, pooling=pooling)
    together = predict_logits(model, tokenizer, PAIRS)
    alone = np.concatenate([predict_logits(model, tokenizer, [pair]) for pair in PAIRS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(predict_logits(model, tokenizer, PAIRS[::-1])[::-1], together, atol=1e-5)
    np.testing.assert_allclose(predict_logits(model, tokenizer, PAIRS, max_tokens_per_batch=20), together, atol=1e-5)


def test_the_prompt_moves_the_score_even_in_a_padded_row() -> None:
    """The released code of d-PM masks the prompt wherever a row is padded; its score could not change here."""
    model, tokenizer = tiny_model()
    texts: list[tuple[Prompt, str]] = [("i feel sad .", "go home"), ("i feel happy .", "go home"), PAIRS[3]]
    logits = predict_logits(model, tokenizer, texts)
    assert abs(logits[0] - logits[1]).max() > 1e-4


@pytest.mark.parametrize("n_views", [1, 3])
def test_forward_on_rows_equals_the_two_halves(n_views: int) -> None:
    model, tokenizer = tiny_model(n_views=n_views)
    rows = [view for pair in encode_pairs(model, tokenizer, PAIRS) for view in pair.views]
    flat = collate(rows, **collate_options(tokenizer))
    batch = {name: value.view(len(PAIRS), n_views, -1) for name, value in flat.items()}
    with torch.inference_mode():
        logits = model(**batch).logits
    np.testing.assert_allclose(logits.numpy(), predict_logits(model, tokenizer, PAIRS), atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"n_views": 3, "has_concentration": True, "flip_rate": 0.1}])
def test_saving_and_loading_changes_no_bit(tmp_path: Path, options: dict[str, Any]) -> None:
    model, tokenizer = tiny_model(**options)
    with torch.no_grad():
        model.head.feature_mean += 0.3
        model.head.feature_scale *= 0.7
    before = predict(model, tokenizer, PAIRS)
    save_preference_model(model, tokenizer, tmp_path / "model", card="# card\n")
    loaded = load_preference_model(tmp_path / "model")
    after = predict(loaded.model, loaded.tokenizer, PAIRS)
    np.testing.assert_array_equal(before.logits, after.logits)
    if before.concentration is not None and after.concentration is not None:
        np.testing.assert_array_equal(before.concentration, after.concentration)
    assert loaded.model.config.labels == ("unacceptable", "acceptable")
    assert loaded.model.config.flip_rate == options.get("flip_rate", 0.0)
    assert not loaded.model.training
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert not {name for name in names if name.endswith((".bin", ".pt", ".pkl"))}


def test_auto_model_loads_it_too(tmp_path: Path) -> None:
    model, tokenizer = tiny_model()
    save_preference_model(model, tokenizer, tmp_path, card="# card\n")
    loaded = AutoModel.from_pretrained(tmp_path)
    assert isinstance(loaded, PreferenceModel)
    np.testing.assert_array_equal(predict_logits(loaded, tokenizer, PAIRS), predict_logits(model, tokenizer, PAIRS))


def test_a_folder_that_is_no_preference_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no preference model"):
        load_preference_model(tmp_path)
    with pytest.raises(ArtifactError, match="holds no preference model"):
        load_preference_model(save_tiny_encoder(tmp_path / "encoder"))


def test_no_pairs_give_no_logits() -> None:
    model, tokenizer = tiny_model()
    assert predict_logits(model, tokenizer, []).shape == (0, 2)


def test_acceptance_logits_by_hand() -> None:
    """q = (0.2, 0.3, 0.5), labels 1 and 2 acceptable: 0.8 / 0.2, so log 4."""
    logits = np.log([[0.2, 0.3, 0.5]])
    np.testing.assert_allclose(acceptance_logits(logits, [1, 2]), np.log(4))
    np.testing.assert_allclose(acceptance_logits(logits, np.array([False, True, True])), np.log(4))
    assert np.isfinite(acceptance_logits(np.array([[0.0, 1e5]]), [1])).all()


def test_votes_are_predicted_through_the_flip_rate() -> None:
    """q = 0.8, ε = 0.1, two labels: (1 − 0.2)·0.8 + 0.1 = 0.74."""
    logit = acceptance_logits(np.log([[0.2, 0.8]]), [1], flip_rate=0.1)
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), 0.74)


def test_a_scheme_that_accepts_everything_is_refused() -> None:
    with pytest.raises(ConfigError, match="2 of 2 labels are acceptable"):
        acceptance_logits(np.zeros((1, 2)), [0, 1])


def test_builtin_encoder_scores_alike_whatever_the_neighbours(tmp_path: Path) -> None:
    """The real pretrained encoder: token types from its tokenizer, and the same bits after reloading."""
    try:
        tokenizer, encoder = load_tokenizer("builtin:minilm"), load_encoder("builtin:minilm")
    except ArtifactError as error:
        pytest.skip(str(error))
    model = PreferenceModel.from_encoder(encoder, PreferenceConfig(n_views=3), seed=0)
    assert collate_options(tokenizer) == {"pad_id": 0, "uses_type_ids": True}
    row = encode_pairs(model, tokenizer, [("How are you?", "Fine, thanks.")])[0].views[0]
    expected = tokenizer("How are you?", "Fine, thanks.")
    assert row.ids == tuple(expected["input_ids"])
    assert row.type_ids == tuple(expected["token_type_ids"])
    together = predict_logits(model, tokenizer, PAIRS)
    alone = np.concatenate([predict_logits(model, tokenizer, [pair]) for pair in PAIRS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    save_preference_model(model, tokenizer, tmp_path, card="# card\n")
    loaded = load_preference_model(tmp_path)
    np.testing.assert_array_equal(predict_logits(loaded.model, loaded.tokenizer, PAIRS), together)


def test_a_cpu_reads_small_batches_so_that_little_is_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 240 texts of 6 to 68 tokens: at most 1,024 padded tokens at once, and 8 % padding; batches of 8,192: 30 %."""
    judge = tiny_model()
    batches: list[tuple[int, int]] = []
    vectors = PreferenceModel.vectors

    def observed(self: PreferenceModel, **batch: torch.Tensor) -> torch.Tensor:
        mask = batch["attention_mask"]
        batches.append((mask.numel(), int(mask.sum())))
        return vectors(self, **batch)

    monkeypatch.setattr(PreferenceModel, "vectors", observed)
    words_of_rows = [("sad " * (number % 60) + ".", f"{'yes ' * (1 + number // 60)}") for number in range(240)]
    predict(judge.model, judge.tokenizer, words_of_rows, max_tokens_per_batch=8192)
    assert max(padded for padded, _ in batches) <= 1024
    padded, real = (sum(column) for column in zip(*batches, strict=True))
    assert 1 - real / padded < 0.1
