"""The `accord` program: verbs are loaded when called, errors take one line."""

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from accord.cli.endings import EXIT_USER_ERROR, close_output, ending_of, mend_streams, stoppable
from accord.errors import AccordError, ConfigError
from accord.training.processes import is_main, n_processes

if TYPE_CHECKING:
    from cyclopts import App

VERBS = {
    "prepare": "Read annotations, split them, and measure how far the annotators agree.",
    "describe": "Show what a prepared folder holds and what the annotators disagree about.",
    "fit": "Fit a preference model: the share of people who would accept a text.",
    "tune": "Tune a generator on the texts that people wrote to prompts.",
    "generate": "Write several different candidates per prompt.",
    "score": "Score candidates with a preference model.",
    "calibrate": "Tune a generator toward the candidates that most people accept.",
    "decode": "Write the texts of one generator that are to be evaluated.",
    "evaluate": "Measure the texts of several generators, with intervals.",
    "compare": "Compare two systems of an evaluation, prompt by prompt.",
    "multiesc": "The parts of MultiESC: a generator that writes after a strategy, and the planner that chooses it.",
    "recover": "Hide votes and see which estimator finds them again: which one to use on this data.",
    "suggest": "Say which items to have annotated next, and whether that order would have paid.",
    "rate": "Serve pages on which people rate outputs, blind; export their ratings.",
    "report": "Render the folders of a run as one report.html.",
    "run": "Run the whole chain from a YAML file, or a sweep of it; finished stages are reused.",
    "demo": "Run the whole chain on the embedded sample and a simulated panel.",
    "export": "Export a preference model or preference pairs for transformers and TRL.",
    "env": "Print versions, hardware and weights: what a bug report needs.",
}
"""Verb -> its line in `accord --help`; the function of that name is in the module of that name."""
NESTED_VERBS = ("multiesc", "export")
"""Several commands under one verb: an app of its own."""
LISTING_VERBS = ("recover",)
"""Verbs whose flags take several values at once, `--keep 1 2 3`; their input comes first."""
SHARED_VERBS = ("fit", "tune", "calibrate")
"""Verbs that several processes may share (see training/processes.py)."""


def build_app() -> "App":
    """The program with all verbs, none of them imported yet."""
    from cyclopts import App, Parameter

    from accord.cli.options import apply_config_file

    app = App(
        name="accord",
        help="Learn the share of people who would accept a text, and tune a text generator toward it.",
        version=_version,
        config=apply_config_file,
        help_format="markdown",
        suppress_keyboard_interrupt=False,
    )
    for position, (verb, line) in enumerate(VERBS.items()):
        if verb in NESTED_VERBS:
            app.command(f"accord.cli.{verb}:{verb}", name=verb, help=line, sort_key=position)
            continue
        own_config = {"config": ()} if verb == "run" else {}  # its CONFIG is the whole chain's, not its flags'
        app.command(
            f"accord.cli.{verb}:{verb}",
            name=verb,
            help=line,
            sort_key=position,
            # no --empty-... twins
            default_parameter=Parameter(negative_iterable=(), consume_multiple=verb in LISTING_VERBS),
            **own_config,
        )
    app.command(
        "accord.cli.completion:install_completion",
        name="--install-completion",
        help="Write the completion script for your shell (bash, zsh, fish).",
        config=(),
    )
    return app


def _version() -> str:
    from importlib.metadata import version  # a tenth of the time that help takes

    return version("accord")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (default: those of the process) and return its exit code."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch loads OpenMP: spinning threads starve each other
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # peft 0.21 asks transformers 5.23 for a name it renamed: nothing a user of accord can mend.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    if not is_main():
        logging.disable(logging.WARNING)  # the main process says it
    mend_streams()
    with stoppable() as stopped:
        try:
            return _run(tokens)
        except BaseException as error:
            ending = ending_of(error, stopped)
            if ending is None:
                raise
            close_output()
            return _fail(ending.text, ending.code) if ending.text else ending.code


def _run(tokens: Sequence[str]) -> int:
    from cyclopts import CycloptsError

    try:
        _require_one_process(tokens)
        build_app()(tokens, exit_on_error=False, print_error=False, verbose=False, result_action="return_value")
        _flush_output()
    except AccordError as error:
        return _fail(str(error), EXIT_USER_ERROR)
    except CycloptsError as error:
        verb = "".join(f" {name}" for name in error.command_chain or ())
        return _fail(f"{' '.join(str(error).split())} See `accord{verb} --help`.", EXIT_USER_ERROR)
    return 0


def _flush_output() -> None:
    """Here, where it can still be said that it fails."""
    try:
        sys.stdout.flush()
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from None


def _require_one_process(tokens: Sequence[str]) -> None:
    verb = next((token for token in tokens if not token.startswith("-")), "")
    if n_processes() > 1 and verb in VERBS and verb not in SHARED_VERBS:
        raise ConfigError(
            f"accord {verb} runs in one process, but {n_processes()} were started. Start it without a launcher; "
            f"only accord {', '.join(SHARED_VERBS[:-1])} and {SHARED_VERBS[-1]} share their work."
        )


def _fail(text: str, code: int) -> int:
    if not is_main():
        return code
    sys.stderr.write(f"accord: {text}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
