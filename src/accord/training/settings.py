"""Settings of the one training loop, as far as every verb that trains on examples shares them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LoopSettings:
    """How long, in which steps and how fast the loop trains (see `train_in_epochs`)."""

    learning_rate: float | None = None
    """Peak learning rate of AdamW; linear decay to 0."""
    weight_decay: float = 0.0
    """Weight decay on the trained matrices."""
    warmup_steps: int = 0
    """Steps of linear warm-up."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    epochs: float = 3.0
    """Passes over the training prompts."""
    batch_size: int = 16
    """Prompts per step."""
    micro_batch_size: int = 8
    """Prompts read at once; changes memory and speed, not the step."""
    eval_every: int = 50
    """Steps between validations."""
    patience: int | None = 4
    """Stop after this many validations without a better one; null never stops early."""
