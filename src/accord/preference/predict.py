"""Scoring texts with a preference model: token-budget batches, each distinct row encoded once."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.special import logsumexp

from accord.artifacts import MANIFEST_FILE, STAGE_FILE, require_complete
from accord.errors import ArtifactError, ConfigError
from accord.json_files import read_json
from accord.preference import lexical
from accord.preference.inputs import EncodedPair, PairEncoder, Sequence1d, collate
from accord.preference.model import MODEL_TYPE, PreferenceModel
from accord.pretrained import load_model, load_tokenizer
from accord.progress import progress
from accord.records import Prompt
from accord.training.batches import token_budget_batches
from accord.training.processes import own_share, sum_over_processes

MAX_TOKENS_PER_BATCH = 8192
CPU_TOKENS_PER_BATCH = 1024
"""A CPU multiplies matrices of so many rows at its full rate; larger batches only leave its caches and pad more
(docs/performance.md)."""


class AcceptancePrediction(NamedTuple):
    """Log-odds [N] that a fresh annotator accepts; κ [N] where the model has one; how many texts did not fit."""

    logits: Float[np.ndarray, " N"]
    concentration: Float[np.ndarray, " N"] | None = None
    n_prompts_cut: int = 0
    n_completions_cut: int = 0


class AcceptanceModel(Protocol):
    """Whatever predicts acceptance; scoring and evaluation know no more of a preference model."""

    @property
    def has_concentration(self) -> bool: ...

    def acceptance(
        self, pairs: Sequence[tuple[Prompt, str]], *, max_tokens_per_batch: int = MAX_TOKENS_PER_BATCH
    ) -> AcceptancePrediction:
        """The predicted acceptance of each (prompt, completion), in order."""


class LoadedPreferenceModel(NamedTuple):
    """An encoder's `AcceptanceModel`."""

    model: PreferenceModel
    tokenizer: Any

    @property
    def has_concentration(self) -> bool:
        return bool(self.model.config.has_concentration)

    def acceptance(
        self, pairs: Sequence[tuple[Prompt, str]], *, max_tokens_per_batch: int = MAX_TOKENS_PER_BATCH
    ) -> AcceptancePrediction:
        """The predicted acceptance of each (prompt, completion), in order."""
        found = predict(self.model, self.tokenizer, pairs, max_tokens_per_batch=max_tokens_per_batch)
        config = self.model.config
        logits = acceptance_logits(found.logits, config.acceptable_label_ids, flip_rate=config.flip_rate)
        return AcceptancePrediction(logits, found.concentration, found.n_prompts_cut, found.n_completions_cut)


class LoadedLexicalModel(NamedTuple):
    """The `AcceptanceModel` of words alone."""

    model: lexical.LexicalModel

    @property
    def has_concentration(self) -> bool:
        return False

    def acceptance(
        self,
        pairs: Sequence[tuple[Prompt, str]],
        *,
        max_tokens_per_batch: int = MAX_TOKENS_PER_BATCH,  # noqa: ARG002 -- words make no batches
    ) -> AcceptancePrediction:
        """The predicted acceptance of each (prompt, completion), in order."""
        return AcceptancePrediction(self.model.acceptance_logits(pairs))


class Features(NamedTuple):
    """The encoder's vectors of each pair, views side by side, and how many texts did not fit."""

    values: Float[torch.Tensor, "N F"]
    n_prompts_cut: int
    n_completions_cut: int


class Predictions(NamedTuple):
    """`concentration` is None unless the model was trained with `beta_binomial`."""

    logits: Float[np.ndarray, "N L"]
    concentration: Float[np.ndarray, " N"] | None
    n_prompts_cut: int
    n_completions_cut: int


def load_acceptance_model(folder: Path | str) -> AcceptanceModel:
    """The preference model of a model folder or of a finished `accord fit` folder, of whatever family.

    Raises:
        ArtifactError: no such folder, an unfinished one, or not a preference model.
    """
    path = model_folder(folder)
    if _model_type(path) == lexical.MODEL_TYPE:
        return LoadedLexicalModel(lexical.load_lexical(path))
    return load_preference_model(folder)


def load_preference_model(folder: Path | str) -> LoadedPreferenceModel:
    """The encoder model of a model folder or of a finished `accord fit` folder; in evaluation mode, float32.

    Raises:
        ArtifactError: no such folder, an unfinished one, or not an encoder's preference model.
    """
    path = model_folder(folder)
    if (found := _model_type(path)) != MODEL_TYPE:
        kind = "a preference model of another family" if found == lexical.MODEL_TYPE else "no preference model"
        raise ArtifactError(
            f"{folder} holds {kind} (config.json with model_type {MODEL_TYPE!r} was expected). "
            "Pass the folder that `accord fit` wrote for an encoder, or its model/ folder."
        )
    return LoadedPreferenceModel(load_model(PreferenceModel, str(path), dtype="float32"), load_tokenizer(str(path)))


def model_folder(folder: Path | str) -> Path:
    """The folder with the weights: `model/` of a finished `accord fit` folder, any other folder itself."""
    path = Path(folder)
    if (path / STAGE_FILE).is_file() or (path / MANIFEST_FILE).is_file():
        return require_complete(path, "fit") / "model"
    return path


def _model_type(path: Path) -> str | None:
    """What config.json says; None where there is none or it cannot be read."""
    try:
        found = read_json(path / "config.json")
    except ArtifactError:
        return None
    return found.get("model_type") if isinstance(found, dict) else None


def predict_logits(
    model: PreferenceModel,
    tokenizer: Any,
    pairs: Sequence[tuple[Prompt, str]],
    *,
    max_tokens_per_batch: int = MAX_TOKENS_PER_BATCH,
) -> Float[np.ndarray, "N L"]:
    """The logits of each (prompt, completion), in order."""
    return predict(model, tokenizer, pairs, max_tokens_per_batch=max_tokens_per_batch).logits


def predict(
    model: PreferenceModel,
    tokenizer: Any,
    pairs: Sequence[tuple[Prompt, str]],
    *,
    max_tokens_per_batch: int = MAX_TOKENS_PER_BATCH,
    among_processes: bool = False,
) -> Predictions:
    """Logits and, where the model has it, concentration of each (prompt, completion), in order; float64."""
    features = encode_features(
        model, tokenizer, pairs, max_tokens_per_batch=max_tokens_per_batch, among_processes=among_processes
    )
    with torch.inference_mode():
        outputs = model.outputs(features.values)
    assert outputs.logits is not None
    kappa = None if outputs.concentration is None else outputs.concentration.double().cpu().numpy()
    return Predictions(outputs.logits.double().cpu().numpy(), kappa, features.n_prompts_cut, features.n_completions_cut)


def encode_features(
    model: PreferenceModel,
    tokenizer: Any,
    pairs: Sequence[tuple[Prompt, str]],
    *,
    max_tokens_per_batch: int = MAX_TOKENS_PER_BATCH,
    among_processes: bool = False,
) -> Features:
    """What the head sees of each pair: [N, V·D], without gradient. Equal rows are encoded once.

    Args:
        among_processes: see `encode_rows`.
    """
    encoded = encode_pairs(model, tokenizer, pairs)
    row_numbers: dict[Sequence1d, int] = {}
    index = [[row_numbers.setdefault(view, len(row_numbers)) for view in pair.views] for pair in encoded]
    vectors = encode_rows(model, list(row_numbers), tokenizer, max_tokens_per_batch, among_processes=among_processes)
    rows = torch.tensor(index, dtype=torch.long).view(len(pairs), model.config.n_views)
    return Features(
        vectors[rows].flatten(1),
        sum(pair.prompt_is_cut for pair in encoded),
        sum(pair.completion_is_cut for pair in encoded),
    )


def encode_rows(
    model: PreferenceModel,
    rows: Sequence[Sequence1d],
    tokenizer: Any,
    max_tokens: int,
    *,
    among_processes: bool = False,
) -> torch.Tensor:
    """The encoder's vector of each row [rows, D], in the order given, without gradient.

    Args:
        max_tokens: padded tokens in one batch, at most; on a CPU `CPU_TOKENS_PER_BATCH` where that is less.
        among_processes: each process encodes its share of the batches, and all get all vectors; every process must
            call this with the same rows. The same vectors as by one process, bit for bit.
    """
    model.eval()
    device = next(model.parameters()).device
    vectors = torch.zeros(len(rows), model.encoder.config.hidden_size, device=device)
    budget = min(max_tokens, CPU_TOKENS_PER_BATCH) if device.type == "cpu" else max_tokens
    batches = token_budget_batches([len(row.ids) for row in rows], max_tokens=budget)
    with torch.inference_mode(), progress("Encoding texts", len(rows)) as advance:
        for batch in own_share(batches) if among_processes else batches:
            inputs = collate([rows[number] for number in batch], **collate_options(tokenizer))
            vectors[batch] = model.vectors(**{name: value.to(device) for name, value in inputs.items()})
            advance(len(batch))
        if among_processes:
            sum_over_processes(vectors)
    return vectors.clone()


def encode_pairs(model: PreferenceModel, tokenizer: Any, pairs: Sequence[tuple[Prompt, str]]) -> list[EncodedPair]:
    """The token rows of each pair, as the model's configuration wants them."""
    config = model.config
    encoder = PairEncoder(tokenizer, max_length=config.max_input_tokens, pooling=config.pooling, n_views=config.n_views)
    return [encoder.encode(prompt, completion) for prompt, completion in pairs]


def collate_options(tokenizer: Any) -> Mapping[str, Any]:
    """What `collate` needs to know of a tokenizer."""
    return {
        "pad_id": tokenizer.pad_token_id or 0,
        "uses_type_ids": "token_type_ids" in tokenizer.model_input_names,
    }


def acceptance_logits(
    logits: Float[np.ndarray, "N L"], acceptable: Bool[np.ndarray, " L"] | Collection[int], *, flip_rate: float = 0.0
) -> Float[np.ndarray, " N"]:
    """log-odds that a fresh annotator votes for an acceptable label.

    Args:
        acceptable: which labels are acceptable, as a mask or as label numbers.
        flip_rate: ε of a denoiser (`config.flip_rate`): every wrong label is voted for with probability ε, so the
            vote's probability is (1 − Lε)·q + kε, k the number of acceptable labels. 0: the logits are the votes'.

    Raises:
        ConfigError: all labels are acceptable, or none is.
    """
    n_labels = logits.shape[1]
    mask = np.zeros(n_labels, dtype=bool)
    mask[np.asarray(list(acceptable) if not isinstance(acceptable, np.ndarray) else acceptable)] = True
    if mask.all() or not mask.any():
        raise ConfigError(f"{int(mask.sum())} of {n_labels} labels are acceptable; expected at least one each way.")
    latent = logsumexp(logits[:, mask], axis=1) - logsumexp(logits[:, ~mask], axis=1)
    if flip_rate == 0.0:
        return latent
    kept, n_acceptable = 1.0 - n_labels * flip_rate, int(mask.sum())
    log_q, log_not_q = -np.logaddexp(0.0, -latent), -np.logaddexp(0.0, latent)
    log_yes = np.logaddexp(np.log(kept) + log_q, np.log(n_acceptable * flip_rate))
    log_no = np.logaddexp(np.log(kept) + log_not_q, np.log((n_labels - n_acceptable) * flip_rate))
    return log_yes - log_no
