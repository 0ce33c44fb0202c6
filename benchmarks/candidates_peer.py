"""transformers 4.56's diverse beam search, run by benchmarks/candidates.py in an environment of its own."""

from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from benchmarks.peers import peak_bytes, reset_peak, serve

LOADED: dict[str, Any] = {}


def load(folder: str) -> dict[str, Any]:
    """Load the model of a folder; what was loaded before goes."""
    LOADED.clear()
    config = transformers.AutoConfig.from_pretrained(folder)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    LOADED["model"] = kind.from_pretrained(folder, use_safetensors=True, dtype=torch.float32).eval()
    reset_peak()
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    return {"resident_bytes": peak_bytes(), "versions": versions}


def generate(
    prompts: list[list[int]], *, pad_id: int, n_groups: int, diversity_penalty: float, max_new_tokens: int
) -> list[list[list[int]]]:
    """The completions of every prompt, best first, all prompts in one batch."""
    model = LOADED["model"]
    is_causal = not model.config.is_encoder_decoder
    longest = max(map(len, prompts))
    ids, mask = [], []
    for prompt in prompts:
        padding = longest - len(prompt)
        ids.append([pad_id] * padding + prompt if is_causal else prompt + [pad_id] * padding)
        mask.append([0] * padding + [1] * len(prompt) if is_causal else [1] * len(prompt) + [0] * padding)
    with torch.no_grad():
        found = model.generate(
            input_ids=torch.tensor(ids),
            attention_mask=torch.tensor(mask),
            do_sample=False,
            num_beams=n_groups,
            num_beam_groups=n_groups,
            num_return_sequences=n_groups,
            diversity_penalty=diversity_penalty,
            max_new_tokens=max_new_tokens,
        )
    n_read = longest if is_causal else 1
    rows = found[:, n_read:].tolist()
    return [rows[start : start + n_groups] for start in range(0, len(rows), n_groups)]


if __name__ == "__main__":
    serve({"load": load, "generate": generate})
