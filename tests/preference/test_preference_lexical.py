"""TF-IDF and logistic regression: equal to scikit-learn's own pipeline, exact after save and load, honest errors."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from accord.errors import ArtifactError, ConfigError
from accord.json_files import read_json, write_json
from accord.preference.lexical import ANALYSIS, PENALTIES, LexicalFit, fit_lexical, load_lexical, save_lexical

COMPLETIONS = [
    "you should quit", "that sounds hard", "what would help you?", "you should try harder", "it sounds so hard",
    "you must quit now", "how did that feel?", "that must feel so hard", "you should try yoga", "what did you do?",
]  # fmt: skip
N_ACCEPTABLE = np.array([0, 3, 2, 1, 3, 0, 3, 2, 1, 3], dtype=float)
N_VOTES = np.full(10, 3.0)


def _log_loss(logits: np.ndarray) -> float:
    """Of one accepting vote for each of the two held-out completions."""
    return float(np.logaddexp(0, -logits).sum())


def _fit(n_acceptable: np.ndarray = N_ACCEPTABLE, min_df: int = 1) -> LexicalFit:
    return fit_lexical(
        COMPLETIONS,
        n_acceptable,
        N_VOTES,
        train_rows=np.arange(8),
        held_out_completions=["that sounds so hard", "how do you feel?"],
        held_out_loss=_log_loss,
        min_df=min_df,
    )


def test_it_equals_one_regression_row_per_single_vote() -> None:
    """An item with 3 votes, 2 of them acceptable, is three rows of the same text: 1, 1, 0."""
    fit = _fit()
    texts, labels = [], []
    for text, accepted in zip(COMPLETIONS[:8], N_ACCEPTABLE[:8].astype(int), strict=True):
        texts += [text] * 3
        labels += [1] * accepted + [0] * (3 - accepted)
    vectoriser = TfidfVectorizer(**ANALYSIS).fit(COMPLETIONS[:8])
    regression = LogisticRegression(C=fit.penalty, max_iter=5000, tol=1e-8).fit(vectoriser.transform(texts), labels)
    new = ["you should feel hard", "never seen words only", "what?"]
    expected = regression.decision_function(vectoriser.transform(new))
    np.testing.assert_allclose(fit.model.acceptance_logits([("p", text) for text in new]), expected, atol=1e-3)


def test_the_penalty_with_the_lowest_held_out_loss_is_chosen_and_advice_is_rejected() -> None:
    fit = _fit()
    assert set(fit.held_out_losses) == set(PENALTIES)
    assert fit.held_out_losses[fit.penalty] == min(fit.held_out_losses.values())
    advice, question = fit.model.acceptance_logits([("p", "you should quit"), ("p", "how did that feel?")])
    assert advice < question
    assert len(fit.model.acceptance_logits([])) == 0


def test_it_is_the_same_after_save_and_load(tmp_path: Path) -> None:
    model = _fit().model
    save_lexical(model, tmp_path / "model", card="# card")
    pairs = [("p", text) for text in COMPLETIONS]
    np.testing.assert_array_equal(
        load_lexical(tmp_path / "model").acceptance_logits(pairs), model.acceptance_logits(pairs)
    )
    assert (tmp_path / "model" / "README.md").read_text() == "# card"


def test_damaged_folders_and_useless_votes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="votes are all alike"):
        _fit(n_acceptable=N_VOTES)
    with pytest.raises(ConfigError, match="No word occurs in 50 training completions"):
        _fit(min_df=50)
    save_lexical(_fit().model, tmp_path, card="")
    config = read_json(tmp_path / "config.json")
    write_json(tmp_path / "config.json", {**config, "vocabulary": config["vocabulary"][1:]})
    with pytest.raises(ArtifactError, match="Expected as many of each"):
        load_lexical(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ArtifactError, match="could not be read"):
        load_lexical(tmp_path)
