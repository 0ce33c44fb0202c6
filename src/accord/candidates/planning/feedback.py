"""MultiESC's predictor of user feedback (Cheng et al. 2022): how well a sequence of strategies would serve the seeker.

Each turn is read on its own by a BERT, the emotion of each token added to its embedding, and gives its first vector. An
LSTM reads these vectors; the sequence of strategies, read by another LSTM, attends to its states; both together give
one number, through a layer with tanh (without one the two would only add up), trained with squared error.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from accord.candidates.generators.emotions import N_EMOTIONS, UNKNOWN
from accord.candidates.generators.multiesc import STRATEGIES


class FeedbackConfig(PretrainedConfig):
    """What the model needs besides its weights; `encoder_config` is the BERT's."""

    model_type = "accord_feedback"
    encoder_config: dict[str, Any] | None = None
    max_turns: int = 64
    max_turn_tokens: int = 32


class FeedbackInput(NamedTuple):
    """The turns of a conversation as token ids, and a sequence of places in `STRATEGIES`; neither is empty."""

    turns: list[list[int]]
    strategies: list[int]


class FeedbackModel(PreTrainedModel):
    """`forward` gives one number per input, [B]."""

    config_class = FeedbackConfig
    config: FeedbackConfig

    def __init__(self, config: FeedbackConfig) -> None:
        super().__init__(config)
        options = dict(config.encoder_config or {})
        encoder_config = AutoConfig.for_model(options.pop("model_type"), **options)
        width = encoder_config.hidden_size
        self.encoder = AutoModel.from_config(encoder_config)
        self.emotions = nn.Embedding(N_EMOTIONS, width)
        self.token_emotions = nn.Buffer(torch.full((encoder_config.vocab_size,), UNKNOWN))
        self.conversation = nn.LSTM(width, width, batch_first=True)
        self.strategies = nn.Embedding(len(STRATEGIES), width)
        self.sequence = nn.LSTM(width, width, batch_first=True)
        self.query = nn.Linear(width, width)
        self.output = nn.Sequential(nn.Linear(2 * width, width), nn.Tanh(), nn.Linear(width, 1))
        self.post_init()

    @classmethod
    def from_encoder(cls, encoder: PreTrainedModel, config: FeedbackConfig) -> "FeedbackModel":
        """A model on the weights of `encoder`, all else drawn from torch's random state, emotions without effect."""
        config.encoder_config = encoder.config.to_dict()
        model = cls(config)
        model.encoder.load_state_dict(encoder.state_dict())
        fresh = (model.conversation, model.strategies, model.sequence, model.query, *model.output)
        for part in fresh:
            if isinstance(part, nn.LSTM | nn.Linear | nn.Embedding):
                part.reset_parameters()  # transformers' scale is too small for narrow models
        nn.init.zeros_(model.emotions.weight)
        return model.eval()

    def forward(self, inputs: Sequence[FeedbackInput]) -> Float[Tensor, " B"]:
        """Predicted feedback; neighbours and padding do not move it."""
        vectors = self._turn_vectors([turn for one in inputs for turn in one.turns])
        conversations = torch.split(vectors, [len(one.turns) for one in inputs])
        n_turns = torch.tensor([len(one.turns) for one in inputs], device=self.device)
        states, _ = self.conversation(nn.utils.rnn.pad_sequence(list(conversations), batch_first=True))
        there = torch.arange(states.shape[1], device=self.device) < n_turns[:, None]
        asked = self._sequence_states([one.strategies for one in inputs])
        similar = (states @ self.query(asked)[:, :, None])[:, :, 0] / states.shape[2] ** 0.5
        weights = similar.masked_fill(~there, -torch.inf).softmax(dim=1)
        read = (weights[:, None] @ states)[:, 0]
        found: Tensor = self.output(torch.cat([read, asked], dim=1))[:, 0]
        return found

    def _turn_vectors(self, turns: Sequence[Sequence[int]]) -> Float[Tensor, " T D"]:
        ids, lengths = self._padded(turns)
        mask = (torch.arange(ids.shape[1], device=self.device) < lengths[:, None]).long()
        embeddings = self.encoder.get_input_embeddings()(ids) + self.emotions(self.token_emotions[ids])
        found: Tensor = self.encoder(inputs_embeds=embeddings, attention_mask=mask).last_hidden_state[:, 0]
        return found

    def _sequence_states(self, sequences: Sequence[Sequence[int]]) -> Float[Tensor, " B D"]:
        """The LSTM's state after the last strategy of each sequence."""
        ids, lengths = self._padded(sequences)
        states, _ = self.sequence(self.strategies(ids))
        found: Tensor = states[torch.arange(len(ids), device=self.device), lengths - 1]
        return found

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Rows of ids filled with 0 on the right, which the masks hide, and their lengths."""
        lines = [torch.tensor(list(row), device=self.device) for row in rows]
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        return nn.utils.rnn.pad_sequence(lines, batch_first=True), lengths
