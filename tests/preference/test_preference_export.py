"""An exported model says the same in plain transformers; what cannot is refused with the way out."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline

from accord.artifacts import require_complete
from accord.data.prepare import prepare_stage
from accord.data.settings import PrepareSettings
from accord.errors import ArtifactError, ConfigError
from accord.json_files import read_json
from accord.preference.export import (
    CLASSIFIER_HEADS,
    as_classifier,
    classifier_logits,
    export_reward_stage,
    obstacles,
    one_logit_head,
)
from accord.preference.fit import fit_stage
from accord.preference.inputs import render_prompt
from accord.preference.model import PreferenceConfig, PreferenceHead, PreferenceModel, save_preference_model
from accord.preference.predict import (
    LoadedPreferenceModel,
    acceptance_logits,
    load_preference_model,
    predict_logits,
)
from accord.preference.settings import FitSettings
from accord.records import Message, Prompt
from toys import save_tiny_encoder, tiny_bert, toy_items, word_tokenizer, write_rows

PAIRS: list[tuple[Prompt, str]] = [
    ("i feel sad .", "sorry to hear that , it sounds hard ."),
    ((Message("user", "i lost my job today ."), Message("assistant", "tell me more ?")), "you must go home !"),
    ("", "why do you feel bad ?"),
    ("i feel tired about my work and my mother and my friend and my home .", "yes"),
    ("i feel sad .", ""),
]
TINY = {
    "vocab_size": 96,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "initializer_range": 0.3,
}
EXPORTABLE: dict[str, Any] = {"pooling": "first_token", "n_views": 1, "head_size": 16}


def tiny_encoder(family: str) -> Any:
    torch.manual_seed(0)
    return AutoModel.from_config(AutoConfig.for_model(family, **TINY)).eval()


def tiny_model(encoder: Any = None, **options: Any) -> LoadedPreferenceModel:
    """A preference model with random weights everywhere, its standardisation too, so that each must be carried over."""
    config = PreferenceConfig(
        **{"id2label": {0: "unacceptable", 1: "acceptable"}, "max_input_tokens": 64, **EXPORTABLE, **options}
    )
    model = PreferenceModel.from_encoder(encoder or tiny_bert(), config, seed=3)
    generator = torch.Generator().manual_seed(1)
    for tensor in (model.head.feature_mean, model.head.hidden.bias, model.head.output.bias):
        tensor.data.copy_(torch.randn(tensor.shape, generator=generator))
    model.head.feature_scale.copy_(torch.rand(model.head.feature_scale.shape, generator=generator) + 0.5)
    return LoadedPreferenceModel(model, word_tokenizer(pair_template=True))


def our_logits(loaded: LoadedPreferenceModel, pairs: list[tuple[Prompt, str]]) -> np.ndarray:
    return acceptance_logits(predict_logits(*loaded, pairs), loaded.model.config.acceptable_label_ids)


def as_texts(pairs: list[tuple[Prompt, str]]) -> list[tuple[str, str]]:
    return [(render_prompt(prompt), completion) for prompt, completion in pairs]


def save(loaded: LoadedPreferenceModel, folder: Path) -> Path:
    save_preference_model(*loaded, folder, card="")
    return folder


def test_one_logit_head_by_hand() -> None:
    """x = (3, 1), μ = (1, 1), σ = (2, 1), W_hid = [1 5], b_hid = 0 -> tanh(1·1 + 5·0) = tanh 1; two outputs with
    weights (2, −1) and biases (0.5, 0.25): class 1 minus class 0 is −3 tanh 1 − 0.25, class 0 minus class 1 its
    opposite. A = [0.5 5; 0 0], a = (0 − 0.5·1 − 5·1, 0) = (−5.5, 0)."""
    head = PreferenceHead(2, 1, 3, dropout=0.0)
    with torch.no_grad():
        head.feature_mean.copy_(torch.tensor([1.0, 1.0]))
        head.feature_scale.copy_(torch.tensor([2.0, 1.0]))
        head.hidden.weight.copy_(torch.tensor([[1.0, 5.0]]))
        head.hidden.bias.zero_()
        head.output.weight.copy_(torch.tensor([[2.0], [-1.0], [99.0]]))
        head.output.bias.copy_(torch.tensor([0.5, 0.25, 99.0]))
    x = torch.tensor([3.0, 1.0])
    for acceptable, expected in ((1, -3 * np.tanh(1.0) - 0.25), (0, 3 * np.tanh(1.0) + 0.25)):
        dense, bias, output, output_bias = one_logit_head(head, acceptable=acceptable)
        assert dense.tolist() == [[0.5, 5.0], [0.0, 0.0]]
        assert bias.tolist() == [-5.5, 0.0]
        assert float(output @ torch.tanh(dense @ x + bias) + output_bias) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("family", sorted(CLASSIFIER_HEADS))
def test_every_family_gives_equal_scores(family: str, tmp_path: Path) -> None:
    loaded = tiny_model(tiny_encoder(family))
    folder = export_reward_stage(save(loaded, tmp_path / "preference"), output_dir=tmp_path / "out")
    classifier = AutoModelForSequenceClassification.from_pretrained(folder)
    assert classifier.config.num_labels == 1
    found = classifier_logits(classifier, AutoTokenizer.from_pretrained(folder), as_texts(PAIRS))
    np.testing.assert_allclose(found, our_logits(loaded, PAIRS), atol=1e-5)
    assert np.ptp(found) > 0.01


@pytest.mark.parametrize(
    "options",
    [
        {"acceptable_label_ids": [0], "id2label": {0: "fine", 1: "bad"}},
        {"has_concentration": True},
        {"head_size": 32},
        {"max_input_tokens": 14},
    ],
    ids=["first class acceptable", "with concentration", "as wide as the encoder", "prompts lose their beginning"],
)
def test_variants_give_equal_scores(options: dict[str, Any], tmp_path: Path) -> None:
    """Fourteen tokens hold the longest completion, three separators, two tokens of its prompt: prompts are cut."""
    loaded = tiny_model(**options)
    folder = export_reward_stage(save(loaded, tmp_path / "preference"), output_dir=tmp_path / "out")
    classifier = AutoModelForSequenceClassification.from_pretrained(folder)
    found = classifier_logits(classifier, AutoTokenizer.from_pretrained(folder), as_texts(PAIRS))
    np.testing.assert_allclose(found, our_logits(loaded, PAIRS), atol=1e-5)


PLAIN = """
import json, sys
from transformers import AutoModelForSequenceClassification, AutoTokenizer
folder, pairs = sys.argv[1], json.loads(sys.argv[2])
model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
inputs = tokenizer(*map(list, zip(*pairs)), truncation="only_first", padding=True, return_tensors="pt")
assert not [name for name in sys.modules if name.partition(".")[0] == "accord"]
print(json.dumps(model(**inputs).logits[:, 0].tolist()))
"""


def test_a_fitted_model_goes_all_the_way_to_a_program_without_accord(tmp_path: Path) -> None:
    """prepare -> fit (lora, first token) -> export -> another process; and the pipeline's score is the acceptance.

    The toy encoder's first vectors hardly differ from text to text, which is hard on rounding errors."""
    source = write_rows(tmp_path / "items.jsonl", toy_items(12))
    items = prepare_stage(source, output_dir=tmp_path / "items", settings=PrepareSettings(n_resamples=20), seed=0)
    settings = FitSettings(
        model=save_tiny_encoder(tmp_path / "encoder"), tuning="lora", pooling="first_token", epochs=2, batch_size=8,
        micro_batch_size=8, head_size=8, n_resamples=20, max_length=64, n_folds=2,
    )  # fmt: skip
    fitted = fit_stage(items, output_dir=tmp_path / "fit", settings=settings, seed=1)
    folder = export_reward_stage(fitted, output_dir=tmp_path / "out")
    require_complete(folder, "export reward")
    pairs = as_texts(PAIRS)
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(folder), json.dumps(pairs)], capture_output=True, text=True, check=True
    )
    expected = our_logits(load_preference_model(fitted), list(pairs))
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-5)
    classify = pipeline("text-classification", model=str(folder))
    scored = classify([{"text": prompt, "text_pair": completion} for prompt, completion in pairs if completion])
    assert {row["label"] for row in scored} == {"acceptance"}  # an empty text_pair would count as none
    np.testing.assert_allclose([row["score"] for row in scored], expit(expected[:4]), atol=1e-5)
    summary = read_json(folder / "summary.json")
    assert summary["largest_logit_difference"] < 1e-5
    card = (folder / "README.md").read_text()
    assert 'log-odds that a fresh annotator of the panel it was fitted on votes "acceptable"' in card
    assert str(tmp_path) not in card.replace(settings.model, "")


def test_a_finished_export_is_reused_and_two_are_alike(tmp_path: Path) -> None:
    preference = save(tiny_model(), tmp_path / "preference")
    first = export_reward_stage(preference, output_dir=tmp_path / "a")
    second = export_reward_stage(preference, output_dir=tmp_path / "b")
    assert (first / "manifest.json").read_bytes() == (second / "manifest.json").read_bytes()
    before = (first / "model.safetensors").stat().st_mtime_ns
    assert export_reward_stage(preference, output_dir=tmp_path / "a") == first
    assert (first / "model.safetensors").stat().st_mtime_ns == before


def test_a_model_of_tuning_head_is_refused_with_the_flags_that_help(tmp_path: Path) -> None:
    preference = save(tiny_model(n_views=3, pooling="completion_mean"), tmp_path / "preference")
    with pytest.raises(ConfigError) as error:
        export_reward_stage(preference, output_dir=tmp_path / "out")
    assert str(error.value) == (
        f"{preference} cannot be exported as a one-logit classifier without loss: its head reads 3 vectors of a text; "
        "its head reads a mean over tokens (pooling completion_mean). Fit it again with --tuning lora --pooling "
        "first_token, or give TRL accord.as_trl_reward(FOLDER), which serves every model."
    )
    assert not (tmp_path / "out").exists()


def test_another_model_leaves_nothing_behind(tmp_path: Path) -> None:
    tiny_bert().save_pretrained(tmp_path / "encoder")
    with pytest.raises(ArtifactError, match="holds no preference model"):
        export_reward_stage(tmp_path / "encoder", output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "found", "remedy"),
    [
        ({"id2label": {0: "a", 1: "b", 2: "c"}}, "it has 3 classes", "--classes acceptance"),
        ({"flip_rate": 1 / 12}, "its votes pass through a flip rate of 0.0833", "--objective votes"),
        ({"head_size": 33}, "its head is 33 wide, its encoder 32", "--head-size 32"),
        ({"pooling": "completion_mean"}, "its head reads a mean over tokens", "--pooling first_token"),
    ],
)
def test_each_obstacle_names_its_remedy(options: dict[str, Any], found: str, remedy: str) -> None:
    obstacle, *others = obstacles(tiny_model(**options).model)
    assert obstacle.found.startswith(found)
    assert obstacle.remedy == remedy
    assert others == []


def test_weights_beside_the_encoder_are_an_obstacle() -> None:
    """A prefix: keys and values that no classifier of transformers has a place for."""
    model = tiny_model().model
    model.add_prefix(2)
    (obstacle,) = obstacles(model)
    assert obstacle.found == "its prefix weights cannot be merged into the encoder"


@pytest.mark.parametrize("family", ["electra", "distilbert", "modernbert"])
def test_other_families_are_refused_and_the_reward_function_named(family: str, tmp_path: Path) -> None:
    options = {"distilbert": {"dim": 32, "n_layers": 1, "n_heads": 4, "hidden_dim": 64}}.get(family, TINY)
    encoder = AutoModel.from_config(AutoConfig.for_model(family, **{**options, "vocab_size": 96, "pad_token_id": 0}))
    preference = save(tiny_model(encoder), tmp_path / "preference")
    with pytest.raises(ConfigError, match=rf"the stock classifier of its encoder \({family}\) is not") as error:
        export_reward_stage(preference, output_dir=tmp_path / "out")
    assert str(error.value).endswith("Give TRL accord.as_trl_reward(FOLDER), which serves every preference model.")


def test_an_unlike_classifier_would_be_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ELECTRA's head has the same layers and another function between them: the comparison must stop it."""
    monkeypatch.setitem(CLASSIFIER_HEADS, "electra", CLASSIFIER_HEADS["roberta"])
    preference = save(tiny_model(tiny_encoder("electra")), tmp_path / "preference")
    with pytest.raises(AssertionError, match="the exported scores differ by"):
        export_reward_stage(preference, output_dir=tmp_path / "out")


def test_exporting_changes_nothing_in_the_model() -> None:
    loaded = tiny_model()
    before = our_logits(loaded, PAIRS)
    as_classifier(loaded.model)
    np.testing.assert_array_equal(our_logits(loaded, PAIRS), before)
