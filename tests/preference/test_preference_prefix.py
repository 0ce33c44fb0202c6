"""A prefix is what it says: keys and values that the text attends to, and nothing else changes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, DynamicCache

from accord.errors import ConfigError
from accord.preference.model import PreferenceConfig, PreferenceModel, save_preference_model
from accord.preference.predict import load_preference_model, predict_logits
from accord.preference.prefix import Prefix
from accord.preference.unpadded import BERT_KIN, require_prefix, unpadded_states
from accord.records import Prompt
from toys import tiny_bert, word_tokenizer

SHAPE = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,
}
TAKE_A_PREFIX: dict[str, dict[str, Any]] = {name: {} for name in BERT_KIN} | {"electra": {"embedding_size": 8}}
TAKE_NONE: dict[str, dict[str, Any]] = {
    "deberta": {},
    "deberta-v2": {},
    "modernbert": {"pad_token_id": 0, "eos_token_id": 2, "bos_token_id": 2, "cls_token_id": 2, "sep_token_id": 2},
    "distilbert": {},
    "mpnet": {},
    "albert": {"embedding_size": 8},
    "fnet": {},
    "llama": {"bos_token_id": 1, "eos_token_id": 2},
}
PAIRS: list[tuple[Prompt, str]] = [
    ("i feel sad .", "sorry to hear that , it sounds hard ."),
    ("", "why do you feel bad ?"),
    ("i feel tired about my work and my mother and my friend and my home .", "yes"),
]


def tiny_encoder(architecture: str, **options: Any) -> Any:
    torch.manual_seed(1)
    return AutoModel.from_config(AutoConfig.for_model(architecture, **(SHAPE | options))).eval()


def random_prefix(encoder: Any, length: int) -> Prefix:
    prefix = Prefix(encoder.config, length)
    for number, parameter in enumerate(prefix.parameters()):
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(number))
    return prefix


def prefixed_model() -> PreferenceModel:
    config = PreferenceConfig(id2label={0: "unacceptable", 1: "acceptable"}, head_size=8, max_input_tokens=64)
    model = PreferenceModel.from_encoder(tiny_bert(), config, seed=3)
    model.add_prefix(4).load_state_dict(random_prefix(model.encoder, 4).state_dict())
    return model.eval()


@pytest.mark.parametrize("architecture", TAKE_A_PREFIX)
def test_a_prefix_of_a_texts_own_tokens_is_that_text(architecture: str) -> None:
    """Attention knows no order: where the prefix holds what tokens 4 and 5 of a text have as keys and values, tokens
    0 to 3 end up in every layer as they do in the whole text."""
    encoder = tiny_encoder(architecture, **TAKE_A_PREFIX[architecture])
    ids = torch.tensor([[7, 11, 13, 5, 23, 42]])
    cache = DynamicCache()
    with torch.no_grad():
        whole = encoder(input_ids=ids, attention_mask=torch.ones(1, 1, 6, 6) * 0, past_key_values=cache)
        prefix = Prefix(encoder.config, 2)
        for number, layer in enumerate(cache.layers):
            prefix.keys[number] = layer.keys[0, :, 4:]
            prefix.values[number] = layer.values[0, :, 4:]
        mask = torch.ones_like(ids[:, :4])
        states = unpadded_states(encoder, ids[:, :4], mask, mask, prefix=prefix)
    torch.testing.assert_close(states, whole.last_hidden_state[0, :4], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", TAKE_A_PREFIX)
def test_every_layer_sees_the_prefix_and_padding_does_not_matter(architecture: str) -> None:
    encoder = tiny_encoder(architecture, **TAKE_A_PREFIX[architecture])
    require_prefix(encoder, architecture)
    prefix, pad_id = random_prefix(encoder, 3), encoder.config.pad_token_id
    ids = torch.tensor([[7, 11, 13, 5, 23, 42], [9, 8, 30, pad_id, pad_id, pad_id]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])
    seen = unpadded_states(encoder, ids, mask, mask, prefix=prefix)
    alone = unpadded_states(encoder, ids[1:, :3], mask[1:, :3], mask[1:, :3], prefix=prefix)
    torch.testing.assert_close(seen[6:], alone, atol=1e-5, rtol=1e-5)
    plain = encoder(input_ids=ids, attention_mask=mask).last_hidden_state[mask == 1]
    assert (seen - plain).abs().amax(1).min() > 1e-3
    weights = torch.randn(seen.shape, generator=torch.Generator().manual_seed(0))
    for gradient in torch.autograd.grad((seen * weights).sum(), list(prefix.parameters())):
        assert gradient.flatten(1).abs().amax(1).min() > 0


@pytest.mark.parametrize("architecture", TAKE_NONE)
def test_an_architecture_that_cannot_is_refused(architecture: str) -> None:
    encoder = tiny_encoder(architecture, **TAKE_NONE[architecture])
    with pytest.raises(
        ConfigError,
        match=rf"tuning is 'prefix', but some/model \(architecture {architecture}\) cannot take one: "
        r"expected one of bert, camembert, electra, ernie, roberta, xlm-roberta\. "
        r"Use tuning: lora, which trains every architecture\.",
    ):
        require_prefix(encoder, "some/model")


def test_the_prefix_starts_as_keys_and_values_of_real_tokens() -> None:
    """Five kept tokens and P = 5: all of them, in some order; the padding is never drawn."""
    encoder = tiny_bert()
    ids, mask = torch.tensor([[7, 11, 13], [9, 8, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    prefix = Prefix(encoder.config, 5)
    prefix.initialise(encoder, {"input_ids": ids, "attention_mask": mask}, rng=np.random.default_rng(0))
    layer = encoder.encoder.layer[0].attention.self
    with torch.no_grad():
        keys = layer.key(encoder.embeddings(input_ids=ids))[mask == 1]
    found = prefix.keys[0].transpose(0, 1).flatten(1)
    distances = torch.cdist(found, keys)
    assert distances.amin(1).max() < 1e-5
    assert sorted(distances.argmin(1).tolist()) == [0, 1, 2, 3, 4]


def test_saving_and_loading_changes_no_bit_and_neighbours_do_not_matter(tmp_path: Path) -> None:
    model, tokenizer = prefixed_model(), word_tokenizer(pair_template=True)
    together = predict_logits(model, tokenizer, PAIRS)
    save_preference_model(model, tokenizer, tmp_path, card="# card\n")
    loaded = load_preference_model(tmp_path)
    assert loaded.model.config.prefix_length == 4
    np.testing.assert_array_equal(predict_logits(loaded.model, loaded.tokenizer, PAIRS), together)
    alone = np.concatenate([predict_logits(loaded.model, tokenizer, [pair]) for pair in PAIRS])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    model.prefix = None
    assert np.abs(predict_logits(model, tokenizer, PAIRS) - together).min() > 1e-5
