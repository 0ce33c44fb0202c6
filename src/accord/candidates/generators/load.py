"""From a model's name to a generator."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from accord.artifacts import STAGE_FILE, require_complete
from accord.candidates.generators.blender import BlenderGenerator, BlenderJointGenerator
from accord.candidates.generators.causal import CausalGenerator
from accord.candidates.generators.mic import MicGenerator
from accord.candidates.generators.multiesc import MultiEscGenerator
from accord.candidates.generators.protocol import Generator
from accord.candidates.generators.seq2seq import Seq2SeqGenerator
from accord.candidates.generators.two_encoder import MODEL_TYPE, register_multiesc
from accord.candidates.settings import GeneratorSettings
from accord.errors import ArtifactError, ConfigError
from accord.json_files import read_json
from accord.pretrained import generator_kind, load_causal_lm, load_seq2seq_lm, load_tokenizer

GENERATOR_FOLDER = "generator"
KINDS: dict[str, tuple[Any, Callable[..., Generator]]] = {
    "causal": (load_causal_lm, CausalGenerator),
    "seq2seq": (load_seq2seq_lm, Seq2SeqGenerator),
    "blender-vanilla": (load_seq2seq_lm, BlenderGenerator),
    "blender-joint": (load_seq2seq_lm, BlenderJointGenerator),
    "mic": (load_seq2seq_lm, MicGenerator),
}
KIND_KEY = "accord_generator"
"""Where tokenizer_config.json remembers a kind that was asked for: the tokenizer is saved with whatever is trained."""
ARCHITECTURES: dict[str, Callable[..., Generator]] = {
    MODEL_TYPE: MultiEscGenerator,
    "blenderbot": BlenderGenerator,
    "blenderbot-small": BlenderGenerator,
}
"""By a model's type: architectures with a generator of their own."""
CHAT_CHOICES = {"auto": None, "yes": True, "no": False}


def load_generator(
    name: str,
    *,
    kind: str = "auto",
    system_prompt: str | None = None,
    chat: str = "auto",
    dtype: str = "float32",
    device: str = "auto",
) -> Generator:
    """The generator of a local path, a Hub id, builtin:NAME, a PEFT adapter's folder, or a stage's folder.

    Args:
        kind: one of KINDS; "auto" takes the one that the folder was made with, else what its architecture is known for.
        system_prompt: put before prompts that bring no system message.
        chat: "auto" uses the tokenizer's chat template where there is one; "yes" and "no" insist.
        device: "auto" takes a GPU where there is one.

    Raises:
        ConfigError: an unknown `chat` or `kind`, or one that tokenizer or model cannot follow; a model that writes no
            text.
        ArtifactError: it does not load.
    """
    if chat not in CHAT_CHOICES:
        raise ConfigError(f"chat is {chat!r}. Expected one of {', '.join(CHAT_CHOICES)}.")
    target = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    source = model_folder(name)
    register_multiesc()
    tokenizer = load_tokenizer(source)
    load, plain = KINDS[generator_kind(source)]
    asked = _remembered_kind(source, tokenizer) if kind == "auto" else kind
    if asked is not None:
        _require_kind(asked, name=name, load=load)
        tokenizer.init_kwargs[KIND_KEY] = asked
    model = load(source, dtype=dtype).to(target)
    generator = ARCHITECTURES.get(model.config.model_type, plain) if asked is None else KINDS[asked][1]
    return generator(model, tokenizer, name=name, system_prompt=system_prompt, chat=CHAT_CHOICES[chat])


def load_chosen(settings: GeneratorSettings, *, model: str | None = None, device: str = "auto") -> Generator:
    """The generator that a stage's settings choose, or `model` in its place, read as they say (`load_generator`)."""
    return load_generator(
        settings.model if model is None else model,
        kind=settings.generator_kind,
        system_prompt=settings.system_prompt,
        chat=settings.chat,
        dtype=settings.dtype,
        device=device,
    )


def _remembered_kind(source: str, tokenizer: Any) -> str | None:
    """The kind that was asked for when the folder was made; an adapter's folder says it, not its base's tokenizer."""
    path = Path(source) / "tokenizer_config.json"
    found = read_json(path) if path.is_file() else tokenizer.init_kwargs
    return None if found.get(KIND_KEY) is None else str(found[KIND_KEY])


def _require_kind(kind: str, *, name: str, load: Any) -> None:
    if kind not in KINDS or KINDS[kind][0] is not load:
        fitting = ", ".join(known for known, (loader, _) in KINDS.items() if loader is load)
        raise ConfigError(
            f"generator_kind is {kind!r} for model {name!r}. Expected auto, or what fits its architecture: {fitting}."
        )


def model_folder(name: str) -> str:
    """The generator inside a finished stage folder; any other name as it is."""
    folder = Path(name)
    if not (folder / STAGE_FILE).is_file():
        return name
    inside = require_complete(folder) / GENERATOR_FOLDER
    if not inside.is_dir():
        raise ArtifactError(
            f"{folder} has no folder {GENERATOR_FOLDER}/. Expected a folder of `accord tune` or "
            "`accord calibrate`, a model folder, a Hub id, or builtin:NAME."
        )
    return str(inside)
