"""Without padding and with a short last layer, the states are those of transformers' own encoder."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModel

from accord.preference.model import PreferenceConfig, PreferenceModel
from accord.preference.tune import add_adapters
from accord.preference.unpadded import BERT_KIN, has_bert_layers, unpadded_states
from toys import tiny_bert

SHAPE = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,
    "type_vocab_size": 2,
    "pad_token_id": 1,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {name: {} for name in BERT_KIN} | {"electra": {"embedding_size": 8}}
IDS = torch.tensor([[7, 11, 13, 5, 23, 42], [9, 8, 30, 1, 1, 1], [1, 1, 4, 1, 31, 2]])
KEPT = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1]])
"""The last row is padded on the left, and one of its real tokens has the padding's id."""
WANTED = torch.tensor([[0, 0, 1, 0, 1, 1], [0, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1]])
TYPES = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1]])


def tiny_encoder(architecture: str, **options: Any) -> Any:
    torch.manual_seed(1)
    return AutoModel.from_config(AutoConfig.for_model(architecture, **(SHAPE | options))).eval()


@pytest.mark.parametrize("wanted", [KEPT, WANTED, WANTED * torch.tensor([[1], [0], [1]])])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_and_gradients_are_those_of_the_plain_encoder(architecture: str, wanted: torch.Tensor) -> None:
    encoder = tiny_encoder(architecture, **ARCHITECTURES[architecture]).double()
    plain = encoder(input_ids=IDS, attention_mask=KEPT, token_type_ids=TYPES).last_hidden_state[wanted == 1]
    unpadded = unpadded_states(encoder, IDS, KEPT, wanted, TYPES)
    torch.testing.assert_close(unpadded, plain, atol=1e-12, rtol=1e-10)
    weights = torch.randn(plain.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    trained = [parameter for name, parameter in encoder.named_parameters() if "pooler" not in name]
    found, expected = (
        torch.autograd.grad((states * weights).sum(), trained, allow_unused=True) for states in (unpadded, plain)
    )
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-8)


def test_a_text_without_type_ids_is_all_of_type_0() -> None:
    encoder = tiny_encoder("bert")
    plain = encoder(input_ids=IDS, attention_mask=KEPT).last_hidden_state[KEPT == 1]
    torch.testing.assert_close(unpadded_states(encoder, IDS, KEPT, KEPT), plain, atol=1e-5, rtol=1e-5)


def test_no_padding_and_the_last_layer_of_wanted_tokens_alone_are_computed() -> None:
    """A layer's linear maps are 4·D² + 2·D·F multiplications a token; of those the last layer needs keys and values of
    all tokens, the rest of the wanted ones."""
    encoder = tiny_encoder("bert")
    width, inner, layers = 16, 32, 3
    n_tokens, n_wanted = int(KEPT.sum()), int(WANTED.sum())
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        unpadded_states(encoder, IDS, KEPT, WANTED)
    linear = counted.get_flop_counts()["Global"][torch.ops.aten.addmm]
    whole = 4 * width**2 + 2 * width * inner
    assert linear == 2 * ((layers - 1) * n_tokens * whole + n_tokens * 2 * width**2 + n_wanted * (whole - 2 * width**2))


def test_dropout_drops_in_training_alone() -> None:
    encoder = tiny_encoder("bert", hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
    one, other = (unpadded_states(encoder, IDS, KEPT, KEPT) for _ in range(2))
    assert torch.equal(one, other)
    encoder.train()
    assert (unpadded_states(encoder, IDS, KEPT, KEPT) - one).abs().amax(1).min() > 1e-3


def test_attention_is_dropped_too() -> None:
    encoder = tiny_encoder("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5).train()
    assert not torch.equal(*(unpadded_states(encoder, IDS, KEPT, KEPT) for _ in range(2)))


def test_a_decoder_and_other_architectures_run_as_transformers_runs_them() -> None:
    assert has_bert_layers(tiny_bert())
    assert not has_bert_layers(tiny_encoder("bert", is_decoder=True))
    assert not has_bert_layers(tiny_encoder("distilbert"))


@pytest.mark.parametrize("architecture", ["bert", "distilbert"])
@pytest.mark.parametrize("adapters", [False, True])
def test_the_models_vectors_are_means_of_the_plain_states(architecture: str, adapters: bool) -> None:
    config = PreferenceConfig(id2label={0: "unacceptable", 1: "acceptable"}, head_size=8)
    encoder = tiny_encoder(architecture)
    model = PreferenceModel.from_encoder(encoder, config, seed=0)
    if adapters:
        add_adapters(model, rank=2, seed=0)
        for name, parameter in model.encoder.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
        encoder = model.encoder
    with torch.no_grad():
        states = encoder(input_ids=IDS, attention_mask=KEPT).last_hidden_state
        found = model.vectors(IDS, KEPT, WANTED)
    means = [row[wanted == 1].mean(0) for row, wanted in zip(states, WANTED, strict=True)]
    torch.testing.assert_close(found, torch.stack(means), atol=1e-5, rtol=1e-5)
