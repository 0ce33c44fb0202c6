"""The border to TRL: a preference model as a reward function of its online trainers (GRPO, RLOO)."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accord.errors import DataError
from accord.preference.predict import AcceptanceModel, LoadedPreferenceModel
from accord.records import Message, Prompt
from accord.scoring.score import Pair, Scores, score_pairs
from accord.scoring.utility import WorstGroupModel, check_judge, load_judge

RewardFunction = Callable[..., list[float]]

logger = logging.getLogger("accord")


def as_trl_reward(
    preference: Path | str | Sequence[Path | str],
    *,
    utility: str = "acceptance",
    batch_tokens: int = 8192,
    device: str = "cpu",
) -> RewardFunction:
    """A reward function for TRL's `reward_funcs`: `(prompts, completions, **columns) -> [score of each]`.

    Serves every preference model. Prompts and completions are strings, or messages as in TRL's conversational format;
    texts are scored in batches of like length, each distinct one once, and a score does not depend on its neighbours.
    The share of prompts and completions that did not fit is logged by the trainer where it offers `log_metric`, else
    as a warning.

    Args:
        preference: folder of `accord fit`, or of its model; several for the utility "worst_group".
        utility: what a reward is, as in `ScoreSettings`: "acceptance" in [0, 1], or "logit", which never saturates.
        batch_tokens: padded tokens in one batch.
        device: where an encoder runs, e.g. "cuda".

    Raises:
        ConfigError: an unknown utility, or one that needs a concentration the model does not have, or several models.
            ArtifactError: no finished preference model. When called, DataError: a completion that is not one message of
            text.
    """
    judge = load_judge_on(device, [preference] if isinstance(preference, Path | str) else preference, utility=utility)

    def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        pairs: list[Pair] = [
            (read_prompt(prompt), read_completion(completion))
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        scores = score_pairs(judge, pairs, utility=utility, batch_tokens=batch_tokens)
        _log_cuts(scores, columns.get("log_metric"))
        return [float(value) for value in scores.values]

    reward.__name__ = f"accord_{utility}"  # TRL names its curves by it
    return reward


def load_judge_on(device: str, preferences: Sequence[Path | str], *, utility: str) -> AcceptanceModel:
    """The preference model that a utility scores with, checked, its encoder on `device`.

    Raises:
        ConfigError, ArtifactError: see `as_trl_reward`.
    """
    judge = load_judge(preferences, utility=utility)
    check_judge(judge, utility=utility)
    for model in judge.groups if isinstance(judge, WorstGroupModel) else (judge,):
        if isinstance(model, LoadedPreferenceModel):
            model.model.to(device)
    return judge


def read_prompt(prompt: str | Sequence[Mapping[str, Any]]) -> Prompt:
    """A prompt in TRL's standard or conversational format.

    Raises:
        DataError: a message that is not text.
    """
    if isinstance(prompt, str):
        return prompt
    return tuple(Message(str(message["role"]), _text(message)) for message in prompt)


def read_completion(completion: str | Sequence[Mapping[str, Any]]) -> str:
    """A completion in TRL's standard or conversational format.

    Raises:
        DataError: several messages (a conversation with tools), none, or one that is not text.
    """
    if isinstance(completion, str):
        return completion
    if len(completion) != 1:
        roles = ", ".join(str(message.get("role")) for message in completion)
        raise DataError(
            f"a completion has {len(completion)} messages ({roles}). Expected one assistant message: a preference "
            "model judges one text. Choose the message to judge in a function of your own around this one."
        )
    return _text(completion[0])


def _text(message: Mapping[str, Any]) -> str:
    """The text of a message; parts of type text are joined."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, Mapping) and part.get("type") == "text" for part in content):
        return "".join(str(part["text"]) for part in content)
    raise DataError(
        f"a message of role {message.get('role')!r} has the content {str(content)[:60]!r}. Expected a string, or parts "
        "of type text; a preference model reads text alone."
    )


def _log_cuts(scores: Scores, log_metric: Callable[[str, float], None] | None) -> None:
    n_texts = len(scores.values)
    cuts = {"prompts_cut": scores.n_prompts_cut, "completions_cut": scores.n_completions_cut}
    if log_metric is not None:
        for name, n_cut in cuts.items():
            log_metric(f"accord/{name}", n_cut / max(1, n_texts))
    elif any(cuts.values()):
        logger.warning(
            "%d of %d prompts lost their beginning and %d completions their end: the preference model takes no more.",
            scores.n_prompts_cut,
            n_texts,
            scores.n_completions_cut,
        )
