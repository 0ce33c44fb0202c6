"""Two toy systems on the same prompts, two samples each."""

from collections.abc import Callable, Iterator
from pathlib import Path

from accord.json_files import write_jsonl
from accord.records import Output

SystemWriter = Callable[..., Path]
PROMPTS = ("lost my job", "cannot sleep", "friend is angry", "moved away", "failed again", "so tired")
REFERENCES = ("that sounds hard , tell me more .",)
TEXTS = {
    "base": ("you should try to stop .", "that sounds fine ."),
    "tuned": ("that sounds hard , tell me more .", "i hear that sounds so hard ."),
}


def system_outputs(system: str, *, grouped: bool = True) -> Iterator[Output]:
    """Six prompts in three groups (two each), two samples each; the last letter of the prompt varies the texts."""
    for number, prompt in enumerate(PROMPTS):
        for sample, text in enumerate(TEXTS[system]):
            yield Output(
                id=f"p{number}",
                prompt=prompt,
                completion=f"{text} {prompt.split()[0]}" * (number % 3 != 2 or system == "tuned"),
                system=system,
                sample=sample,
                references=REFERENCES,
                group=f"g{number // 2}" if grouped else None,
            )


def system_writer(parent: Path) -> SystemWriter:
    """A function that writes a system's outputs.jsonl into a folder of its name under `parent`."""

    def write(system: str, *, grouped: bool = True) -> Path:
        folder = parent / system
        folder.mkdir(exist_ok=True)
        write_jsonl(folder / "outputs.jsonl", system_outputs(system, grouped=grouped))
        return folder

    return write
