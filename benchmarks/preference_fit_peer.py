"""The peer of benchmarks/preference_fit.py: Hugging Face's Trainer on the same model, with length grouping."""

import tempfile
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import DynamicCache, Trainer, TrainingArguments

from accord.preference.inputs import VIEWS
from accord.preference.model import PreferenceModel
from benchmarks.fit_work import BATCH_SIZE, MAX_TOKENS, RATES, WEIGHT_DECAY, build_model, soft_labels, training_items
from benchmarks.peers import serve

NEVER = 10**9
state: dict[str, Any] = {}


class WithLoss(nn.Module):
    """The preference model on transformers' own encoder, with the loss that Trainer wants from a model: KL of the vote
    shares, mean over items."""

    def __init__(self, model: PreferenceModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, pooling_mask: Tensor, token_type_ids: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        n_views = self.model.config.n_views
        states = self.states(input_ids, attention_mask, token_type_ids)
        mask = pooling_mask[:, :, None].to(states.dtype)
        vectors = (states * mask).sum(1) / mask.sum(1)
        logits = self.model.head(vectors.view(len(labels), n_views * vectors.shape[-1]))
        return {"loss": F.kl_div(F.log_softmax(logits, dim=-1), labels, reduction="batchmean")}

    def states(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """The encoder's last hidden states as transformers computes them; a prefix is the beginning of its cache."""
        prefix, options = self.model.prefix, {}
        if prefix is not None:
            cache = DynamicCache()
            for number, (keys, values) in enumerate(zip(prefix.keys, prefix.values, strict=True)):
                cache.update(keys.expand(len(input_ids), -1, -1, -1), values.expand(len(input_ids), -1, -1, -1), number)
            attention_mask = F.pad(attention_mask, (prefix.length, 0), value=1)
            # transformers adds a mask of four dimensions to the scores as it is
            attention_mask = torch.where(attention_mask[:, None, None, :] == 1, 0.0, torch.finfo(torch.float32).min)
            attention_mask = attention_mask.expand(-1, 1, input_ids.shape[1], -1)
            options = {"past_key_values": cache, "position_ids": torch.arange(input_ids.shape[1])[None]}
        encoder: Any = self.model.encoder
        found: Tensor = encoder(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids, **options
        ).last_hidden_state
        return found


def build(tuning: str, n_items: int, dropout: bool, threads: int) -> None:
    """Make the model anew."""
    torch.set_num_threads(threads)
    state["tuning"] = tuning
    state["items"] = training_items(n_items)
    state["model"], text = build_model(tuning, state["items"].pairs, dropout=dropout)
    state["tokenizer"] = text.tokenizer


def train(order: list[int], epochs: int, micro_batch_size: int, grouped: bool) -> list[float]:
    """Train on the items in `order`, or grouped by length; the loss of every step where the order is given."""
    tuning, items, tokenizer = state["tuning"], state["items"], state["tokenizer"]
    rows = tokenised(tokenizer, items.pairs, tuning)
    labels = soft_labels(items.votes)
    state["model"].head.start_at_base_rate(torch.tensor(items.votes[order], dtype=torch.float32))  # as accord does
    dataset = [{**rows[number], "labels": labels[number]} for number in order]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=True,
            num_train_epochs=epochs,
            per_device_train_batch_size=micro_batch_size,
            gradient_accumulation_steps=BATCH_SIZE // micro_batch_size,
            train_sampling_strategy="group_by_length" if grouped else "sequential",
            learning_rate=RATES[tuning],
            weight_decay=WEIGHT_DECAY[tuning],
            lr_scheduler_type="linear",
            max_grad_norm=1.0,
            logging_steps=NEVER if grouped else 1,
            save_strategy="no",
            eval_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        trainer = Trainer(WithLoss(state["model"]), arguments, train_dataset=dataset, data_collator=collated)
        trainer.train()
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


def tokenised(tokenizer: Any, pairs: list[tuple[str, str]], tuning: str) -> list[dict[str, Any]]:
    """Every pair as the tokenizer gives it, the completion's tokens marked; for a head also both texts alone."""
    tokenizer.truncation_side = "left"
    views = [encoded(tokenizer, pairs, of_completion=1)]
    if tuning == "head":
        views += [encoded(tokenizer, [(pair[side],) for pair in pairs], of_completion=None) for side in (1, 0)]
    assert len(views) in (1, len(VIEWS))
    return [
        {"input_ids": max((view[number]["input_ids"] for view in views), key=len), "views": [v[number] for v in views]}
        for number in range(len(pairs))
    ]


def encoded(tokenizer: Any, texts: list[Any], *, of_completion: int | None) -> list[dict[str, list[int]]]:
    """Rows of one view: ids, type ids, and the tokens to average."""
    columns = list(zip(*texts, strict=True))
    truncation = "only_first" if len(columns) == 2 else True
    found = tokenizer(*map(list, columns), truncation=truncation, max_length=MAX_TOKENS)
    return [
        {
            "input_ids": ids,
            "token_type_ids": type_ids,
            "pooling_mask": [
                int(of_completion is None or part == of_completion) for part in found.sequence_ids(number)
            ],
        }
        for number, (ids, type_ids) in enumerate(zip(found["input_ids"], found["token_type_ids"], strict=True))
    ]


def collated(examples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Pad to the longest row of the batch; of several views, a pair's rows follow each other."""
    rows = [row for example in examples for row in example["views"]]
    width = max(len(row["input_ids"]) for row in rows)
    columns = {name: [[*row[name], *[0] * (width - len(row[name]))] for row in rows] for name in rows[0]}
    mask = [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows]
    batch = {name: torch.tensor(column) for name, column in columns.items()}
    labels = torch.stack([example["labels"] for example in examples])
    return {**batch, "attention_mask": torch.tensor(mask), "labels": labels}


if __name__ == "__main__":
    serve({"build": build, "train": train})
