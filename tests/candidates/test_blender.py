"""BlenderBot-Vanilla and -Joint: what they read and write, token by token, and how they come back from a folder."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.testing import assert_close
from transformers import BlenderbotSmallTokenizer

from accord.candidates.decode import completions
from accord.candidates.forced import WholeCompletions
from accord.candidates.generators.blender import STRATEGIES, BlenderGenerator, BlenderJointGenerator
from accord.candidates.generators.load import load_generator
from accord.candidates.generators.seq2seq import Seq2SeqGenerator
from accord.candidates.logps import completion_logps
from accord.candidates.reference_logps import reference_ids, reference_logps
from accord.candidates.strategies import with_strategy
from accord.errors import ConfigError, DataError
from accord.records import Message
from toys import save_tiny_causal_lm, tiny_bart, tiny_blender, tiny_joint, word_tokenizer

DIALOGUE = (
    Message("assistant", "what  is it ?", "Question"),
    Message("user", "i lost\nmy job"),
    Message("assistant", "sorry"),
    Message("user", "yes"),
)


@pytest.fixture(scope="module")
def joint() -> BlenderJointGenerator:
    return BlenderJointGenerator(*tiny_joint(10), name="joint")


def tokens(generator: Any, ids: list[int]) -> str:
    return " ".join(generator.tokenizer.convert_ids_to_tokens(ids))


# -- what is read -----------------------------------------------------------------------------------------------


def test_vanilla_reads_utterances_with_ends_between_them() -> None:
    generator = BlenderGenerator(tiny_blender(), word_tokenizer())
    expected = "what is it ? </s> i lost my job </s> sorry </s> yes"
    assert tokens(generator, generator.prompt_ids(DIALOGUE)) == expected
    assert tokens(generator, generator.prompt_ids("i feel sad")) == "i feel sad"
    assert tokens(generator, generator.prompt_ids("")) == "</s>"
    assert tokens(generator, generator.completion_ids("sorry .")) == "sorry . </s>"


def test_joint_reads_known_strategies_and_leaves_out_the_one_to_come(joint: BlenderJointGenerator) -> None:
    expected = "[Question] what is it ? </s> i lost my job </s> sorry </s> yes"
    assert tokens(joint, joint.prompt_ids(DIALOGUE)) == expected
    asked = with_strategy(DIALOGUE, "Self-disclosure")
    assert tokens(joint, joint.prompt_ids(asked)) == expected
    assert tokens(joint, joint.forced_prefix(asked)) == "[Self-disclosure]"
    assert joint.prompt_ids(with_strategy("i feel sad", "Others")) == joint.prompt_ids("i feel sad")


@pytest.mark.parametrize("prompt", ["i feel sad", DIALOGUE, (*DIALOGUE, Message("assistant", "", None))])
def test_a_prompt_without_the_strategy_to_come(joint: BlenderJointGenerator, prompt: Any) -> None:
    with pytest.raises(DataError, match=r"a prompt names no strategy, but generator 'joint' writes after one"):
        joint.forced_prefix(prompt)


def test_unknown_strategies(joint: BlenderJointGenerator) -> None:
    for prompt in (
        with_strategy("why", "Greeting"),
        with_strategy((Message("assistant", "hi", "Greeting"),), "Others"),
    ):
        with pytest.raises(DataError, match=r"strategy 'Greeting' is unknown .* Expected one of Question, Restatement"):
            [joint.forced_prefix(prompt), joint.prompt_ids(prompt)]


def test_a_text_that_spells_a_strategy_holds_no_strategy_token(joint: BlenderJointGenerator) -> None:
    ids = joint.completion_ids("tell me [Question] more")
    assert tokens(joint, ids) == "tell me more </s>"
    assert joint.text([*joint.forced_prefix(with_strategy("", "Others")), *ids]) == "tell me more"


# -- what counts ------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_log_probabilities_leave_out_the_strategy_and_crop_the_vocabulary(joint: BlenderJointGenerator) -> None:
    """The oracle: one forward pass on <s> strategy text, the logits of the strategies cut off behind the vocabulary."""
    prompt, n_words = joint.prompt_ids(DIALOGUE), len(word_tokenizer())
    prefix, text = joint.forced_prefix(with_strategy("", "Information")), [20, 21, 22, 5]
    decoder_ids = torch.tensor([[*joint.start_ids, *prefix, *text[:-1]]])
    logits = joint.model(input_ids=torch.tensor([prompt]), decoder_input_ids=decoder_ids).logits[0]
    cropped = logits[1:, :n_words].log_softmax(-1)[range(4), text]
    found = completion_logps(joint, [prompt], [[prefix + text]])
    assert_close(found.sum_logps[0, 0], cropped.sum(), atol=1e-4, rtol=0)
    assert found.n_tokens.tolist() == [[4]]
    whole = completion_logps(WholeCompletions(joint), [prompt], [[prefix + text]])
    assert_close(whole.sum_logps[0, 0], logits.log_softmax(-1)[range(5), prefix + text].sum(), atol=1e-4, rtol=0)
    assert whole.n_tokens.tolist() == [[5]]


@pytest.mark.parametrize("frozen_head", [False, True])
def test_gradients_are_those_of_the_cropped_text(frozen_head: bool) -> None:
    """Two completions, weights 1 and −2; −inf among the logits must not become nan on the way back."""
    joint = BlenderJointGenerator(*tiny_joint(10))
    joint.model.get_input_embeddings().weight.requires_grad_(not frozen_head)
    parameters = [weight for weight in joint.model.parameters() if weight.requires_grad]
    prompt, prefix = [10, 11, 12], joint.forced_prefix(with_strategy("", "Information"))
    texts, n_words = [[20, 21, 22, 5], [23, 5]], len(word_tokenizer())
    found = completion_logps(joint, [prompt], [[prefix + text for text in texts]], chunk_tokens=3).sum_logps[0]
    expected = []
    for text in texts:
        decoder_ids = torch.tensor([[*joint.start_ids, *prefix, *text[:-1]]])
        logits = joint.model(input_ids=torch.tensor([prompt]), decoder_input_ids=decoder_ids).logits[0, 1:, :n_words]
        expected.append(logits.log_softmax(-1)[range(len(text)), text].sum())
    ours, theirs = (
        torch.autograd.grad(one - 2 * other, parameters, allow_unused=True, materialize_grads=True)
        for one, other in (found, expected)
    )
    for our_gradient, their_gradient in zip(ours, theirs, strict=True):
        scale = max(1.0, float(their_gradient.abs().max()))
        assert_close(our_gradient, their_gradient, atol=1e-4 * scale, rtol=1e-4)
    assert max(float(gradient.abs().max()) for gradient in ours) > 1e-2


@torch.no_grad()
def test_prefixes_of_some_completions_only(joint: BlenderJointGenerator) -> None:
    """Positions are told by the tokens: 1 of [strategy 20 21], 0 of [20 21]; each sums as if it were alone."""
    prefix = joint.forced_prefix(with_strategy("", "Others"))
    group = [[*prefix, 20, 21], [20, 21], [*prefix, 22, 5]]
    together = completion_logps(joint, [[10, 11], [12]], [group, [[*prefix, 5]]])
    assert together.n_tokens.tolist() == [[2, 2, 2], [1, 0, 0]]
    for k, completion in enumerate(group):
        alone = completion_logps(joint, [[10, 11]], [[completion]])
        assert_close(together.sum_logps[0, k], alone.sum_logps[0, 0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_perplexity_of_references_follows_their_strategy(joint: BlenderJointGenerator) -> None:
    """Two references of 3 + 1 and 1 + 1 tokens, cut to 2: the strategy takes no room among them and does not count."""
    prefix = joint.forced_prefix(with_strategy("", "Others"))
    ids, n_cut = reference_ids(joint, [[10, 11]], [("sorry to hear", "why")], max_tokens=2, prefixes=[prefix])
    words = joint.tokenizer.convert_tokens_to_ids(["sorry", "to", "why"])
    assert (ids, n_cut) == ([[[*prefix, *words[:2]], [*prefix, words[2], 5]]], 1)
    (known,) = reference_logps(joint, [[10, 11]], ids, batch_tokens=100)
    assert known is not None
    sums = completion_logps(joint, [[10, 11]], ids).sum_logps.sum()
    assert known.n_tokens == 4
    assert known.sum_logps == pytest.approx(float(sums), abs=1e-5)


@torch.no_grad()
def test_the_strategy_takes_one_of_the_decoders_positions(joint: BlenderJointGenerator) -> None:
    """64 positions hold <s>, the strategy and 62 tokens of the text, after which the 63rd is predicted."""
    prefix = joint.forced_prefix(with_strategy("", "Others"))
    ids, n_cut = reference_ids(joint, [[10, 11]], [("very " * 70,)], max_tokens=99, prefixes=[prefix])
    assert ([len(one) for one in ids[0]], n_cut) == ([1 + 63], 1)
    assert completion_logps(joint, [[10, 11]], ids).n_tokens.tolist() == [[63]]


@pytest.mark.parametrize("method", ["diverse_beam", "beam", "greedy", "sample"])
def test_no_strategy_is_written_however_likely(method: Any) -> None:
    """The output layer is biased so that strategies would win at every step; plain sequence to sequence writes them."""
    generator = BlenderJointGenerator(*tiny_joint(10))
    generator.model.final_logits_bias[0, list(generator.forbidden_tokens)] = 30.0
    prompt, prefix = generator.prompt_ids(DIALOGUE), generator.forced_prefix(with_strategy("", "Others"))
    options: dict[str, Any] = {"method": method, "n": 4, "max_new_tokens": 6, "diversity_penalty": 1.0}
    (found,) = completions(generator, [prompt], ["p"], prefixes=[prefix], **options)
    assert all(not set(one.ids) & set(generator.forbidden_tokens) for one in found)
    assert all(one.sum_logp > -100 for one in found)
    plain = Seq2SeqGenerator(generator.model, generator.tokenizer)
    (written,) = completions(plain, [prompt], ["p"], **options)
    assert any(set(one.ids) & set(generator.forbidden_tokens) for one in written)


def test_the_strategy_changes_what_is_written(joint: BlenderJointGenerator) -> None:
    prompts = [joint.prompt_ids(DIALOGUE)] * 8
    prefixes = [joint.forced_prefix(with_strategy("", name)) for name in STRATEGIES]
    found = completions(joint, prompts, list("abcdefgh"), method="greedy", max_new_tokens=6, prefixes=prefixes)
    assert len({one.ids for (one,) in found}) > 2


# -- folders ----------------------------------------------------------------------------------------------------


def save(folder: Path, model: Any, tokenizer: Any) -> str:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_the_architecture_alone_means_vanilla(tmp_path: Path) -> None:
    folder = save(tmp_path, tiny_blender(), word_tokenizer())
    assert type(load_generator(folder, device="cpu")) is BlenderGenerator
    assert type(load_generator(folder, kind="seq2seq", device="cpu")) is Seq2SeqGenerator


def test_a_kind_that_was_asked_for_once_is_remembered(tmp_path: Path) -> None:
    """Of a BART too; the strategies' embeddings are those of the first time, wherever it is loaded."""
    folder = save(tmp_path / "bart", tiny_bart(), word_tokenizer(frame="<s> $A </s>"))
    first = load_generator(folder, kind="blender-joint", device="cpu")
    again = load_generator(save(tmp_path / "joint", first.model, first.tokenizer), device="cpu")
    assert isinstance(again, BlenderJointGenerator)
    assert again.model.config.vocab_size == len(word_tokenizer()) + 8
    for name, weight in first.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], weight), name
    other = load_generator(folder, kind="blender-joint", device="cpu")
    assert torch.equal(other.model.get_input_embeddings().weight, first.model.get_input_embeddings().weight)
    assert type(load_generator(folder, device="cpu")) is Seq2SeqGenerator


def test_an_adapter_of_a_base_without_strategies_comes_back(tmp_path: Path) -> None:
    base = save(tmp_path / "base", tiny_blender(3), word_tokenizer())
    generator: Any = load_generator(base, kind="blender-joint", device="cpu")
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    generator.model = get_peft_model(generator.model, config).eval()
    generator.model.peft_config["default"].base_model_name_or_path = base
    generator.model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    generator.tokenizer.save_pretrained(tmp_path / "adapter")
    again = load_generator(str(tmp_path / "adapter"), device="cpu")
    assert isinstance(again, BlenderJointGenerator)
    completion = [*again.forced_prefix(with_strategy("", "Others")), 20, 21, 5]
    logps = [completion_logps(one, [[10, 11]], [[completion]]).sum_logps for one in (generator, again)]
    assert torch.equal(*logps)


def test_a_kind_of_another_architecture_is_refused(tmp_path: Path) -> None:
    causal = save_tiny_causal_lm(tmp_path)
    for kind in ("blender-joint", "seq2seq", "parrot"):
        with pytest.raises(
            ConfigError, match=rf"generator_kind is '{kind}' for model .* Expected auto, or .*: causal\."
        ):
            load_generator(causal, kind=kind, device="cpu")


def test_blenderbots_own_tokenizer(tmp_path: Path) -> None:
    """The slow tokenizer of facebook/blenderbot_small-90M: @@ joins pieces, everything is lower case but strategies."""
    marks = ["__null__", "__start__", "__end__", "__unk__"]
    vocabulary = [*marks, "i", "am", "s@@", "ad", "question", "others", "information", "or", "of", "and", "."]
    (tmp_path / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(vocabulary)}))
    merges = ["a m</w>", "a d</w>", "o r</w>", "o f</w>", "a n", "an d</w>"]
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    tokenizer = BlenderbotSmallTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    model = tiny_blender()
    model.generation_config.decoder_start_token_id, model.generation_config.eos_token_id = 1, 2
    generator = BlenderJointGenerator(model, tokenizer)
    asked = with_strategy((Message("assistant", "I am", "Question"), Message("user", "Sad.")), "Others")
    assert tokens(generator, generator.prompt_ids(asked)) == "[Question] i am __end__ s@@ ad ."
    assert tokens(generator, generator.forced_prefix(asked)) == "[Others]"
    ids = generator.completion_ids("I am sad.")
    assert tokens(generator, ids) == "i am s@@ ad . __end__"
    assert generator.text(generator.forced_prefix(asked) + ids) == "i am sad ."
    again = load_generator(save(tmp_path / "saved", model, tokenizer), kind="blender-joint", device="cpu")
    assert again.prompt_ids(asked) == generator.prompt_ids(asked)
