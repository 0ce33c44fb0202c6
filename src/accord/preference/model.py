"""The preference model: a pretrained encoder, a mean over chosen tokens, Linear → tanh → Linear → L logits.

A Hugging Face model like any other: `PreferenceModel.from_pretrained(folder)`, or `AutoModel.from_pretrained` once
this module is imported. The text side (pair encoding, batching) is in inputs.py and predict.py.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from accord.files import naming_failed_writes
from accord.preference.inputs import Pooling
from accord.preference.objectives import concentration
from accord.preference.prefix import Prefix
from accord.preference.unpadded import has_bert_layers, unpadded_states
from accord.randomness import keyed_seed

MODEL_TYPE = "accord_preference"


class PreferenceConfig(PretrainedConfig):
    """What a saved preference model knows about itself.

    Args:
        encoder_config: the encoder's configuration as a dict (with its `model_type`).
        base_model: the name the encoder was loaded from, for the model card.
        acceptable_label_ids: the labels whose summed probability is the acceptance.
        pooling: "completion_mean" or "first_token".
        n_views: 1 (the pair) or 3 (pair, completion alone, prompt alone).
        head_size, dropout: width of the head's hidden layer, and what is dropped before each of its layers.
        has_concentration: whether there is one more output, the concentration κ of `beta_binomial`.
        flip_rate: the annotator noise ε that the objective assumes: votes are predicted through it.
        max_input_tokens: tokens of prompt and completion together.
        prefix_length: tokens of the trained prefix before every layer; 0: none.
    """

    model_type = MODEL_TYPE

    def __init__(
        self,
        *,
        encoder_config: dict[str, Any] | None = None,
        base_model: str = "",
        acceptable_label_ids: tuple[int, ...] | list[int] = (1,),
        pooling: Pooling = "completion_mean",
        n_views: int = 1,
        head_size: int = 128,
        dropout: float = 0.1,
        has_concentration: bool = False,
        flip_rate: float = 0.0,
        max_input_tokens: int = 256,
        prefix_length: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.encoder_config = encoder_config or {"model_type": "bert"}
        self.base_model = base_model
        self.acceptable_label_ids = list(acceptable_label_ids)
        self.pooling = pooling
        self.n_views = n_views
        self.head_size = head_size
        self.dropout = dropout
        self.has_concentration = has_concentration
        self.flip_rate = flip_rate
        self.max_input_tokens = max_input_tokens
        self.prefix_length = prefix_length

    @property
    def labels(self) -> tuple[str, ...]:
        """The label names in the order of the logits."""
        assert self.id2label is not None, "a preference model is made with id2label"
        return tuple(self.id2label[number] for number in range(len(self.id2label)))


@dataclass
class PreferenceOutput(ModelOutput):
    """`logits` [B, L]; `concentration` [B], κ > 0, or None where the model has none."""

    logits: Tensor | None = None
    concentration: Tensor | None = None


class PreferenceHead(nn.Module):
    """Standardise → Linear → tanh → Linear, with dropout before each Linear: features [B, F] -> outputs [B, O].

    `feature_mean` and `feature_scale` [F] are saved with the weights; they stay (0, 1) unless features are cached.
    """

    feature_mean: Tensor
    feature_scale: Tensor

    def __init__(self, n_features: int, head_size: int, n_outputs: int, *, dropout: float) -> None:
        super().__init__()
        self.register_buffer("feature_mean", torch.zeros(n_features))
        self.register_buffer("feature_scale", torch.ones(n_features))
        self.hidden = nn.Linear(n_features, head_size)
        self.output = nn.Linear(head_size, n_outputs)
        self.dropout = dropout

    def forward(self, features: Tensor) -> Tensor:
        rate = self.dropout if self.training else 0.0
        standard = drop((features - self.feature_mean) / self.feature_scale, rate)
        return self.output(drop(torch.tanh(self.hidden(standard)), rate))

    def initialise(self, seed: int) -> None:
        """Set the starting weights, a function of seed and sizes only (uniform, ±1/√inputs; biases 0).

        See `start_at_base_rate` for the output's bias.
        """
        generator = torch.Generator().manual_seed(keyed_seed(seed, "head"))
        with torch.no_grad():
            for layer in (self.hidden, self.output):
                bound = layer.in_features**-0.5
                start = (2 * torch.rand(layer.weight.shape, generator=generator) - 1) * bound
                layer.weight.copy_(start.to(layer.weight))
                layer.bias.zero_()

    def start_at_base_rate(self, votes: Float[Tensor, "N L"]) -> None:
        """Set the bias of the L labels' outputs by the training votes (`base_rate_logits`); other outputs stay at 0."""
        with torch.no_grad():
            self.output.bias[: votes.shape[1]] = base_rate_logits(votes).to(self.output.bias)


def base_rate_logits(votes: Float[Tensor, "N L"]) -> Float[Tensor, " L"]:
    """Logits of the labels' shares in all votes, mean 0: where a head starts that knows nothing of the texts.

    A head that starts at equal shares spends its first steps on the base rate alone; with few and lopsided items these
    are all steps there are. Half a vote is added to each label, so that one that nobody gave stays finite.
    """
    logits = torch.log(votes.double().sum(0) + 0.5)
    return (logits - logits.mean()).to(votes.dtype)


def drop(values: Tensor, rate: float, generator: torch.Generator | None = None) -> Tensor:
    """Dropout from a given generator, so that many heads at once can draw what one head alone draws."""
    if rate == 0.0:
        return values
    keep = torch.rand(values.shape, generator=generator, device=values.device) >= rate
    return values * keep / (1.0 - rate)


class PreferenceModel(PreTrainedModel):
    """Encoder and head. `vectors` and `head` are its two halves; `forward` joins them for B pairs."""

    config_class = PreferenceConfig
    config: PreferenceConfig
    base_model_prefix = "encoder"
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    def __init__(self, config: PreferenceConfig) -> None:
        super().__init__(config)
        encoder_options = dict(config.encoder_config)
        encoder_config = AutoConfig.for_model(encoder_options.pop("model_type"), **encoder_options)
        self.encoder = AutoModel.from_config(encoder_config)
        self.prefix = Prefix(encoder_config, config.prefix_length) if config.prefix_length else None
        n_outputs = len(config.labels) + int(config.has_concentration)
        n_features = config.n_views * encoder_config.hidden_size
        self.head = PreferenceHead(n_features, config.head_size, n_outputs, dropout=config.dropout)
        self.post_init()

    @classmethod
    def from_encoder(cls, encoder: PreTrainedModel, config: PreferenceConfig, *, seed: int) -> "PreferenceModel":
        """A model on `encoder`'s weights with a fresh head; sets the configuration's `encoder_config`."""
        config.encoder_config = encoder.config.to_dict()
        model = cls(config)
        model.encoder.load_state_dict(encoder.state_dict())
        model.head.initialise(seed)
        return model.eval()

    def add_prefix(self, length: int) -> Prefix:
        """Put a prefix of zeros before every layer, to be initialised and trained; saved with the model."""
        self.config.prefix_length = length
        self.prefix = Prefix(self.encoder.config, length).to(self.device)
        return self.prefix

    def vectors(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        pooling_mask: Tensor,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:
        """Mean last hidden state over the tokens that `pooling_mask` keeps: rows [S, T] -> [S, D]."""
        mask = pooling_mask.bool()
        if has_bert_layers(self.encoder):
            states = unpadded_states(self.encoder, input_ids, attention_mask, mask, token_type_ids, prefix=self.prefix)
        else:
            options = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
            outputs = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **options)
            states = outputs.last_hidden_state[mask]
        sums = states.new_zeros(len(mask), states.shape[1]).index_add(0, mask.nonzero()[:, 0], states)
        return sums / mask.sum(1, keepdim=True)

    def outputs(self, features: Tensor) -> PreferenceOutput:
        """Features [B, F] -> logits [B, L] and, where the model has it, concentration [B]."""
        raw = self.head(features)
        if not self.config.has_concentration:
            return PreferenceOutput(logits=raw)
        return PreferenceOutput(logits=raw[:, :-1], concentration=concentration(raw[:, -1]))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        pooling_mask: Tensor,
        token_type_ids: Tensor | None = None,
    ) -> PreferenceOutput:
        """Rows [B, V, T], V views per pair in the order of `inputs.VIEWS` -> PreferenceOutput."""
        n_pairs, n_views, _ = input_ids.shape
        vectors = self.vectors(
            input_ids.flatten(0, 1),
            attention_mask.flatten(0, 1),
            pooling_mask.flatten(0, 1),
            None if token_type_ids is None else token_type_ids.flatten(0, 1),
        )
        return self.outputs(vectors.view(n_pairs, n_views * vectors.shape[-1]))


AutoConfig.register(MODEL_TYPE, PreferenceConfig)
AutoModel.register(PreferenceConfig, PreferenceModel)


def save_preference_model(model: PreferenceModel, tokenizer: Any, folder: Path, *, card: str) -> None:
    """Everything that scoring needs, in one folder: config.json, model.safetensors, tokenizer files, README.md."""
    with naming_failed_writes(folder):
        folder.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "README.md").write_text(card, encoding="utf-8")
