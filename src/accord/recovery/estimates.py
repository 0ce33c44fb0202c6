"""What every estimator says under every hiding, made once: finished estimates lie in the stage's scratch folder.

One file per keep, estimator and seed, replaced atomically; whoever resumes makes what is missing.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
from jaxtyping import Float, Int
from safetensors.numpy import load_file, save_file
from torch import Tensor

from accord.errors import ConfigError
from accord.json_files import replacing
from accord.preference.labelled import MIN_SHARE_OF_PAIRS
from accord.preference.model import PreferenceConfig, PreferenceModel
from accord.preference.objectives import NEED_PAIRS
from accord.preference.posterior import fit_prior_strength, group_folds, posterior_beta
from accord.preference.predict import encode_features
from accord.preference.settings import ObjectiveName
from accord.pretrained import load_encoder, load_tokenizer
from accord.randomness import keyed_seed
from accord.recovery.hide import Estimate, Hiding
from accord.recovery.judged_items import JudgedItems
from accord.recovery.settings import RecoverSettings, TextSettings
from accord.recovery.text_estimators import BY_ANNOTATOR, estimate_texts
from accord.recovery.vote_estimators import CROWD_KIT, VOTE_ESTIMATORS

OBJECTIVES: tuple[str, ...] = get_args(ObjectiveName)
TEXT_ESTIMATORS = (*OBJECTIVES, *BY_ANNOTATOR)
SLOW = ("pluralistic", "variational", *CROWD_KIT)
LEAST_GROUPS = 3
"""To be fitted on one group, selected on another, and tried on a third."""

Advance = Callable[[int], None]
Stored = Mapping[str, Float[np.ndarray, " N"]]


class Plan(NamedTuple):
    """Which estimators run under how many hidings. `folds`: one fold number per item for every seed."""

    votes: list[str]
    texts: list[str]
    n_hidings: Mapping[str, int]
    folds: list[Int[np.ndarray, " N"]]

    @property
    def n_estimates(self) -> int:
        """For one `keep`."""
        return sum(self.n_hidings[name] for name in [*self.votes, *self.texts])


class Answers(NamedTuple):
    """Estimates at one keep: estimator -> one per hiding; of text models, q as it stands (`text`)."""

    votes: dict[str, list[Estimate]]
    texts: dict[str, list[Estimate]]


def choose_text_estimators(names: Sequence[str], *, has_people: bool, n_bundles: int) -> tuple[list[str], list[str]]:
    """The text models asked for, and one line for each that "all" leaves out.

    Raises:
        ConfigError: an unknown name, one that needs annotators where they are unknown, or too few groups.
    """
    unknown = [name for name in names if name not in (*TEXT_ESTIMATORS, "all", "none")]
    if unknown:
        expected = ", ".join(TEXT_ESTIMATORS)
        raise ConfigError(f"objectives names {unknown[0]!r}. Expected all, none, or some of {expected}.")
    is_all = "all" in names
    wanted = [name for name in TEXT_ESTIMATORS if is_all or name in names]
    if wanted and n_bundles < LEAST_GROUPS:
        raise ConfigError(
            f"The items form {n_bundles} independent group(s); text models need {LEAST_GROUPS}, one to learn from, one "
            "to select on and one to predict. Use --objectives none."
        )
    lines = [
        f"text model {name!r} needs to know who voted, and here annotators are unknown. Leave it out."
        for name in wanted
        if name in BY_ANNOTATOR and not has_people
    ]
    if lines and not is_all:
        raise ConfigError(lines[0])
    return [name for name in wanted if has_people or name not in BY_ANNOTATOR], lines


def plan_folds(bundles: Sequence[int], *, n_folds: int, seeds: Sequence[int]) -> list[Int[np.ndarray, " N"]]:
    """A fold number per item for every seed; items of one bundle share it."""
    names = [str(bundle) for bundle in bundles]
    return [group_folds(names, n_folds=min(n_folds, len(set(names))), seed=seed) for seed in seeds]


def encode_items(items: JudgedItems, settings: RecoverSettings, *, path: Path) -> Tensor:
    """The frozen encoder's three vectors of each item, side by side; encoded once and kept in the file `path`."""
    from safetensors.torch import load_file as load_tensors
    from safetensors.torch import save_file as save_tensors

    if not path.is_file():
        tokenizer = load_tokenizer(settings.model)
        config = PreferenceConfig(base_model=settings.model, n_views=3, max_input_tokens=settings.max_length)
        model = PreferenceModel.from_encoder(load_encoder(settings.model), config, seed=0)
        found = encode_features(model, tokenizer, items.labelled.pairs, max_tokens_per_batch=settings.batch_tokens)
        with replacing(path) as temporary:
            save_tensors({"features": found.values.contiguous()}, temporary)
    return load_tensors(path)["features"]


def estimate_all(
    hidings: Sequence[Hiding],
    plan: Plan,
    *,
    features: Tensor | None,
    folder: Path,
    settings: TextSettings,
    seed: int,
    advance: Advance,
) -> Answers:
    """Every estimate at one keep, made or read back.

    Args:
        hidings: one per seed.
        features: None where no text model is asked for.
        folder: where finished estimates of this keep are.
        advance: told of every estimate that is there.
    """
    for name in plan.votes:
        for number, hiding in enumerate(hidings[: plan.n_hidings[name]]):
            path = _path(folder, name, number)
            if not path.is_file():
                found = VOTE_ESTIMATORS[name](hiding)
                _write(
                    path, {"acceptance": found.acceptance} | ({} if found.weight is None else {"weight": found.weight})
                )
            advance(1)
    if plan.texts:
        assert features is not None, "text models need features"
        _estimate_texts(features, hidings, plan, folder=folder, settings=settings, seed=seed, advance=advance)
    votes = {name: [_vote_estimate(_read(folder, name, k)) for k in range(plan.n_hidings[name])] for name in plan.votes}
    texts = {
        name: [_text_estimate(_read(folder, name, k), hidings[k]) for k in range(plan.n_hidings[name])]
        for name in plan.texts
    }
    return Answers(votes, texts)


def posterior_estimate(text: Estimate, hiding: Hiding) -> Estimate:
    """The posterior share of an item that has votes: what its text says, worth `weight` votes, and what they say."""
    assert text.weight is not None, "text models come with a weight"
    n = hiding.visible.sum(axis=1)
    a, b = posterior_beta(text.acceptance, hiding.visible[:, 1], n, strength=text.weight)
    return Estimate(a / (a + b), a + b)


# -- text models --------------------------------------------------------------------------------------------------


def _estimate_texts(
    features: Tensor,
    hidings: Sequence[Hiding],
    plan: Plan,
    *,
    folder: Path,
    settings: TextSettings,
    seed: int,
    advance: Advance,
) -> None:
    """Fit what is missing; all models of one number of hidings together, because they share their batches."""
    n_items = len(plan.folds[0])
    nothing = np.full(n_items, np.nan)
    for n_hidings in sorted({plan.n_hidings[name] for name in plan.texts}, reverse=True):
        names = [name for name in plan.texts if plan.n_hidings[name] == n_hidings]
        missing = {name: [k for k in range(n_hidings) if not _path(folder, name, k).is_file()] for name in names}
        advance(sum(n_hidings - len(found) for found in missing.values()))
        for name in names:
            for k in [k for k in missing[name] if not _can_learn(name, hidings[k])]:
                _write(_path(folder, name, k), {"acceptance": nothing})
                missing[name].remove(k)
                advance(1)
        todo = sorted(set().union(*missing.values()))
        wanted = [name for name in names if missing[name]]
        if not todo:
            continue
        found = estimate_texts(
            features,
            [hidings[k] for k in todo],
            [plan.folds[k] for k in todo],
            names=wanted,
            seeds=[keyed_seed(seed, "recover", "head", k) for k in todo],
            settings=settings,
        )
        for name, number, text in found:
            path = _path(folder, name, todo[number])
            if not path.is_file():
                arrays = {"acceptance": text.acceptance, "strength": text.strength, "latent": text.latent}
                _write(path, {key: values for key, values in arrays.items() if values is not None})
                advance(1)


def _can_learn(name: str, hiding: Hiding) -> bool:
    """Whether enough items have two visible votes, or two annotators are visible, for a model that needs them."""
    if name in BY_ANNOTATOR:
        assert hiding.visible_annotations is not None, "choose_text_estimators leaves this out"
        return len(np.unique(hiding.visible_annotations.annotator_index)) >= 2
    n = hiding.visible.sum(axis=1)
    return name not in NEED_PAIRS or float(np.mean(n[n > 0] >= 2)) >= MIN_SHARE_OF_PAIRS


def _text_estimate(stored: Stored, hiding: Hiding) -> Estimate:
    """q with the number of votes it is worth: the model's own, or fitted to all visible votes."""
    q, latent = stored["acceptance"], stored.get("latent")
    if "strength" in stored:
        return Estimate(q, stored["strength"], latent)
    strength = np.nan
    if not np.isnan(q).any():
        strength = fit_prior_strength(q, hiding.visible[:, 1], hiding.visible.sum(axis=1))
    return Estimate(q, np.full(len(q), strength), latent)


# -- files ------------------------------------------------------------------------------------------------------


def _vote_estimate(stored: Stored) -> Estimate:
    return Estimate(stored["acceptance"], stored.get("weight"))


def _path(folder: Path, name: str, number: int) -> Path:
    return folder / name / f"{number}.safetensors"


def _write(path: Path, arrays: Stored) -> None:
    with replacing(path) as temporary:
        save_file({name: np.ascontiguousarray(values, dtype=np.float64) for name, values in arrays.items()}, temporary)


def _read(folder: Path, name: str, number: int) -> Stored:
    return load_file(_path(folder, name, number))
