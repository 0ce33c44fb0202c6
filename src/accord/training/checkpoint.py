"""Checkpoints of ours: tensors in safetensors, the rest in JSON, a manifest last. Nothing is pickled.

A checkpoint folder counts only with a manifest whose hashes hold; a torn newest one is passed over for the newest
whole one, and that is said.
"""

import logging
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from accord.artifacts import MANIFEST_FILE, damage, sha256_file
from accord.errors import ArtifactError
from accord.files import naming_failed_writes
from accord.json_files import read_json, write_json

logger = logging.getLogger(__name__)

Tensors = dict[str, Tensor]


class Checkpoint(NamedTuple):
    """What a training run needs to go on: named groups of tensors and a JSON state with the step."""

    tensors: dict[str, Tensors]
    state: dict[str, Any]


def write_checkpoint(checkpoint_dir: Path, step: int, checkpoint: Checkpoint) -> None:
    """Write `checkpoint_dir/step-XXXXXXXX` (manifest last, then one rename) and remove older ones but the last.

    Raises:
        ArtifactError: the system refuses to write it; the checkpoints before stay.
    """
    final = checkpoint_dir / f"step-{step:08d}"
    temporary = checkpoint_dir / f".writing-{os.getpid()}"
    try:
        with naming_failed_writes(final, temporary):
            _write_files(temporary, checkpoint)
            shutil.rmtree(final, ignore_errors=True)
            temporary.rename(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in sorted(checkpoint_dir.glob("step-*"))[:-2]:
        shutil.rmtree(old)


def _write_files(folder: Path, checkpoint: Checkpoint) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, tensors in checkpoint.tensors.items():
        whole = {key: value.detach().contiguous().cpu() for key, value in tensors.items()}
        save_file(whole, folder / f"{name}.safetensors")
    write_json(folder / "state.json", checkpoint.state)
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
    write_json(folder / MANIFEST_FILE, {"files": files})


def read_newest_checkpoint(checkpoint_dir: Path) -> Checkpoint | None:
    """The newest whole checkpoint, or None where there is none. Torn ones are named and passed over."""
    folders = sorted(checkpoint_dir.glob("step-*"), reverse=True)
    for position, folder in enumerate(folders):
        reason = _damage(folder)
        if reason is None:
            tensors = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
            return Checkpoint(tensors, read_json(folder / "state.json"))
        is_last = position == len(folders) - 1
        then = "none before it is left: training starts over" if is_last else "going back to the one before"
        logger.warning("Checkpoint %s is torn (%s); %s.", folder.name, reason, then)
    return None


def _damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint; None where it is whole."""
    try:
        return damage(folder)
    except ArtifactError:
        return f"{folder / MANIFEST_FILE} is missing or damaged"


def trainable_tensors(model: torch.nn.Module) -> Tensors:
    """Copies of the parameters that are being trained, by name."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def restore_tensors(model: torch.nn.Module, tensors: Tensors) -> None:
    """Copy `tensors` into the parameters of the same names.

    Raises:
        ArtifactError: a name or a shape that the model does not have: they are of another model.
    """
    parameters = dict(model.named_parameters())
    for name, value in tensors.items():
        found = tuple(parameters[name].shape) if name in parameters else None
        if found != tuple(value.shape):
            raise ArtifactError(
                f"the checkpoint holds {name} of shape {tuple(value.shape)}, the model has {found or 'none'}: "
                "it is of another model. Delete the scratch/ folder beside it to train from the beginning."
            )
    with torch.no_grad():
        for name, value in tensors.items():
            parameters[name].copy_(value)
