"""Ten-line corpora and tiny random models: real code paths, seconds on a CPU. Random weights are for tests only."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BartForConditionalGeneration,
    BertConfig,
    BertModel,
    BlenderbotSmallForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from accord.candidates.generators.blender import add_strategy_tokens
from accord.candidates.generators.multiesc import multiesc_from_bart
from accord.candidates.generators.two_encoder import MultiEscForConditionalGeneration, register_multiesc

WORDS = (
    "i you we my your the a and to it is was not feel lost job tired happy sad sorry hear that sounds hard why do "
    "did what how when should must could try stop go talk tell me more about work home friend mother sleep money "
    "yes no maybe good bad fine okay really very so much today yesterday always never help want need think know . ? ! ,"
).split()
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "<s>", "</s>"]


def word_tokenizer(*, pair_template: bool = False, frame: str | None = None) -> PreTrainedTokenizerFast:
    """A word-level tokenizer over WORDS; with `pair_template` it adds [CLS] … [SEP] … [SEP] like BERT's.

    Args:
        frame: what it puts around a single text, such as "$A </s>" (T5) or "<s> $A </s>" (BART).
    """
    vocabulary = {token: number for number, token in enumerate([*SPECIALS, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if pair_template:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
        )
    if frame is not None:
        ends = [(token, vocabulary[token]) for token in ("<s>", "</s>")]
        tokenizer.post_processor = processors.TemplateProcessing(single=frame, special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=128,
    )


def tiny_llama(seed: int = 0, *, vocab_size: int | None = None, layers: int = 3) -> LlamaForCausalLM:
    """A random Llama of some 50,000 parameters whose logits lie well apart."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size or len(SPECIALS) + len(WORDS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.3,
        pad_token_id=0,
        bos_token_id=4,
        eos_token_id=5,
    )
    return LlamaForCausalLM(config).eval()


def tiny_gpt2(seed: int = 0, *, vocab_size: int | None = None) -> GPT2LMHeadModel:
    """A random GPT-2 of some 30,000 parameters whose logits lie well apart."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocab_size or len(SPECIALS) + len(WORDS),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=128,
        initializer_range=0.3,
        pad_token_id=0,
        bos_token_id=4,
        eos_token_id=5,
    )
    return GPT2LMHeadModel(config).eval()


def tiny_t5(seed: int = 0, *, gated: bool = False) -> T5ForConditionalGeneration:
    """A random T5 of some 50,000 parameters whose logits lie well apart.

    Args:
        gated: the flavour of T5 v1.1 and Flan-T5: gated GELU, output layer apart from the embeddings and not scaled.
    """
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=len(SPECIALS) + len(WORDS),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=3,
        num_heads=4,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
        feed_forward_proj="gated-gelu" if gated else "relu",
        tie_word_embeddings=not gated,
        pad_token_id=0,
        eos_token_id=5,
        decoder_start_token_id=0,
    )
    model = T5ForConditionalGeneration(config).eval()
    if not gated:
        _amplify(model, ".o.weight", ".wo.weight", by=3.0)
    else:
        model.lm_head.weight = torch.nn.Parameter(0.3 * torch.randn_like(model.shared.weight))
    return model


def tiny_bart(seed: int = 0, *, forced_start: bool = False) -> BartForConditionalGeneration:
    """A random BART of some 50,000 parameters whose logits lie well apart, with a bias on them.

    Args:
        forced_start: the generation config forces <s> as the first token.
    """
    model: BartForConditionalGeneration = _tiny_kin(BartForConditionalGeneration, seed, decoder_start_token_id=5)
    model.final_logits_bias.normal_()
    model.final_logits_bias[0, 5] = 4.0
    if forced_start:
        model.generation_config.forced_bos_token_id = 4
    return model


def tiny_multiesc(seed: int = 0) -> tuple[MultiEscForConditionalGeneration, PreTrainedTokenizerFast]:
    """A MultiESC generator on `tiny_bart`, its own parts random too and its gates well open, and its tokenizer."""
    bart, tokenizer = tiny_bart(seed), word_tokenizer(frame="<s> $A </s>")
    register_multiesc()
    model = multiesc_from_bart(bart, tokenizer, lexicon=None)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "turn_attn" in name or "gate" in name or "emotions" in name:
                value.normal_(std=0.15)
            if name.endswith("gate.bias"):
                value.fill_(1.0)  # more of the prompt's words than of its turns, or all prompts are answered alike
        model.get_input_embeddings().weight[model.config.strategy_token_ids] = 0.3 * torch.randn(8, 32)
    return model, tokenizer


def tiny_blender(seed: int = 0) -> BlenderbotSmallForConditionalGeneration:
    """A random BlenderBot-Small of some 50,000 parameters whose logits lie well apart."""
    return _tiny_kin(BlenderbotSmallForConditionalGeneration, seed, decoder_start_token_id=4)


def tiny_joint(seed: int = 0) -> tuple[BlenderbotSmallForConditionalGeneration, PreTrainedTokenizerFast]:
    """`tiny_blender` and its tokenizer with the eight strategies, whose random embeddings lie well apart."""
    model, tokenizer = tiny_blender(seed), word_tokenizer()
    strategy_ids = add_strategy_tokens(model, tokenizer)
    with torch.no_grad():
        model.get_input_embeddings().weight[strategy_ids] = torch.randn(len(strategy_ids), model.config.d_model)
    return model, tokenizer


def _tiny_kin(architecture: Any, seed: int, *, decoder_start_token_id: int) -> Any:
    """A random model of BART's or a kindred architecture, whose logits lie well apart."""
    torch.manual_seed(seed)
    config = architecture.config_class(
        vocab_size=len(SPECIALS) + len(WORDS),
        d_model=32,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=64,
        init_std=0.3,
        pad_token_id=0,
        bos_token_id=4,
        eos_token_id=5,
        decoder_start_token_id=decoder_start_token_id,
        forced_eos_token_id=5,
    )
    model = architecture(config).eval()
    _amplify(model, ".fc1.weight", ".fc2.weight", "embed_positions.weight", "q_proj.weight", by=2.5)
    return model


def _amplify(model: torch.nn.Module, *names: str, by: float) -> None:
    """Let layers say more than the embedding does, or tied embeddings would only repeat the latest token."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(names):
                weight.mul_(by)


def tiny_bert(seed: int = 0) -> BertModel:
    """A random BERT encoder of some 30,000 parameters."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(SPECIALS) + len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    return BertModel(config).eval()


def save_tiny_causal_lm(folder: Path, seed: int = 0) -> str:
    """A model folder with a tiny Llama and its tokenizer, as `load_causal_lm` takes it."""
    tiny_llama(seed).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return str(folder)


def save_tiny_seq2seq(folder: Path, seed: int = 0) -> str:
    """A model folder with a tiny T5 and its tokenizer, as `load_seq2seq_lm` takes it."""
    tiny_t5(seed).save_pretrained(folder)
    word_tokenizer(frame="$A </s>").save_pretrained(folder)
    return str(folder)


def save_tiny_encoder(folder: Path, seed: int = 0) -> str:
    """A model folder with a tiny BERT and its tokenizer, as `load_encoder` takes it."""
    tiny_bert(seed).save_pretrained(folder)
    word_tokenizer(pair_template=True).save_pretrained(folder)
    return str(folder)


def toy_items(n_prompts: int = 12) -> list[dict[str, Any]]:
    """Two replies a prompt, six annotators, three votes each: warm replies are mostly accepted, orders mostly not."""
    items = []
    for number in range(n_prompts):
        prompt = (
            f"i feel {('sad', 'tired', 'lost', 'bad')[number % 4]} about my {('work', 'home', 'friend')[number % 3]} ."
        )
        replies = (
            ("sorry to hear that , it sounds hard .", (1, 1, number % 3 != 0)),
            ("stop , you must go home !", (0, 0, number % 4 == 0)),
        )
        for position, (completion, votes) in enumerate(replies):
            annotators = [("a1", "a2", "a3"), ("b1", "b2", "b3")][(number + position) % 2]
            items.append(
                {
                    "id": f"p{number}-{position}",
                    "prompt": prompt,
                    "completion": completion,
                    "group": f"p{number}",
                    "split": ("train", "train", "dev", "test")[number % 4],
                    "annotations": [
                        {"annotator": annotator, "label": "acceptable" if vote else "unacceptable"}
                        for annotator, vote in zip(annotators, votes, strict=True)
                    ],
                }
            )
    return items


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


TOY_RUN = """\
source: items.jsonl
prompts: prompts.jsonl
test_prompts: test_prompts.jsonl
seed: 3
prepare: {scheme: acceptable, n_resamples: 50}
fit: {model: ENCODER, max_length: 64, epochs: 2, n_folds: 2, n_resamples: 50, annotators: ["a*"]}
independent: {model: ENCODER, max_length: 64, epochs: 2, n_folds: 2, n_resamples: 50, annotators: ["b*"]}
generate: {model: GENERATOR, num_candidates: 3, max_new_tokens: 6, batch_tokens: 100}
calibrate: {model: GENERATOR, epochs: 2, batch_size: 3, micro_batch_size: 2, eval_every: 1, lora_r: 2, patience: null}
decode: {model: GENERATOR, samples: 2, max_new_tokens: 6, batch_tokens: 100}
rerank: {k: 2, picks: 2}
evaluate: {n_resamples: 50, n_randomisations: 100}
"""


def write_toy_run(folder: Path) -> Path:
    """A whole `accord run` configuration on toy items and tiny random models; returns the YAML file."""
    items = toy_items()
    write_rows(folder / "items.jsonl", items)
    prompts = {
        item["group"]: {"id": item["group"], "prompt": item["prompt"], "references": ["sorry to hear that ."]}
        | {"group": item["group"], "split": item["split"]}
        for item in items
    }
    write_rows(folder / "prompts.jsonl", [row for row in prompts.values() if row["split"] != "test"])
    write_rows(folder / "test_prompts.jsonl", [row for row in prompts.values() if row["split"] == "test"])
    text = TOY_RUN.replace("ENCODER", save_tiny_encoder(folder / "encoder"))
    config_path = folder / "toy.yaml"
    config_path.write_text(text.replace("GENERATOR", save_tiny_causal_lm(folder / "generator")))
    return config_path
