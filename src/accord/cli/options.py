"""What the verbs share on the command line: the flags of every stage, and `--config`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter
from cyclopts.config import Dict

SETTINGS = Parameter(name="*", group=Group("Settings", sort_key=1))
"""Marks a settings dataclass whose fields become flags."""
COMMON = Parameter(name="*", group=Group("Common to the verbs", sort_key=2))
SWITCH = Parameter(negative=())
"""Marks a flag that has no --no-... twin."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Flags of a verb that writes no stage folder."""

    config: Path | None = None
    """YAML file with the same keys as the flags, or a file of `accord run` for the verb's section of it; what the
    command line says wins."""
    json: Annotated[bool, SWITCH] = False
    """Print the result as JSON instead of text; progress stays on standard error."""


@dataclass(frozen=True, kw_only=True)
class StageOptions:
    """Flags of a verb that runs one stage."""

    output_dir: Path
    """Folder to write; a finished one with the same settings is reused, an interrupted one goes on."""
    seed: int = 0
    """Every random draw is keyed by it."""
    config: Path | None = None
    """YAML file with the same keys as the flags, or a file of `accord run` for the verb's section of it; what the
    command line says wins."""
    json: Annotated[bool, SWITCH] = False
    """Print the result as JSON instead of text; progress stays on standard error."""


DEFAULT_OPTIONS = Options()


def apply_config_file(app: Any, commands: Sequence[str], arguments: Any) -> None:
    """Give the flags that the command line left out the values of the `--config` file (called by cyclopts)."""
    from accord.config import check_keys, read_config  # reads YAML, which help does not

    chosen = next((argument for argument in arguments if argument.name == "--config" and argument.tokens), None)
    if chosen is None:
        return
    path = Path(chosen.tokens[-1].value)
    names = [argument.name for argument in arguments if argument is not chosen]
    flags = [name.removeprefix("--") for name in names if name != "*"]  # "*": a settings class, its fields follow
    values = _for_verb(read_config(path), commands)
    check_keys(values, flags, where=str(path))
    Dict(values, source=str(path), use_commands_as_keys=False)(app, tuple(commands), arguments)


def _for_verb(values: dict[str, Any], commands: Sequence[str]) -> dict[str, Any]:
    """Of a file of `accord run` the verb's own section, with the file's seed; any other file as it is."""
    from accord.config import canonical_key

    section = values.get(canonical_key(commands[-1])) if commands else None
    if not isinstance(section, dict):
        return values
    own = {canonical_key(str(key)): value for key, value in section.items()}
    return {"seed": values["seed"], **own} if "seed" in values else own
