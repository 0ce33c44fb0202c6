"""Settings of the recovery room. Imports nothing heavy: this is what --help reads."""

from dataclasses import dataclass


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
    """First learning rate; decays linearly to 0."""
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
