"""The whole story on one screen: annotations -> preference models -> candidates -> calibration -> evaluation -> report.

Every stage writes OUT/STAGE/FINGERPRINT/, so an edited configuration makes new folders where results may change and
reuses the rest. Two preference models are fitted: the one that ranks candidates, and an independent one (other
annotators, other seed) that only evaluates. Beside the calibrated generator stand the controls without which no
effect can be attributed: the same steps without ranking, with shuffled scores, and best-of-K reranking of the base.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from accord.artifacts import MANIFEST_FILE
from accord.calibration.settings import CalibrateSettings, TuneSettings
from accord.candidates.settings import DecodeSettings, GenerateSettings, RerankSettings
from accord.config import build_settings, canonical_key, check_keys, read_config
from accord.data.settings import PrepareSettings
from accord.errors import ConfigError
from accord.evaluation.settings import EvaluateSettings
from accord.preference.settings import FitSettings
from accord.report.settings import ReportSettings
from accord.scoring.settings import ScoreSettings

TRAINED_SYSTEMS: Mapping[str, Mapping[str, Any]] = {
    "calibrated": {},
    "reference_only": {"ranking_weight": 0.0},
    "shuffled": {"score_control": "shuffled"},
}
"""Generators that are trained, and what each changes in the calibration settings."""
SYSTEMS = ("base", "best_of_k", "reference_only", "shuffled", "calibrated")
COMPARISONS = (
    "calibrated - reference_only",
    "calibrated - base",
    "calibrated - shuffled",
    "calibrated - best_of_k",
    "reference_only - base",
)

PATHS = ("source", "prompts", "test_prompts")
FLAGS = ("human_replies", "second_opinion", "watch_acceptance")
OPTIONAL_SECTIONS = ("prepare_prompts", "tune", "prepare_tune")
PLAIN_KEYS = ("seed", "systems", *PATHS, *FLAGS)
"""Keys of an `accord run` file that are no sections."""

Measure = Callable[[Sequence[Path]], Sequence[Path]]
"""Folders of outputs -> files with further numbers per output (the demo's true acceptance; ratings)."""


@dataclass(frozen=True)
class PipelineSettings:
    """A whole experiment: the sections of an `accord run` file. Without `prompts` it ends with the preference model."""

    source: Path
    """Annotated corpus, as `accord prepare` reads it."""
    prompts: Path | None = None
    """Prompts with references: PromptRow lines, or a corpus that `prepare_prompts` reads; split dev only validates."""
    test_prompts: Path | None = None
    """Prompts that every system answers for the evaluation; without it, those of split test of `prompts`."""
    human_replies: bool = False
    """Evaluate the human references of the test prompts as a system of their own."""
    second_opinion: bool = False
    """Evaluate all outputs under the calibrating preference model too, and show how far it and the other agree."""
    watch_acceptance: bool = False
    """Tell in every calibration's curve how acceptable what it writes is, under the preference model that ranks."""
    systems: tuple[str, ...] = SYSTEMS
    """Which of the systems are made and evaluated."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    prepare_prompts: PrepareSettings | None = None
    fit: FitSettings = field(default_factory=FitSettings)
    independent: FitSettings = field(default_factory=FitSettings)
    tune: TuneSettings | None = None
    """Supervised tuning that makes the generator before all else; without it the named model is the generator."""
    prepare_tune: PrepareSettings | None = None
    """How `prompts` are read for the tuning alone; without it, as for everything else."""
    generate: GenerateSettings = field(default_factory=GenerateSettings)
    score: ScoreSettings = field(default_factory=ScoreSettings)
    calibrate: CalibrateSettings = field(default_factory=CalibrateSettings)
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    rerank: RerankSettings = field(default_factory=RerankSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    report: ReportSettings = field(default_factory=ReportSettings)


class Run(NamedTuple):
    """The finished folders of a run, by role; what the run has not is None or empty."""

    prepared: Path
    preference: Path
    independent: Path | None
    candidates: Path | None
    calibration: dict[str, Path]
    outputs: dict[str, Path]
    evaluation: Path | None
    report: Path
    tuned: Path | None = None


class Prompts(NamedTuple):
    """A file or prepared folder of prompts and the splits of it that are meant; no splits: all."""

    path: Path
    splits: tuple[str, ...] = ()


def run_pipeline(
    settings: PipelineSettings,
    *,
    output_dir: Path,
    seed: int,
    measure: Measure | None = None,
    notes: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Run:
    """Run the chain, reusing every finished stage; returns its folders.

    Args:
        seed: of every stage but the independent preference model, which takes seed + 1.
        measure: further numbers for the outputs, joined in the evaluation.
        notes: Markdown shown at the end of the report.
        say: called with one line per stage (default: standard error).

    Raises:
        ConfigError: a section contradicts another (see `check_pipeline`).
    """
    from accord.report.document import ReportInputs
    from accord.report.render import report_stage

    check_pipeline(settings)
    stage = _Stages(output_dir, seed, seed, say or _say)
    run = _fitted(settings, stage)
    if settings.prompts is not None:
        run = _evaluated(settings, _written(settings, run, stage), stage, measure)
    inputs = ReportInputs(*run[:5], list(run.outputs.values()), run.evaluation, notes)
    return run._replace(report=stage("report", report_stage, inputs, settings=settings.report))


def run_systems(
    settings: PipelineSettings,
    *,
    output_dir: Path,
    seed: int,
    data_seed: int,
    say: Callable[[str], None] | None = None,
) -> Run:
    """The chain without evaluation and report: the preference models, and what every system writes.

    Args:
        data_seed: of what several runs must share to be compared: how items and prompts are read and split, the
            supervised tuning, candidates that are searched for rather than drawn, and (plus 1) the independent
            preference model. `seed` is of all other stages.
    """
    check_pipeline(settings)
    stage = _Stages(output_dir, seed, data_seed, say or _say)
    run = _fitted(settings, stage)
    return run if settings.prompts is None else _written(settings, run, stage)


def _fitted(settings: PipelineSettings, stage: "_Stages") -> Run:
    """The items and the preference model that ranks candidates."""
    from accord.data.prepare import prepare_stage
    from accord.preference.fit import fit_stage

    prepared = stage("prepare", prepare_stage, settings.source, settings=settings.prepare, seed=stage.data_seed)
    preference = stage("preference", fit_stage, prepared, settings=settings.fit)
    return Run(prepared, preference, None, None, {}, {}, None, Path())


def _written(settings: PipelineSettings, run: Run, stage: "_Stages") -> Run:
    """From prompts to what all systems write, and the preference model that judges it."""
    from accord.calibration.calibrate import GENERATOR_DIR, calibrate_stage
    from accord.candidates.decode import decode_stage
    from accord.candidates.generate import generate_stage
    from accord.candidates.human import human_stage
    from accord.candidates.rerank import rerank_stage
    from accord.preference.fit import fit_stage
    from accord.scoring.score import score_stage

    judge_seed = stage.data_seed + 1
    independent = stage("independent", fit_stage, run.prepared, settings=settings.independent, seed=judge_seed)
    prompts, test = _prompts(settings, stage)
    tuned = _tuned(settings, prompts, stage)
    if tuned is not None:
        settings = _with_generator(settings, str(tuned / GENERATOR_DIR))
    draws = {} if settings.generate.method == "sample" else {"seed": stage.data_seed}  # a search draws nothing
    generate = settings.generate
    generated = stage("candidates", generate_stage, prompts.path, settings=generate, splits=prompts.splits, **draws)
    scored = stage("scores", score_stage, generated, run.preference, settings=settings.score)
    calibrate = settings.calibrate
    if settings.watch_acceptance or calibrate.objective == "rloo":
        calibrate = replace(calibrate, preference_model=str(run.preference))
    calibration = {
        name: stage(name, calibrate_stage, scored, settings=replace(calibrate, **changes))
        for name, changes in TRAINED_SYSTEMS.items()
        if name in settings.systems
    }

    def decoded(system: str, decode: DecodeSettings) -> Path:
        return stage("outputs", decode_stage, test.path, system=system, settings=decode, splits=test.splits)

    n_pool = settings.rerank.k * settings.rerank.picks if "best_of_k" in settings.systems else 1
    outputs = {"base": decoded("base", replace(settings.decode, samples=max(settings.decode.samples, n_pool)))}
    if "best_of_k" in settings.systems:
        outputs["best_of_k"] = stage("outputs", rerank_stage, outputs["base"], run.preference, settings=settings.rerank)
    for name, folder in calibration.items():
        outputs[name] = decoded(name, replace(settings.decode, model=str(folder / GENERATOR_DIR)))
    outputs = {system: outputs[system] for system in SYSTEMS if system in settings.systems}
    if settings.human_replies:
        outputs["human"] = stage("outputs", human_stage, test.path, splits=test.splits, seed=stage.data_seed)
    return run._replace(
        independent=independent, candidates=scored, calibration=calibration, outputs=outputs, tuned=tuned
    )


def _tuned(settings: PipelineSettings, prompts: "Prompts", stage: "_Stages") -> Path | None:
    """The generator that supervised tuning makes, the same for all seeds; None without a section tune."""
    if settings.tune is None:
        return None
    from accord.calibration.tune import tune_stage
    from accord.data.prepare import prepare_stage

    path, splits = prompts
    if settings.prepare_tune is not None:
        assert settings.prompts is not None
        path = stage("prompts", prepare_stage, settings.prompts, settings=settings.prepare_tune, seed=stage.data_seed)
        splits = ("train", "dev")
    return stage("tuned", tune_stage, path, settings=settings.tune, splits=splits, seed=stage.data_seed)


def _with_generator(settings: PipelineSettings, model: str) -> PipelineSettings:
    """The settings with another generator in every section that names one."""
    return replace(
        settings,
        generate=replace(settings.generate, model=model),
        calibrate=replace(settings.calibrate, model=model),
        decode=replace(settings.decode, model=model),
    )


def _evaluated(settings: PipelineSettings, run: Run, stage: "_Stages", measure: Measure | None) -> Run:
    """What all systems wrote, measured and compared."""
    from accord.evaluation.evaluate import evaluate_stage
    from accord.scoring.second_opinion import VALUES_FILE, second_opinion_stage

    outputs = list(run.outputs.values())
    values = [] if measure is None else list(measure(outputs))
    if settings.second_opinion:
        judged = stage("second_opinion", second_opinion_stage, outputs, run.preference)
        values.append(judged / VALUES_FILE)
    compare = tuple(pair for pair in COMPARISONS if set(pair.split(" - ")) <= set(settings.systems))
    evaluate = replace(settings.evaluate, preference_model=str(run.independent), compare=compare)
    return run._replace(evaluation=stage("evaluation", evaluate_stage, outputs, settings=evaluate, values=values))


def _prompts(settings: PipelineSettings, stage: "_Stages") -> tuple[Prompts, Prompts]:
    """The prompts to calibrate on and those of the evaluation."""
    from accord.data.prepare import prepare_stage

    assert settings.prompts is not None
    path = settings.prompts
    if settings.prepare_prompts is not None:
        path = stage("prompts", prepare_stage, path, settings=settings.prepare_prompts, seed=stage.data_seed)
    if settings.test_prompts is not None:
        return Prompts(path), Prompts(settings.test_prompts)
    return Prompts(path, ("train", "dev")), Prompts(path, ("test",))


def read_pipeline(path: Path, *, scale: str | None = None) -> tuple[PipelineSettings, int]:
    """The settings and seed of an `accord run` file; its paths are relative to it and may name ${VARIABLES}.

    Args:
        scale: the entry of the file's `scales` whose sections are laid over those of the file, key by key.

    Raises:
        ConfigError: an unknown or missing section, key, scale or variable, or a value of the wrong type.
    """
    values = read_run(path, scale=scale)
    return build_pipeline(values, path), values.get("seed", 0)


def read_run(path: Path, *, scale: str | None, standing_on_it: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The keys of an `accord run` file at one of its scales, laid over those of the file it names as `base`, if any.

    The base is taken at the same scale if it has scales; its paths are relative to it.

    Raises:
        ConfigError: a file that cannot be read, a scale that is not there, or files that stand on each other.
    """
    found = read_config(path)
    own = at_scale(found, scale, where=str(path))
    if "vary" in own or "base" not in own:
        return own
    if path.resolve() in standing_on_it:
        raise ConfigError(f"{path}: base leads back to the file itself. Expected another file of a run.")
    base_path = path_of(path, "base", own.pop("base"))
    base_scale = scale if "scales" in read_config(base_path) else None
    base = read_run(base_path, scale=base_scale, standing_on_it=(*standing_on_it, path.resolve()))
    base |= {key: str(path_of(base_path, key, base[key]).absolute()) for key in PATHS if base.get(key) is not None}
    return laid_over(base, own)


def build_pipeline(values: Mapping[str, Any], path: Path) -> PipelineSettings:
    """The settings that the keys and sections of a file at `path` make, its scale applied.

    Raises:
        ConfigError: an unknown or missing section or key, or a value of the wrong type.
    """
    sections = [name for name in PipelineSettings.__dataclass_fields__ if name not in PLAIN_KEYS]
    check_keys(values, [*PLAIN_KEYS, *sections], where=str(path))
    if "source" not in values:
        raise ConfigError(f"{path}: source is missing. Expected the path of a file or folder.")
    built: dict[str, Any] = {
        key: build_settings(SECTION_TYPES[key], values.get(key) or {}, where=f"{path}: {key}")
        for key in sections
        if key in values or key not in OPTIONAL_SECTIONS
    }
    built |= {key: path_of(path, key, values[key]) for key in PATHS if values.get(key) is not None}
    for key, wanted, kind in [("seed", "a whole number", int), *((flag, "true or false", bool) for flag in FLAGS)]:
        if type(values.get(key, kind())) is not kind:
            raise ConfigError(f"{path}: {key} is {values[key]!r}. Expected {wanted}.")
    built |= {flag: values[flag] for flag in FLAGS if flag in values}
    return PipelineSettings(**built, systems=_systems(values.get("systems", SYSTEMS), where=str(path)))


def _systems(found: Any, *, where: str) -> tuple[str, ...]:
    if not isinstance(found, list | tuple) or not found or not all(name in SYSTEMS for name in found):
        raise ConfigError(f"{where}: systems is {found!r}. Expected a list of some of {', '.join(SYSTEMS)}.")
    return tuple(found)


def at_scale(values: Mapping[str, Any], scale: str | None, *, where: str) -> dict[str, Any]:
    """The file's values with those of one of its scales laid over them."""
    scales = values.get("scales") or {}
    if not isinstance(scales, dict) or not all(isinstance(changes, dict | None) for changes in scales.values()):
        raise ConfigError(f"{where}: scales is {scales!r}. Expected names of scales, each with sections.")
    if scale is None and scales:
        raise ConfigError(f"{where} has the scales {', '.join(scales)}. Choose one with --scale.")
    if scale is not None and scale not in scales:
        known = f"Expected one of {', '.join(scales)}." if scales else "The file has no scales; leave --scale out."
        raise ConfigError(f"{where}: there is no scale {scale!r}. {known}")
    without = {key: value for key, value in values.items() if key != "scales"}
    return laid_over(without, scales.get(scale) or {})


def laid_over(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a run with changes laid over them, sections key by key."""
    merged = dict(values)
    for key, change in changes.items():
        name, old = canonical_key(str(key)), merged.get(canonical_key(str(key)))
        merged[name] = {**old, **change} if isinstance(old, dict) and isinstance(change, dict) else change
    return merged


def path_of(config_path: Path, key: str, value: Any) -> Path:
    """A path of the file, its ${VARIABLES} replaced."""
    text = str(value)
    for name in re.findall(r"\$\{(\w+)\}", text):
        if name not in os.environ:
            raise ConfigError(
                f"{config_path}: {key} is {text!r}, but {name} is not set. Set it to the folder it stands for."
            )
        text = text.replace(f"${{{name}}}", os.environ[name])
    return config_path.parent / text


def check_pipeline(settings: PipelineSettings) -> None:
    """Refuse a configuration whose sections contradict each other.

    Raises:
        ConfigError: the generator differs between tuning, generating, calibrating and decoding; sections that need
            others without them.
    """
    if settings.prompts is None and (settings.test_prompts or settings.prepare_prompts or settings.human_replies):
        raise ConfigError(
            "test_prompts, prepare_prompts and human_replies need prompts, which are missing. "
            "Name the prompts, or leave those three out to stop after the preference model."
        )
    if settings.prepare_tune is not None and settings.tune is None:
        raise ConfigError("prepare_tune is how prompts are read for tune, which is missing. Add it, or leave both out.")
    models = {settings.generate.model, settings.calibrate.model, settings.decode.model}
    if len(models) > 1:
        raise ConfigError(
            f"generate.model, calibrate.model and decode.model differ: {', '.join(sorted(models))}. "
            "Calibration is of the generator that wrote the candidates; give the three the same model."
        )
    if settings.tune is not None and settings.tune.model not in models:
        raise ConfigError(
            f"tune.model is {settings.tune.model} and the generator {models.pop()}. Tuning makes the generator of all "
            "other sections; give them the same model."
        )


SECTION_TYPES: Mapping[str, type] = {
    "prepare": PrepareSettings,
    "prepare_prompts": PrepareSettings,
    "prepare_tune": PrepareSettings,
    "tune": TuneSettings,
    "fit": FitSettings,
    "independent": FitSettings,
    "generate": GenerateSettings,
    "score": ScoreSettings,
    "calibrate": CalibrateSettings,
    "decode": DecodeSettings,
    "rerank": RerankSettings,
    "evaluate": EvaluateSettings,
    "report": ReportSettings,
}
"""What each section of a file becomes."""


class _Stages:
    """Runs stages below one folder and says of each whether it was made or reused."""

    def __init__(self, output_dir: Path, seed: int, data_seed: int, say: Callable[[str], None]) -> None:
        self.output_dir, self.seed, self.data_seed, self.say = output_dir, seed, data_seed, say

    def __call__(self, name: str, run: Callable[..., Path], *inputs: Any, **options: Any) -> Path:
        parent = self.output_dir / name
        finished_before = {path.parent for path in parent.glob(f"*/{MANIFEST_FILE}")}
        started = time.monotonic()
        folder = run(*inputs, output_dir=parent / "{fingerprint}", **{"seed": self.seed, **options})
        system = options.get("system") or getattr(options.get("settings"), "system", None)
        label = f"{name} ({system})" if system else name
        what = "reused" if folder in finished_before else f"done in {time.monotonic() - started:.1f} s"
        self.say(f"{label:<28} {what:<16} {folder}")
        return folder


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 -- the run's own log
