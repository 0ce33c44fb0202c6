"""The peers of benchmarks/scoring.py: the exported one-logit classifier in plain transformers and in CrossEncoder.

Runs in an environment without accord.
"""

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.peers import serve

Pairs = Sequence[Sequence[str]]
Predict = Callable[[Pairs, int], list[float]]
loaded: dict[str, Predict] = {}


def load_pipeline(folder: str) -> Predict:
    """transformers' text classification on text pairs, as its documentation says."""
    from transformers import pipeline

    classify: Any = pipeline("text-classification", model=folder, device="cpu")

    def predict(pairs: Pairs, batch_size: int) -> list[float]:
        inputs = [{"text": prompt, "text_pair": completion} for prompt, completion in pairs]
        found = classify(inputs, batch_size=batch_size, function_to_apply="none", truncation="only_first")
        return [row["score"] for row in found]

    return predict


def load_cross_encoder(folder: str) -> Predict:
    """sentence-transformers' CrossEncoder, which sorts by length itself."""
    import sentence_transformers
    import torch

    encoder: Any = sentence_transformers.CrossEncoder(folder, device="cpu")

    def predict(pairs: Pairs, batch_size: int) -> list[float]:
        rows = [tuple(pair) for pair in pairs]
        found = encoder.predict(rows, batch_size=batch_size, activation_fn=torch.nn.Identity(), show_progress_bar=False)
        return [float(score) for score in found]

    return predict


LOADERS = {"transformers pipeline": load_pipeline, "sentence-transformers CrossEncoder": load_cross_encoder}


def load(peer: str, folder: str, threads: int) -> dict[str, str]:
    """Load the classifier; the versions that load it."""
    import importlib.metadata

    import torch

    torch.set_num_threads(threads)
    loaded["predict"] = LOADERS[peer](folder)
    names = ["torch", "transformers"] + (["sentence-transformers"] if "sentence" in peer else [])
    return {name: importlib.metadata.version(name) for name in names}


def predict(pairs: Pairs, batch_size: int) -> list[float]:
    """The logit of each pair, in order."""
    return loaded["predict"](pairs, batch_size)


if __name__ == "__main__":
    serve({"load": load, "predict": predict})
