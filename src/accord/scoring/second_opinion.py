"""What the preference model that ranked the candidates says of the outputs: what calibration optimised, as a value.

Beside the independent model's acceptance it shows how far the two judges agree, and whether a gain is the ranking
model's alone.
"""

from collections.abc import Sequence
from pathlib import Path

from scipy.special import expit

from accord.artifacts import open_stage
from accord.json_files import read_jsonl, write_jsonl
from accord.preference.predict import load_acceptance_model
from accord.pretrained import content_name
from accord.records import Output

VERSION = 1
VALUES_FILE = "values.jsonl"
NAME = "calibrating_acceptance"


def second_opinion_stage(outputs: Sequence[Path], preference: Path, *, output_dir: Path, seed: int) -> Path:
    """Write values.jsonl: the predicted acceptance of every output, for `accord evaluate --values`.

    Args:
        outputs: folders of `accord decode`. preference: folder of `accord fit`.
    """
    inputs: dict[str, Path | str] = {f"outputs {number}": folder for number, folder in enumerate(outputs)}
    inputs["preference"] = content_name(str(preference))
    stage = open_stage(output_dir, stage="second_opinion", version=VERSION, settings={}, seed=seed, inputs=inputs)
    if not stage.is_complete:
        rows = [row for folder in outputs for row in read_jsonl(folder / "outputs.jsonl", Output)]
        found = load_acceptance_model(preference).acceptance([(row.prompt, row.completion) for row in rows])
        write_jsonl(
            stage.path(VALUES_FILE),
            (
                {"id": row.id, "system": row.system, "seed": row.seed, "sample": row.sample, NAME: float(share)}
                for row, share in zip(rows, expit(found.logits), strict=True)
            ),
        )
        stage.finish()
    return stage.folder
