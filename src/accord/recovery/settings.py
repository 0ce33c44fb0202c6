"""Settings of the recovery room. Imports nothing heavy: this is what --help reads."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SimulatedCell:
    """Items of one kind: how many there are to learn from, and how many votes each has (every number alike)."""

    condition: str = "base"
    """What items and annotators are like; a name of `accord.recovery.simulated_items.CONDITIONS`."""
    n_items: int = 4000
    """Items to learn from; a quarter as many again to select on."""
    min_votes: int = 2
    """Fewest votes of an item."""
    max_votes: int = 4
    """Most votes of an item."""

    @property
    def name(self) -> str:
        votes = f"{self.min_votes}-{self.max_votes}" if self.max_votes > self.min_votes else str(self.min_votes)
        return f"{self.condition}/{self.n_items}/{votes}"

    @property
    def n_held_out(self) -> int:
        return self.n_items // 4


@dataclass(frozen=True)
class Contender:
    """An objective as it is trained in the simulation study."""

    name: str
    """What the tables call it."""
    objective: str
    """A name of OBJECTIVES."""
    normaliser: str = "chunk:160"
    """d-PM objectives: where the average prediction comes from."""
    through_slips: bool = True
    """Denoisers: whether votes are predicted, and checkpoints selected, through the slips, or by q itself."""
    ties_unacceptable: bool = False
    """majority: a tied item counts as unacceptable, as in the released code of d-PM, instead of half and half."""


@dataclass(frozen=True)
class SimulationSettings:
    """The simulation study: its cells, its contenders, and how a head is trained."""

    conditions: tuple[str, ...] = ("base", "imbalanced", "noisy15", "sharp", "sharp+noisy15", "resid50")
    """The study's conditions."""
    sizes: tuple[int, ...] = (250, 1000, 4000, 16000)
    """The study's numbers of items; every condition has all."""
    more: tuple[SimulatedCell, ...] = ()
    """Further cells, which the study's counts leave out."""
    contenders: tuple[Contender, ...] = (Contender("votes", "votes"),)
    """What is trained on every cell."""
    proper: tuple[str, ...] = ("votes", "soft_kl", "soft_mse")
    """Contenders that count as proper losses."""
    entered_later: tuple[str, ...] = ()
    """Contenders outside the study's own field: counted in a second count, with everybody."""
    n_seeds: int = 5
    """Repetitions, each with its own items, votes, first weights and batches."""
    n_test: int = 5000
    """Fresh items on which all are judged."""
    smoothing: float = 0.1
    """d-PM objectives: added to every label's count in the prior."""
    head_size: int = 64
    """Width of the head's hidden layer."""
    learning_rate: float = 1e-3
    """First learning rate."""
    final_rate: float = 0.0
    """Learning rate at the last step, as a share of the first: 1 is constant, 0 the linear decay of `accord fit`."""
    weight_decay: float = 0.01
    """AdamW's weight decay on matrices."""
    batch_size: int = 160
    """Items in one training step."""
    max_steps: int = 3000
    """Training steps, in whole passes over the items."""
    eval_every: int = 50
    """Steps between two looks at the held-out votes."""

    @property
    def study_cells(self) -> tuple[SimulatedCell, ...]:
        return tuple(SimulatedCell(condition, size) for size in self.sizes for condition in self.conditions)

    @property
    def cells(self) -> tuple[SimulatedCell, ...]:
        return (*self.study_cells, *self.more)


@dataclass(frozen=True)
class TextSettings:
    """How the text models of `accord recover` are fitted: as `accord fit` does with tuning head."""

    smoothing: float = 0.1
    """d-PM objectives: added to every label's count in the prior."""
    normaliser: str = "chunk:8"
    """d-PM objectives: where the average prediction comes from; chunk:G or none."""
    head_size: int = 64
    """Width of a head's hidden layer."""
    dropout: float = 0.3
    """Dropout before each layer."""
    learning_rate: float = 1e-3
    """First learning rate; decays linearly to 0."""
    weight_decay: float = 3.0
    """AdamW's weight decay on matrices."""
    epochs: int = 20
    """Passes over the training items, at most."""
    batch_size: int = 64
    """Items in one training step."""
    eval_every: int = 20
    """Steps between two looks at the fold that heads are selected on."""
    patience: int = 10
    """Stop after this many looks without a lower vote log-loss."""
    latent_size: int = 8
    """annotator_heads, pluralistic, variational: dimensions in which annotators differ."""
    n_prototypes: int = 3
    """pluralistic: ideal points of which every annotator's is a mixture."""


@dataclass(frozen=True)
class RecoverSettings(TextSettings):
    """What `accord recover` hides, which estimators it lets try, and how it judges them."""

    keep: tuple[int, ...] = (1, 2)
    """Numbers of visible votes per item; every item that is judged has more votes than the largest."""
    hide: Literal["votes", "people", "panels"] = "votes"
    """Hide random votes of each item, whole annotators, or the second of two independent panels."""
    first_panel: tuple[str, ...] = ("first/*",)
    """With hide panels: the annotators whose votes may be visible; glob patterns."""
    seeds: int = 20
    """How often votes are hidden anew; the results are averaged and never count as more votes."""
    slow_seeds: int = 5
    """The same for the slow estimators: pluralistic, variational, mace, glad."""
    objectives: tuple[str, ...] = ("all",)
    """Text models, by objective or name; all, or none for no text."""
    estimators: tuple[str, ...] = ("all",)
    """Estimators without text, by name; all (that can be run here), or none."""
    scheme: str = ""
    """Label scheme of a plain file: a shipped name or a JSON file. Empty: scheme.json beside it, else acceptable."""
    question: str = ""
    """Which question to use where annotations answer several. Empty: the scheme's."""
    splits: tuple[str, ...] = ()
    """Only items of these splits. Empty: all but test, which is not there to choose by."""
    truth: str = ""
    """Of a simulation: JSONL file with {"id", "acceptance", "vote_share"}, the true shares. Empty: unknown."""
    model: str = "builtin:minilm"
    """Pretrained encoder of the text models: local path, Hub id or builtin:minilm; it stays frozen."""
    max_length: int = 256
    """Tokens of prompt and completion together; a longer prompt loses its beginning."""
    traits: str = ""
    """File with the annotators' traits, for who is left out. Empty: annotators.jsonl beside the items."""
    budget: int | None = None
    """Votes that could be collected, for how many annotators are enough. Null: as many as there are."""
    target: float = 0.8
    """Part of the variance between items' shares that the recommended number of votes must explain."""
    n_folds: int = 5
    """Folds, by group; a text model never sees the fold that it predicts."""
    n_resamples: int = 1000
    """Bootstrap resamples behind each interval."""
    batch_tokens: int = 8192
    """Padded tokens in one batch of the encoder."""


@dataclass(frozen=True)
class SuggestSettings:
    """How items are chosen for annotation, and how that is checked on the votes there are."""

    n: int = 100
    """Items to suggest, each for one more vote."""
    level: float = 0.95
    """Of the credible intervals."""
    replay: bool = False
    """Also reveal the votes there are in the suggested order, against random order and fewest votes first."""
    seeds: int = 20
    """Replays, each with other votes kept back."""
    points: int = 20
    """Batches in which a replay reveals the votes."""
    n_resamples: int = 1000
    """Bootstrap resamples behind each interval."""
