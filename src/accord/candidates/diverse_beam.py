"""Diverse beam search (Vijayakumar et al. 2018, arXiv 1610.02424), for a whole batch of prompts at once.

Shape letters: B prompts, G groups, S beams per group, V vocabulary, T tokens so far. The model sees B · G · S rows.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from accord.candidates.generators.protocol import Encoded
from accord.candidates.likeliest import likeliest
from accord.candidates.processors import Processor
from accord.errors import ConfigError

EarlyStopping = bool | Literal["never"]

UNREACHABLE = -1e9  # start of a group's further beams, so that its beams do not all begin alike


class Hypothesis(NamedTuple):
    """A completion that a search found.

    `ids` hold the end token where one was reached (`is_finished`); `logps` are the model's own log-probabilities of
    `ids` in nats and `end_logps` those of the first end token in their places, so that a completion can be cut short;
    `search_score` is what the search ranked by, penalties included.
    """

    ids: tuple[int, ...]
    logps: tuple[float, ...]
    end_logps: tuple[float, ...]
    search_score: float
    is_finished: bool

    @property
    def sum_logp(self) -> float:
        """The model's own log-probability of `ids` in nats."""
        return math.fsum(self.logps)


class Rules(NamedTuple):
    """What a search is asked for; see `diverse_beams`. `ends`: bool [V], true for the `n_ends` tokens that end one."""

    n_groups: int
    n_beams: int
    diversity_penalty: float
    max_new_tokens: int
    min_new_tokens: int
    length_penalty: float
    early_stopping: EarlyStopping
    ends: Tensor
    n_ends: int
    end_id: int | None
    pad_id: int
    padding_counts: bool
    processors: Sequence[Processor]


def diverse_beams(
    encoded: Encoded,
    *,
    n_groups: int,
    beams_per_group: int = 1,
    diversity_penalty: float = 0.0,
    max_new_tokens: int,
    min_new_tokens: int = 0,
    length_penalty: float = 1.0,
    early_stopping: EarlyStopping = False,
    eos_ids: Sequence[int],
    pad_id: int,
    padding_counts: bool = True,
    processors: Sequence[Processor] = (),
    prefixes: Sequence[Sequence[int]] | None = None,
    should_stop: Callable[[Tensor], bool] | None = None,
    may_drop_rows: bool = True,
) -> list[list[Hypothesis]]:
    """The G · S best completions of every prompt, best `search_score` first.

    At each step the groups choose one after the other. Group g ranks the tokens v by

        Σ over steps of [log p(v | prompt, tokens so far) − diversity_penalty · count_g(v)]

    where count_g(v) is how many beams of the groups before g chose v at this same step (Hamming diversity, §4 of the
    paper); `processors` change each bracket. A completion's score is that sum divided by n_tokens ** length_penalty,
    its end token counted.

    Sequences and scores equal those of transformers 4.56 (`num_beams` = G · S, `num_beam_groups` = G):
    an end token ends a beam only when it is among its group's S best continuations; at the step where a beam ends,
    the group's best other token takes its place and is what later groups are penalised for; a group is done when
    S completions have ended and `early_stopping` sees no need to go on. One group (G = 1) is plain beam search, one
    group of one beam is greedy decoding.

    Args:
        encoded: the prompts, [B, V] first logits. It is used up.
        min_new_tokens: no end before so many tokens.
        early_stopping: a group that holds S completions is done when no open beam scores better at its present length
            (False), at once (True), or when none could at any allowed length ("never").
        eos_ids, pad_id: tokens that end a completion, maybe none; the token that a finished beam is fed.
        padding_counts: the padding of finished groups counts in count_g(v), as in transformers. Where the padding is
            also an end token, this keeps later groups from ending; switch it off for natural lengths.
        processors: see `Processor`; called group by group with the group's B · S rows, after the diversity penalty.
        prefixes: tokens before the completion that processors see too, one list a prompt, filled up with −1 on the
            left (transformers shows a causal model's prompt).
        should_stop: asked after every step with the tokens of all rows, int64 [B · G · S, T]; True ends the search.
        may_drop_rows: prompts that are done may leave the batch. Switch it off for processors that count rows.

    Raises:
        ConfigError: no group, no beam, no token to generate, or fewer tokens allowed than asked for.
    """
    _check(n_groups, beams_per_group, diversity_penalty, max_new_tokens, min_new_tokens)
    ends = torch.zeros(encoded.logits.shape[-1], dtype=torch.bool, device=encoded.logits.device)
    ends[list(eos_ids)] = True
    rules = Rules(
        n_groups,
        beams_per_group,
        diversity_penalty,
        max_new_tokens,
        min_new_tokens,
        length_penalty,
        early_stopping,
        ends,
        int(ends.sum()),
        eos_ids[0] if eos_ids else None,
        pad_id,
        padding_counts,
        processors,
    )
    search = _Search(encoded, rules, prefixes)
    for step in range(max_new_tokens):
        search.choose(step)
        if (
            search.is_done
            or step + 1 == max_new_tokens
            or (should_stop is not None and should_stop(search.rows_so_far))
        ):
            break
        search.advance(may_drop_rows=may_drop_rows)
    return search.results()


class _Best(NamedTuple):
    """One group's best continuations, C for each prompt, best first; [B, C] each."""

    scores: Tensor  # float32
    beams: Tensor  # int64: the beam of the group that is continued
    tokens: Tensor  # int64


class _Choice(NamedTuple):
    """One group's step: its 2 · S or more best continuations, and among them the S that go on."""

    scores: Tensor  # float32 [B, C], best first
    beams: Tensor  # int64 [B, C]
    tokens: Tensor  # int64 [B, C]
    ended: Tensor  # bool [B, C]: an end token among the S best
    going_on: Tensor  # int64 [B, S]: columns of the S best that are no end token


def _choice(best: _Best, rules: Rules) -> _Choice:
    """Which of the best end here, and which go on."""
    is_end = rules.ends[best.tokens]
    going_on = is_end.to(torch.int8).argsort(dim=1, stable=True)[:, : rules.n_beams]
    among_best = torch.arange(is_end.shape[1], device=is_end.device) < rules.n_beams
    return _Choice(*best, is_end & among_best, going_on)


class _Likely(NamedTuple):
    """The likeliest tokens after every beam, and the model's own log-probabilities of them; [B, G, S, C] each."""

    logps: Tensor
    tokens: Tensor


class _Search:
    """The beams under way and the completions that have ended, of the prompts that are not done."""

    def __init__(self, encoded: Encoded, rules: Rules, prefixes: Sequence[Sequence[int]] | None) -> None:
        n_prompts, device = len(encoded.logits), encoded.logits.device
        shape = (n_prompts, rules.n_groups, rules.n_beams)
        self.encoded = encoded
        self.rules = rules
        self.live = list(range(n_prompts))  # numbers of the prompts that the tensors still hold
        prompts = _padded(prefixes or [()] * n_prompts, device)
        self.n_prefix = prompts.shape[1]
        self.tokens = prompts[:, None, None].expand(*shape, -1)  # the prefixes, then what was chosen
        self.running = torch.full(shape, UNREACHABLE, device=device)
        self.running[:, :, 0] = 0.0
        self.logps = torch.zeros(*shape, 0, device=device)
        self.end_logps = torch.zeros(*shape, 0, device=device)
        self.done = torch.zeros(shape[:2], dtype=torch.bool, device=device)
        self.rows = torch.arange(self.running.numel(), device=device).view(shape)
        self.n_best = min(max(2, 1 + rules.n_ends), encoded.logits.shape[-1]) * rules.n_beams
        self.ended = [[_Ended(rules) for _ in range(rules.n_groups)] for _ in range(n_prompts)]
        encoded.expand(rules.n_groups * rules.n_beams)

    @property
    def is_done(self) -> bool:
        return bool(self.done.all())

    @property
    def rows_so_far(self) -> Tensor:
        """Prefix and chosen tokens of every row, [B · G · S, T]."""
        return self.tokens.flatten(0, 2)

    def choose(self, step: int) -> None:
        """Let the groups choose one after the other and append what they chose."""
        own_logps = self.encoded.logits.log_softmax(dim=-1).view(*self.running.shape, -1)
        self._remember_end(own_logps)
        likely = self._likely(own_logps, step)
        counts = own_logps.new_zeros(len(self.live), own_logps.shape[-1])
        chosen, sources, chosen_logps = [], [], []
        for group in range(self.rules.n_groups):
            choice = _choice(self._best(group, own_logps[:, group], likely, counts, step), self.rules)
            self._collect_ended(group, choice, own_logps[:, group])
            was_done = self.done[:, group].clone()
            self._close_groups(group, choice, step + 1)
            tokens, beams, logps = self._go_on(group, choice, own_logps[:, group], was_done)
            weight = torch.ones_like(counts[:, 0]) if self.rules.padding_counts else 1.0 - was_done.to(counts.dtype)
            counts.scatter_add_(1, tokens, weight[:, None].expand_as(tokens).contiguous())
            chosen.append(tokens)
            sources.append(beams)
            chosen_logps.append(logps)
        self._append(torch.stack(chosen, dim=1), torch.stack(sources, dim=1), torch.stack(chosen_logps, dim=1))

    def _likely(self, own_logps: Tensor, step: int) -> _Likely | None:
        """So many tokens that each group's best are among them; None where that cannot be told.

        Without processors a token can only lose: what earlier groups chose is penalised, and ends may be too early.
        Of so many, `n_best` + 1 lose nothing. A token left out beats none of these, so it is not among the `n_best`
        unless it equals the last of them, and then two of those found are equal too.
        """
        n_losing = (self.rules.n_groups - 1) * self.rules.n_beams
        n_losing += self.rules.n_ends if step < self.rules.min_new_tokens else 0
        n = self.n_best + 1 + n_losing
        if self.rules.processors or n > own_logps.shape[-1]:
            return None
        found = likeliest(own_logps.flatten(0, 2), n)
        return _Likely(*(values.view(*self.running.shape, n) for values in found))

    def _best(self, group: int, own_logps: Tensor, likely: _Likely | None, counts: Tensor, step: int) -> _Best:
        """One group's `n_best` continuations, found among the likely ones. Where equals leave open which they are, or
        in which order, all are ranked, as `topk` has an order of its own among equals."""
        running = self.running[:, group]
        if likely is None:
            return self._best_of_all(group, own_logps, running, counts, step)
        logps, tokens = (values[:, group] for values in likely)
        counted = counts.gather(1, tokens.flatten(1)).view_as(tokens)
        allowed = self._allowed(group, logps, counted, self.rules.ends[tokens], step)
        scores, columns = (allowed + running[..., None]).flatten(1).topk(self.n_best + 1, dim=1)
        is_open = ~(scores[:, :-1] > scores[:, 1:]).all(dim=1)
        columns = columns[:, :-1]
        best = _Best(scores[:, :-1], columns // tokens.shape[2], tokens.flatten(1).gather(1, columns))
        if is_open.any():
            found = self._best_of_all(group, own_logps[is_open], running[is_open], counts[is_open], step)
            for values, exact in zip(best, found, strict=True):
                values[is_open] = exact
        return best

    def _best_of_all(self, group: int, own_logps: Tensor, running: Tensor, counts: Tensor, step: int) -> _Best:
        """The best continuations [B, C] by all tokens' log-probabilities [B, S, V]."""
        allowed = self._allowed(group, own_logps, counts[:, None], self.rules.ends, step)
        n_vocab = own_logps.shape[-1]
        scores, columns = (allowed + running[..., None]).flatten(1).topk(self.n_best, dim=1)
        return _Best(scores, columns // n_vocab, columns % n_vocab)

    def _allowed(self, group: int, logps: Tensor, counts: Tensor, ends: Tensor, step: int) -> Tensor:
        """What one group ranks by at this step: log-probabilities [B, S, C], penalised and processed."""
        if group and self.rules.diversity_penalty:
            logps = logps - self.rules.diversity_penalty * counts
        if self.rules.processors:
            rows, tokens = logps.flatten(0, 1), self.tokens[:, group].flatten(0, 1)
            for process in self.rules.processors:
                rows = process(tokens, rows)
            logps = rows.view(logps.shape)
        return logps.masked_fill(ends, -torch.inf) if step < self.rules.min_new_tokens else logps

    def _remember_end(self, own_logps: Tensor) -> None:
        """The log-probability of ending here; nan for a model without an end."""
        end_id = self.rules.end_id
        latest = own_logps[..., end_id] if end_id is not None else torch.full_like(self.running, torch.nan)
        self.end_logps = torch.cat([self.end_logps, latest[..., None]], dim=-1)

    def _collect_ended(self, group: int, choice: _Choice, own_logps: Tensor) -> None:
        """Store the beams of one group that end at this step."""
        open_ends = choice.ended & ~self.done[:, group, None]
        for row, column in open_ends.nonzero().tolist():
            beam, token = int(choice.beams[row, column]), int(choice.tokens[row, column])
            self.ended[self.live[row]][group].add(
                (*self._completion(row, group, beam), token),
                (*self.logps[row, group, beam].tolist(), float(own_logps[row, beam, token])),
                tuple(self.end_logps[row, group, beam].tolist()),
                score_sum=float(choice.scores[row, column]),
                is_finished=True,
            )

    def _completion(self, row: int, group: int, beam: int) -> tuple[int, ...]:
        return tuple(self.tokens[row, group, beam, self.n_prefix :].tolist())

    def _close_groups(self, group: int, choice: _Choice, n_tokens: int) -> None:
        """Mark the prompts for which this group needs no further step, now that its beams hold `n_tokens`."""
        for row, prompt in enumerate(self.live):
            ended = self.ended[prompt][group]
            if ended.is_full and not self.done[row, group]:
                self.done[row, group] = ended.is_final(float(choice.scores[row, 0]), n_tokens)

    def _go_on(self, group: int, choice: _Choice, own_logps: Tensor, was_done: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The group's next tokens, the beams they continue, their own logps, [B, S]; brings its scores up to date."""
        tokens, beams = (values.gather(1, choice.going_on) for values in (choice.tokens, choice.beams))
        logps = own_logps.flatten(1).gather(1, beams * own_logps.shape[-1] + tokens)
        self.running[:, group] = choice.scores.gather(1, choice.going_on).masked_fill(was_done[:, None], 0.0)
        return tokens.masked_fill(was_done[:, None], self.rules.pad_id), beams.masked_fill(was_done[:, None], 0), logps

    def _append(self, tokens: Tensor, beams: Tensor, logps: Tensor) -> None:
        """Continue `beams` with `tokens`, all [B, G, S]; `rows` says which rows of the model they were."""
        if self.rules.n_beams > 1:
            self.tokens, self.logps, self.end_logps = (
                kept.gather(2, beams[..., None].expand_as(kept)) for kept in (self.tokens, self.logps, self.end_logps)
            )
            self.rows = self.rows.gather(2, beams)
        self.tokens = torch.cat([self.tokens, tokens[..., None]], dim=-1)
        self.logps = torch.cat([self.logps, logps[..., None]], dim=-1)

    def advance(self, *, may_drop_rows: bool) -> None:
        """Run the model one step. Prompts whose groups are all done leave once they are half of the batch."""
        keep = (~self.done.all(dim=1)).nonzero().flatten()
        shrinks = may_drop_rows and 2 * len(keep) <= len(self.live)
        if shrinks:
            self.live = [self.live[row] for row in keep.tolist()]
            self.tokens, self.logps, self.end_logps = self.tokens[keep], self.logps[keep], self.end_logps[keep]
            self.running, self.done, self.rows = self.running[keep], self.done[keep], self.rows[keep]
        if shrinks or self.rules.n_beams > 1:  # with one beam a group nothing ever moves
            self.encoded.reorder(self.rows.flatten())
            self.rows = torch.arange(self.rows.numel(), device=self.rows.device).view(self.rows.shape)
        self.encoded.step(self.tokens[..., -1].flatten())

    def results(self) -> list[list[Hypothesis]]:
        """Each prompt's completions, open beams of undone groups included; among equals the later group first."""
        for row, group in (~self.done).nonzero().tolist():
            for beam in range(self.rules.n_beams):
                self.ended[self.live[row]][group].add(
                    self._completion(row, group, beam),
                    tuple(self.logps[row, group, beam].tolist()),
                    tuple(self.end_logps[row, group, beam].tolist()),
                    score_sum=float(self.running[row, group, beam]),
                    is_finished=False,
                )
        found = [[hypothesis for ended in groups for hypothesis in ended.kept] for groups in self.ended]
        return [sorted(hypotheses, key=lambda one: one.search_score)[::-1] for hypotheses in found]


class _Ended:
    """The best completions of one group of one prompt, at most S."""

    def __init__(self, rules: Rules) -> None:
        self.size = rules.n_beams
        self.length_penalty = rules.length_penalty
        self.early_stopping = rules.early_stopping
        self.max_new_tokens = rules.max_new_tokens
        self.kept: list[Hypothesis] = []

    @property
    def is_full(self) -> bool:
        return len(self.kept) == self.size

    def add(
        self,
        ids: tuple[int, ...],
        logps: tuple[float, ...],
        end_logps: tuple[float, ...],
        *,
        score_sum: float,
        is_finished: bool,
    ) -> None:
        """Keep a completion if there is room or it beats the worst one, the first of equals leaving first."""
        score = score_sum / len(ids) ** self.length_penalty
        if self.is_full:
            worst = min(range(self.size), key=lambda number: self.kept[number].search_score)
            if score <= self.kept[worst].search_score:
                return
            del self.kept[worst]
        self.kept.append(Hypothesis(ids, logps, end_logps, score, is_finished))

    def is_final(self, best_score_sum: float, n_tokens: int) -> bool:
        """No open beam, the best of which has `best_score_sum` after `n_tokens`, is waited for; see `early_stopping`.

        Sums only fall from here on, so the longest length is the kindest one where long completions are favoured.
        """
        if self.early_stopping is True:
            return True
        if self.early_stopping == "never" and self.length_penalty > 0:
            n_tokens = self.max_new_tokens
        worst_score = min(hypothesis.search_score for hypothesis in self.kept)
        return worst_score >= best_score_sum / n_tokens**self.length_penalty


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Rows of tokens as one int64 tensor, filled up with −1 on the left."""
    longest = max((len(row) for row in rows), default=0)
    filled = [[-1] * (longest - len(row)) + list(row) for row in rows]
    return torch.tensor(filled, dtype=torch.int64, device=device).view(len(rows), longest)


def _check(n_groups: int, n_beams: int, penalty: float, max_new_tokens: int, min_new_tokens: int) -> None:
    if n_groups < 1 or n_beams < 1:
        raise ConfigError(f"{n_groups} groups of {n_beams} beams. Expected at least one group of one beam.")
    if penalty < 0:
        raise ConfigError(f"diversity_penalty is {penalty}. Expected 0 or more: a negative one rewards sameness.")
    if max_new_tokens < 1 or min_new_tokens > max_new_tokens:
        raise ConfigError(
            f"min_new_tokens is {min_new_tokens} and max_new_tokens {max_new_tokens}. "
            "Expected a maximum of at least one token and of at least the minimum."
        )
