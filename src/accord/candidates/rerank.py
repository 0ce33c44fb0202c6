"""Best of K by score: does picking among a generator's own samples do as well as tuning the generator?"""

from pathlib import Path

from accord.artifacts import open_stage
from accord.candidates.select import select_best
from accord.candidates.settings import RerankSettings
from accord.json_files import read_jsonl, write_jsonl
from accord.preference.predict import load_acceptance_model
from accord.pretrained import content_name
from accord.records import Output
from accord.scoring.score import score_pairs

VERSION = 1
OUTPUTS_FILE = "outputs.jsonl"


def rerank_stage(outputs: Path, preference: Path, *, output_dir: Path, settings: RerankSettings, seed: int) -> Path:
    """Write `outputs.jsonl`: of every `k` samples of a prompt the one the preference model scores highest.

    Args:
        outputs: folder of `accord decode` with at least k · picks samples per prompt; further ones are not looked at.
        preference: folder of `accord fit` or a preference model folder, the one that calibration ranks by.
    """
    stage = open_stage(
        output_dir,
        stage="rerank",
        version=VERSION,
        settings=settings,
        seed=seed,
        inputs={"outputs": outputs, "preference": content_name(str(preference))},
    )
    if stage.is_complete:
        return stage.folder
    pool = settings.k * settings.picks
    rows = [row for row in read_jsonl(outputs / OUTPUTS_FILE, Output) if row.sample < pool]
    pairs = [(row.prompt, row.completion) for row in rows]
    scores = score_pairs(load_acceptance_model(preference), pairs, utility="logit").values
    write_jsonl(
        stage.path(OUTPUTS_FILE), select_best(rows, [float(s) for s in scores], settings.k, system=settings.system)
    )
    stage.finish()
    return stage.folder
