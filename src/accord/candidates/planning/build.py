"""`accord multiesc generator`: a BART becomes a MultiESC generator, ready for `accord tune`."""

from collections import Counter
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar

from accord.artifacts import open_stage
from accord.candidates.generators.emotions import PUNCTUATION, SPECIAL, UNKNOWN, WHERE, Emotion, read_vad
from accord.candidates.generators.load import GENERATOR_FOLDER, load_generator
from accord.candidates.generators.multiesc import multiesc_from_bart
from accord.candidates.planning.settings import MultiEscSettings
from accord.errors import AccordError, ConfigError
from accord.files import naming_failed_writes
from accord.json_files import write_json
from accord.pretrained import content_name
from accord.randomness import keyed_seed

VERSION = 1
NO_LEXICON = "none"
KINDS = {SPECIAL: "special", PUNCTUATION: "punctuation", UNKNOWN: "unknown"}


def build_multiesc_stage(bart: str, *, output_dir: Path, settings: MultiEscSettings, seed: int) -> Path:
    """Write `generator/`, and summary.json: how many tokens of the vocabulary have an emotion.

    Args:
        bart: local path, Hub id, or a folder of `accord tune`.
        seed: keys the gates' start.

    Returns:
        The stage's folder; finished work is reused.

    Raises:
        ConfigError: no lexicon is named; another architecture than BART. DataError: see `read_vad`.
    """
    lexicon = emotion_lexicon(settings.vad)
    inputs = {"model": content_name(bart), "vad": settings.vad}
    stage = open_stage(output_dir, stage="multiesc", version=VERSION, settings=settings, seed=seed, inputs=inputs)
    if stage.is_complete:
        return stage.folder
    disable_progress_bar()  # it takes a second
    try:
        base = load_generator(bart, device="cpu")
        torch.manual_seed(keyed_seed(seed, "multiesc"))
        model = multiesc_from_bart(base.model, base.tokenizer, lexicon=lexicon, name=bart)
    except AccordError:
        stage.abandon()
        raise
    folder = stage.path(GENERATOR_FOLDER)
    with naming_failed_writes(folder):
        model.save_pretrained(folder)
        base.tokenizer.save_pretrained(folder)
    emotions = model.model.encoder.token_emotions.tolist()
    write_json(stage.path("summary.json"), Counter(KINDS.get(row, "in the lexicon") for row in emotions))
    stage.finish()
    return stage.folder


def emotion_lexicon(vad: str) -> dict[str, Emotion] | None:
    """The lexicon of a setting `vad`; None: it is "none".

    Raises:
        ConfigError: the setting is empty. DataError: see `read_vad`.
    """
    if not vad:
        raise ConfigError(
            f"vad is not set. Expected --vad FILE, or --vad {NO_LEXICON} to do without emotions. {WHERE}."
        )
    return None if vad == NO_LEXICON else read_vad(Path(vad))
