"""Scored candidates of a tiny generator: warm replies are accepted, orders are not."""

from typing import Any

import msgspec
import torch

from accord.candidates.generators.load import load_generator
from accord.candidates.logps import completion_logps
from accord.records import CandidateSet

GOOD = ("sorry to hear that .", "that sounds hard .", "what did you feel ?")
BAD = ("stop .", "you must go home !", "no , try more .")


def toy_rows(n_prompts: int = 12) -> list[CandidateSet]:
    """Six candidates a prompt, warm ones score high, with a warm reference; every fourth prompt validates."""
    rows = []
    for number in range(n_prompts):
        best = 0.9 - 0.01 * (number % 3)
        scores = (best, best - 0.05, best - 0.1, 0.3, 0.2, 0.1)
        rows.append(
            CandidateSet(
                id=f"p{number}",
                prompt=f"i feel {('sad', 'tired', 'lost')[number % 3]} about my {('work', 'home')[number % 2]} .",
                completions=GOOD + BAD,
                sum_logps=(-1.0,) * 6,
                n_tokens=(6, 5, 6, 3, 6, 6),
                search_scores=(-1.0,) * 6,
                scores=scores,
                references=("sorry , that sounds hard .",),
                group=f"g{number}",
                split="dev" if number % 4 == 3 else "train",
            )
        )
    return rows


def own_rows(model: str, n_prompts: int = 12) -> list[CandidateSet]:
    """`toy_rows` with the log-probabilities that the generator gives its candidates, as `accord generate` writes."""
    generator: Any = load_generator(model)
    rows = toy_rows(n_prompts)
    with torch.no_grad():
        logps = completion_logps(
            generator,
            [generator.prompt_ids(row.prompt) for row in rows],
            [[generator.completion_ids(text) for text in row.completions] for row in rows],
        )
    found = logps.sum_logps.tolist()
    return [msgspec.structs.replace(row, sum_logps=tuple(values)) for row, values in zip(rows, found, strict=True)]
