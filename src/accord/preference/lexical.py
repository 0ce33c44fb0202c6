"""A preference model of another family: TF-IDF of the completion's words, then logistic regression on every vote.

It shares nothing with the encoder models, neither weights nor tokens, and therefore makes other mistakes: a gain that
only the calibrating model's family sees is not seen here. It reads the completion alone and knows no word order beyond
pairs of words. scikit-learn does the work (extra `lexical`); what is saved is JSON and safetensors, never a pickle.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from accord.errors import ArtifactError, ConfigError
from accord.json_files import read_json, write_json
from accord.records import Prompt

LEXICAL_MODEL = "lexical:tfidf"
MODEL_TYPE = "accord_lexical_preference"
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
ANALYSIS = {"lowercase": True, "ngram_range": (1, 2), "sublinear_tf": True, "token_pattern": r"(?u)\b\w+\b|[?!]"}


class LexicalModel(NamedTuple):
    """Vocabulary of F words and word pairs in column order, their inverse document frequencies, and the regression."""

    vocabulary: tuple[str, ...]
    idf: Float[np.ndarray, " F"]
    weights: Float[np.ndarray, " F"]
    bias: float

    def acceptance_logits(self, pairs: Sequence[tuple[Prompt, str]]) -> Float[np.ndarray, " N"]:
        """Log-odds that a fresh annotator accepts each completion; the prompt is not looked at."""
        if not pairs:
            return np.zeros(0)
        vectoriser = _vectoriser({word: column for column, word in enumerate(self.vocabulary)})
        vectoriser.idf_ = self.idf
        features = vectoriser.transform([completion for _, completion in pairs])
        return np.asarray(features @ self.weights + self.bias)


class LexicalFit(NamedTuple):
    """The model, the inverse penalty C it was selected with, and the held-out loss of every C."""

    model: LexicalModel
    penalty: float
    held_out_losses: dict[float, float]


def fit_lexical(
    completions: Sequence[str],
    n_acceptable: Float[np.ndarray, " N"],
    n_votes: Float[np.ndarray, " N"],
    *,
    train_rows: np.ndarray,
    held_out_completions: Sequence[str],
    held_out_loss: Callable[[Float[np.ndarray, " H"]], float],
    min_df: int = 2,
) -> LexicalFit:
    """Fit on `train_rows`, every vote an observation of weight 1; C is the one with the lowest `held_out_loss`.

    Args:
        min_df: words and pairs in fewer training completions are left out.

    Raises:
        ConfigError: scikit-learn is not installed; the training votes are all alike; no word is frequent enough.
    """
    texts = [completions[int(row)] for row in train_rows]
    accepted, rejected = n_acceptable[train_rows], n_votes[train_rows] - n_acceptable[train_rows]
    if accepted.sum() == 0 or rejected.sum() == 0:
        raise ConfigError("The training votes are all alike; a regression needs some of both kinds. Check the scheme.")
    vectoriser = _vectoriser(None, min_df=min_df)
    try:
        features = vectoriser.fit_transform(texts)
    except ValueError as error:
        raise ConfigError(f"No word occurs in {min_df} training completions ({error}). Give more items.") from None
    vocabulary = tuple(str(word) for word in vectoriser.get_feature_names_out())
    models = {
        penalty: LexicalModel(
            vocabulary, np.asarray(vectoriser.idf_), *_regression(features, accepted, rejected, penalty=penalty)
        )
        for penalty in PENALTIES
    }
    held_out = [("", completion) for completion in held_out_completions]
    losses = {penalty: held_out_loss(model.acceptance_logits(held_out)) for penalty, model in models.items()}
    best = min(losses, key=lambda penalty: losses[penalty])
    return LexicalFit(models[best], best, losses)


def save_lexical(model: LexicalModel, folder: Path, *, card: str) -> None:
    """config.json (with the vocabulary), model.safetensors, README.md."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG_FILE, {"model_type": MODEL_TYPE, "vocabulary": list(model.vocabulary)})
    tensors = {"idf": model.idf, "weights": model.weights, "bias": np.array([model.bias])}
    save_file(
        {name: np.ascontiguousarray(values, dtype=np.float64) for name, values in tensors.items()},
        folder / WEIGHTS_FILE,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def load_lexical(folder: Path) -> LexicalModel:
    """The model that `save_lexical` wrote.

    Raises:
        ArtifactError: files are missing or do not belong together.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    vocabulary = tuple(read_json(folder / CONFIG_FILE).get("vocabulary", ()))
    try:
        tensors = load_file(folder / WEIGHTS_FILE)
        model = LexicalModel(vocabulary, tensors["idf"], tensors["weights"], float(tensors["bias"][0]))
    except (OSError, SafetensorError, KeyError) as error:
        raise ArtifactError(f"{folder / WEIGHTS_FILE} could not be read ({error}). Fit the model again.") from None
    if not len(model.vocabulary) == len(model.idf) == len(model.weights):
        raise ArtifactError(
            f"{folder}: {len(vocabulary)} words, {len(model.idf)} frequencies and {len(model.weights)} weights. "
            "Expected as many of each; fit the model again."
        )
    return model


def _vectoriser(vocabulary: dict[str, int] | None, *, min_df: int = 1) -> Any:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        raise ConfigError(
            f"model {LEXICAL_MODEL!r} needs scikit-learn. Install it with: pip install 'accord[lexical]'"
        ) from None
    return TfidfVectorizer(vocabulary=vocabulary, min_df=min_df, **ANALYSIS)


def _regression(
    features: Any, accepted: np.ndarray, rejected: np.ndarray, *, penalty: float
) -> tuple[np.ndarray, float]:
    """Weights [F] and bias of the logistic regression in which every item stands once per kind of vote."""
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression

    doubled = sparse.vstack([features, features])
    labels = np.repeat([1, 0], len(accepted))
    weights = np.concatenate([accepted, rejected])
    kept = weights > 0
    fitted = LogisticRegression(C=penalty, max_iter=2000, tol=1e-6).fit(
        doubled[kept], labels[kept], sample_weight=weights[kept]
    )
    return fitted.coef_[0].astype(np.float64), float(fitted.intercept_[0])
