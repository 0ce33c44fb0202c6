"""accord: learn the share of people who would accept a text, and tune a generator toward it.

Public names are resolved on first use, so that `import accord` imports neither torch nor transformers.
"""

import importlib
from typing import Any

_PUBLIC = {
    "Annotation": "accord.records",
    "CandidateSet": "accord.records",
    "Item": "accord.records",
    "Measurement": "accord.records",
    "Output": "accord.records",
    "PromptRow": "accord.records",
    "AccordError": "accord.errors",
    "ArtifactError": "accord.errors",
    "ConfigError": "accord.errors",
    "DataError": "accord.errors",
    "PrepareSettings": "accord.data.settings",
    "FitSettings": "accord.preference.settings",
    "GenerateSettings": "accord.candidates.settings",
    "DecodeSettings": "accord.candidates.settings",
    "RerankSettings": "accord.candidates.settings",
    "ScoreSettings": "accord.scoring.settings",
    "PairsSettings": "accord.calibration.settings",
    "CalibrateSettings": "accord.calibration.settings",
    "TuneSettings": "accord.calibration.settings",
    "EvaluateSettings": "accord.evaluation.settings",
    "RecoverSettings": "accord.recovery.settings",
    "SuggestSettings": "accord.recovery.settings",
    "ReportSettings": "accord.report.settings",
    "ReportInputs": "accord.report.document",
    "prepare_stage": "accord.data.prepare",
    "fit_stage": "accord.preference.fit",
    "load_preference_model": "accord.preference.predict",
    "export_reward_stage": "accord.preference.export",
    "generate_stage": "accord.candidates.generate",
    "diverse_beam_search": "accord.candidates.custom_generate",
    "decode_stage": "accord.candidates.decode",
    "rerank_stage": "accord.candidates.rerank",
    "score_stage": "accord.scoring.score",
    "score_pairs": "accord.scoring.score",
    "as_trl_reward": "accord.scoring.reward",
    "calibrate_stage": "accord.calibration.calibrate",
    "tune_stage": "accord.calibration.tune",
    "export_pairs_stage": "accord.calibration.pairs",
    "evaluate_stage": "accord.evaluation.evaluate",
    "evaluate_texts": "accord.evaluation.evaluate",
    "recover_stage": "accord.recovery.recover",
    "suggest_stage": "accord.recovery.suggest",
    "report_stage": "accord.report.render",
    "run_pipeline": "accord.pipeline",
    "run_demo": "accord.demo.run",
    "read_sweep": "accord.sweep.plan",
    "run_sweep": "accord.sweep.run",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'accord' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
