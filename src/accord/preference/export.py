"""`accord export reward`: a preference model as a one-logit classifier that plain transformers loads.

The preference model's head reads the first token's state x and says, for each of two classes,

    z = W_out tanh(W_hid (x − μ) / σ + b_hid) + b_out

and its acceptance logit is z_acceptable − z_other. A stock classifier's head says c · tanh(A x + a) + e, with as many
rows in A as x has entries. The two are one function when

    A = [W_hid / σ; 0]    a = [b_hid − W_hid (μ / σ); 0]
    c = [w_acceptable − w_other, 0]    e = b_acceptable − b_other

because the rows that are filled up with zeros stay zero: tanh 0 = 0.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from accord.artifacts import Stage, open_stage
from accord.errors import AccordError, ConfigError
from accord.json_files import write_json
from accord.preference.card import reward_card
from accord.preference.model import PreferenceHead, PreferenceModel
from accord.preference.predict import LoadedPreferenceModel, acceptance_logits, load_preference_model, predict_logits
from accord.pretrained import content_name

VERSION = 1
TOLERANCE = 1e-4
PROBES = [
    ("I lost my job.", "That sounds hard."),
    ("I lost my job, and I do not know how to tell my family about it.", "Stop it!"),
    ("Hello", "Yes"),
    ("", "Tell me more?"),
    ("How are you?", ""),
]
"""Texts whose scores are compared before an export counts: short ones, so that none is cut."""


class ClassifierHead(NamedTuple):
    """Where a family's stock classifier keeps `Linear → tanh → Linear` on the first token's state."""

    dense: str
    output: str


_BEHIND_POOLER = "classifier"
_OWN_HEAD = ClassifierHead("classifier.dense", "classifier.out_proj")
CLASSIFIER_HEADS = {
    "bert": ClassifierHead("bert.pooler.dense", _BEHIND_POOLER),
    "ernie": ClassifierHead("ernie.pooler.dense", _BEHIND_POOLER),
    "albert": ClassifierHead("albert.pooler", _BEHIND_POOLER),
    "roberta": _OWN_HEAD,
    "xlm-roberta": _OWN_HEAD,
    "xlm-roberta-xl": _OWN_HEAD,
    "camembert": _OWN_HEAD,
    "roberta-prelayernorm": _OWN_HEAD,
    "data2vec-text": _OWN_HEAD,
    "mpnet": _OWN_HEAD,
}
"""Encoder's `model_type` -> its classifier's head, as transformers 5.23 has them. Not here, because their heads are
other functions: ELECTRA (GELU), DistilBERT (ReLU), DeBERTa and ModernBERT (GELU), Longformer (global attention)."""


class HeadWeights(NamedTuple):
    """A `Linear → tanh → Linear` head with one output, for x [D]."""

    dense_weight: Float[Tensor, "D D"]
    dense_bias: Float[Tensor, " D"]
    output_weight: Float[Tensor, "1 D"]
    output_bias: Float[Tensor, " 1"]


class Obstacle(NamedTuple):
    """Why a preference model is no one-logit classifier, and the flag of `accord fit` that makes it one, if any."""

    found: str
    remedy: str | None


def export_reward_stage(preference: Path, *, output_dir: Path, seed: int = 0) -> Path:
    """Write the model as a one-logit classifier: config.json, model.safetensors, tokenizer, README.md, summary.json.

    `AutoModelForSequenceClassification.from_pretrained(output_dir)` loads it without accord; its logit is the logit of
    acceptance, equal to accord's to float tolerance, which is checked on a few texts before the folder is finished.

    Args:
        preference: folder of `accord fit`, or of its model.

    Raises:
        ConfigError: the model is no such classifier; names every reason and the way out. ArtifactError: not a
            finished preference model, or a foreign output folder.
    """
    stage = open_stage(
        output_dir,
        stage="export reward",
        version=VERSION,
        settings={},
        seed=seed,
        inputs={"preference": content_name(str(preference))},
    )
    if not stage.is_complete:
        disable_progress_bar()  # loading and writing take a second; bars are for what takes longer
        try:
            loaded = _load_exportable(preference)
        except AccordError:
            stage.abandon()
            raise
        _write(stage, loaded)
    return stage.folder


def obstacles(model: PreferenceModel) -> list[Obstacle]:
    """Everything that keeps a preference model from being a one-logit classifier; empty where nothing does."""
    config = model.config
    family, width = model.encoder.config.model_type, model.encoder.config.hidden_size
    beside = sorted({name.partition(".")[0] for name, _ in model.named_parameters()} - {"encoder", "head"})
    checks = [
        (config.n_views != 1, f"its head reads {config.n_views} vectors of a text", "--tuning lora"),
        (bool(beside), f"its {', '.join(beside)} weights cannot be merged into the encoder", "--tuning lora"),
        (
            config.pooling != "first_token",
            f"its head reads a mean over tokens (pooling {config.pooling})",
            "--pooling first_token",
        ),
        (len(config.labels) != 2, f"it has {len(config.labels)} classes", "--classes acceptance"),
        (
            config.flip_rate != 0.0,
            f"its votes pass through a flip rate of {config.flip_rate:.3g}, which no linear output can",
            "--objective votes",
        ),
        (
            family not in CLASSIFIER_HEADS,
            f"the stock classifier of its encoder ({family}) is not Linear, tanh, Linear on the first token; those of "
            f"{', '.join(sorted(CLASSIFIER_HEADS))} are",
            None,
        ),
        (config.head_size > width, f"its head is {config.head_size} wide, its encoder {width}", f"--head-size {width}"),
    ]
    return [Obstacle(text, remedy) for applies, text, remedy in checks if applies]


def as_classifier(model: PreferenceModel) -> PreTrainedModel:
    """The stock classifier of the encoder's family, with the preference model's weights and one logit."""
    places = CLASSIFIER_HEADS[model.encoder.config.model_type]
    options = {**model.encoder.config.to_dict(), "id2label": {0: "acceptance"}, "label2id": {"acceptance": 0}}
    config = AutoConfig.for_model(options.pop("model_type"), **options)
    classifier: Any = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    states = {name: value for name, value in model.encoder.state_dict().items() if not name.startswith("pooler.")}
    unmatched = classifier.base_model.load_state_dict(states, strict=False)
    assert not unmatched.unexpected_keys, unmatched
    assert all(name.startswith("pooler.") for name in unmatched.missing_keys), unmatched
    _set_head(classifier, places, one_logit_head(model.head, acceptable=model.config.acceptable_label_ids[0]))
    return classifier.eval()


def one_logit_head(head: PreferenceHead, *, acceptable: int) -> HeadWeights:
    """The weights A, a, c, e of the module's docstring, from a head for two classes.

    Args:
        acceptable: the acceptable class, 0 or 1. A third output (the concentration) is left out.
    """
    n_features, head_size = head.hidden.in_features, head.hidden.out_features
    standard_weight = (
        head.hidden.weight.double() / head.feature_scale.double()
    )  # both large where a feature varies little
    sign = 1.0 if acceptable == 1 else -1.0
    weights = HeadWeights(
        torch.zeros(n_features, n_features), torch.zeros(n_features), torch.zeros(1, n_features), torch.zeros(1)
    )
    with torch.no_grad():
        weights.dense_weight[:head_size] = standard_weight
        weights.dense_bias[:head_size] = head.hidden.bias.double() - standard_weight @ head.feature_mean.double()
        weights.output_weight[0, :head_size] = sign * (head.output.weight[1] - head.output.weight[0])
        weights.output_bias[0] = sign * (head.output.bias[1] - head.output.bias[0])
    return weights


def classifier_logits(classifier: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> Float[np.ndarray, " N"]:
    """What plain transformers says of each (prompt, completion): the tokenizer's pair encoding, one logit each."""
    prompts, completions = [prompt for prompt, _ in pairs], [completion for _, completion in pairs]
    inputs = tokenizer(prompts, completions, truncation="only_first", padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits: Tensor = classifier(**inputs).logits
    return logits[:, 0].double().numpy()


# -- steps ------------------------------------------------------------------------------------------------------


def _load_exportable(preference: Path) -> LoadedPreferenceModel:
    loaded = load_preference_model(preference)
    found = obstacles(loaded.model)
    if found:
        raise ConfigError(_refusal(preference, found))
    return loaded


def _refusal(preference: Path, found: Sequence[Obstacle]) -> str:
    """One line: every reason, then the flags that help (where all reasons have one) and what works in any case."""
    reasons = "; ".join(obstacle.found for obstacle in found)
    remedies = [obstacle.remedy for obstacle in found]
    way_out = "Give TRL accord.as_trl_reward(FOLDER), which serves every preference model"
    if all(remedies):
        flags = " ".join(str(remedy) for remedy in dict.fromkeys(remedies))
        way_out = f"Fit it again with {flags}, or give TRL accord.as_trl_reward(FOLDER), which serves every model"
    return f"{preference} cannot be exported as a one-logit classifier without loss: {reasons}. {way_out}."


def _write(stage: Stage, loaded: LoadedPreferenceModel) -> None:
    model, tokenizer = loaded
    classifier = as_classifier(model)
    tokenizer.truncation_side, tokenizer.model_max_length = "left", model.config.max_input_tokens
    difference = _largest_difference(loaded, classifier)
    assert difference <= TOLERANCE, f"the exported scores differ by {difference:.3g}"
    classifier.save_pretrained(stage.folder)
    tokenizer.save_pretrained(stage.folder)
    stage.path("README.md").write_text(reward_card(model.config), encoding="utf-8")
    write_json(
        stage.path("summary.json"),
        {"n_texts_compared": len(PROBES), "largest_logit_difference": difference, "tolerance": TOLERANCE},
    )
    stage.finish()


def _largest_difference(loaded: LoadedPreferenceModel, classifier: Any) -> float:
    """Between accord's acceptance logits and the classifier's, over the probe texts."""
    ours = acceptance_logits(
        predict_logits(loaded.model, loaded.tokenizer, PROBES), loaded.model.config.acceptable_label_ids
    )
    return float(np.abs(ours - classifier_logits(classifier, loaded.tokenizer, PROBES)).max())


def _set_head(classifier: nn.Module, places: ClassifierHead, weights: HeadWeights) -> None:
    dense, output = classifier.get_submodule(places.dense), classifier.get_submodule(places.output)
    targets: Iterable[Any] = (dense.weight, dense.bias, output.weight, output.bias)
    with torch.no_grad():
        for target, value in zip(targets, weights, strict=True):
            target.copy_(value)
