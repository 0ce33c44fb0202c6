"""Visible and hidden votes: who may be seen, who judges, and what may not matter."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from accord.data.prepared import Prepared
from accord.data.schemes import load_scheme
from accord.errors import ConfigError
from accord.preference.labelled import Annotations, LabelledItems, count_items
from accord.records import Annotation, Item
from accord.recovery.hide import Hiding, hide_panel, hide_people, hide_votes

VOTES = {"a": "yyn", "b": "ynnyn", "c": "y", "d": "nnnn", "e": "", "f": "yyyyyy"}
PEOPLE = "klmnop"


def labelled(votes: dict[str, str] | None = None, *, counts: bool = False, reverse: bool = False) -> LabelledItems:
    """Item x with votes "yn": person k says yes, person l no."""
    label = {"y": "yes", "n": "no"}
    items = []
    for number, (name, given) in enumerate((votes or VOTES).items()):
        people = [PEOPLE[(number + seat) % len(PEOPLE)] for seat in range(len(given))]
        annotations = [Annotation(who, label[vote]) for who, vote in zip(people, given, strict=True)]
        annotations = annotations[::-1] if reverse else annotations
        both = {"yes": given.count("y"), "no": given.count("n")}
        items.append(Item(name, "p", name, votes=both) if counts else Item(name, "p", name, tuple(annotations)))
    return count_items(Prepared(items, load_scheme("yes-no")))


def test_targets_have_more_votes_than_the_largest_keep_and_others_keep_theirs() -> None:
    """With keep 1, 2, 3 the targets are b (5), d (4) and f (6); a has only 3 and keeps its yes, yes, no."""
    for k, hiding in zip((1, 2, 3), hide_votes(labelled(), keep=[1, 2, 3], seed=0), strict=True):
        assert hiding.is_target.tolist() == [False, True, False, True, False, True]
        assert hiding.visible.sum(axis=1).tolist() == [3, k, 1, k, 0, k]
        assert hiding.visible[0].tolist() == [1, 2]


@pytest.mark.parametrize("counts", [False, True])
def test_visible_and_hidden_are_all_votes(counts: bool) -> None:
    items = labelled(counts=counts)
    for hiding in hide_votes(items, keep=[3, 1], seed=5):
        assert (hiding.visible + hiding.hidden).tolist() == items.votes.tolist()
        assert (hiding.visible_annotations is None) == counts
        if hiding.visible_annotations is not None and hiding.hidden_annotations is not None:
            assert table_of(hiding.visible_annotations, len(items.ids)).tolist() == hiding.visible.tolist()
            assert table_of(hiding.hidden_annotations, len(items.ids)).tolist() == hiding.hidden.tolist()
            assert pairs(hiding.visible_annotations).isdisjoint(pairs(hiding.hidden_annotations))


def test_what_is_visible_stays_visible_with_more() -> None:
    one, two = hide_votes(labelled(), keep=[1, 2], seed=1)
    assert one.visible_annotations is not None
    assert two.visible_annotations is not None
    assert pairs(one.visible_annotations) < pairs(two.visible_annotations)


@pytest.mark.parametrize("hide", [hide_votes, hide_people])
def test_the_order_of_annotations_is_irrelevant(hide: Callable[..., list[Hiding]]) -> None:
    forwards, backwards = hide(labelled(), keep=[1, 2], seed=2), hide(labelled(reverse=True), keep=[1, 2], seed=2)
    for one, other in zip(forwards, backwards, strict=True):
        assert one.visible.tolist() == other.visible.tolist()
        assert one.hidden.tolist() == other.hidden.tolist()


def test_other_items_do_not_change_an_items_draw() -> None:
    alone = hide_votes(labelled({"b": VOTES["b"]}), keep=[2], seed=3)[0]
    among = hide_votes(labelled({"b": VOTES["b"], "f": "yyyyyy"}), keep=[2], seed=3)[0]
    assert alone.visible[0].tolist() == among.visible[0].tolist()


def test_every_vote_is_visible_equally_often() -> None:
    """Two of five votes, three of them yes: 2 · 3/5 = 1.2 visible yes on average; 2,000 seeds give it to ±0.05."""
    for counts in (False, True):
        items = labelled({"b": "ynyyn"}, counts=counts)
        visible = np.array([hide_votes(items, keep=[2], seed=seed)[0].visible[0, 1] for seed in range(2000)])
        assert visible.mean() == pytest.approx(1.2, abs=0.05)


def test_people_vanish_as_wholes() -> None:
    """Six people; a hidden one has no visible vote anywhere, and non-targets get no hidden votes."""
    items = labelled()
    for hiding in hide_people(items, keep=[1, 2], seed=4):
        assert hiding.visible_annotations is not None
        assert hiding.hidden_annotations is not None
        seen, hidden = (set(part.annotator_index) for part in (hiding.visible_annotations, hiding.hidden_annotations))
        assert seen.isdisjoint(hidden)
        assert (hiding.visible[hiding.is_target].sum(axis=1) > 0).all()
        whole = hiding.visible + hiding.hidden
        assert whole[hiding.is_target].tolist() == items.votes[hiding.is_target].tolist()


def test_people_enter_until_items_have_keep_votes_on_average() -> None:
    """Five judged items, 19 votes: keep 2 wants 10 visible votes, and without the last to enter there are fewer."""
    for seed in range(10):
        small, large = hide_people(labelled(), keep=[1, 2], seed=seed)
        assert large.visible.sum() >= 10
        assert large.visible.sum() - 10 < 5  # nobody gave more than five votes
        assert small.is_target.tolist() == large.is_target.tolist()


def test_two_panels() -> None:
    """k, l, m are the first panel; b was judged by k l m and n o, c by l, f by k l m and n o p."""
    first = np.array([name in "klm" for name in PEOPLE])
    items = labelled({"b": "ynnyn", "c": "y", "f": "yyyyyy"})
    one, three = hide_panel(items, keep=[1, 3], is_first_panel=first, seed=0)
    assert one.is_target.tolist() == three.is_target.tolist() == [True, False, True]
    assert three.visible.tolist() == [[2, 1], [0, 1], [0, 3]]
    assert one.hidden.tolist() == three.hidden.tolist() == [[1, 1], [0, 0], [0, 3]]
    assert one.visible.sum(axis=1).tolist() == [1, 1, 1]


def test_errors_say_what_to_do() -> None:
    items, anonymous = labelled(), labelled(counts=True)
    with pytest.raises(ConfigError, match=r"^No item has more than 6 votes, so none can be hidden at --keep 6\. Lower"):
        hide_votes(items, keep=[6], seed=0)
    with pytest.raises(ConfigError, match=r"^keep is \[0, 1\]; expected numbers of visible votes from 1, each once"):
        hide_votes(items, keep=[0, 1], seed=0)
    with pytest.raises(ConfigError, match=r"^keep is \[2, 2\]"):
        hide_votes(items, keep=[2, 2], seed=0)
    with pytest.raises(ConfigError, match=r"^hide is 'people', but the annotators of this data are unknown"):
        hide_people(anonymous, keep=[1], seed=0)
    with pytest.raises(ConfigError, match=r"^No item has votes both of visible and of hidden people, so none"):
        hide_people(items, keep=[4], seed=0)
    with pytest.raises(
        ConfigError, match=r"^No item has more than 1 vote, so none can be hidden at --keep 1\. Expected it"
    ):
        hide_votes(labelled({"a": "y", "b": "n"}), keep=[1], seed=0)
    nobody = np.zeros(len(PEOPLE), dtype=bool)
    with pytest.raises(ConfigError, match=r"^No item has 1 vote\(s\) of the first panel and one of the second"):
        hide_panel(items, keep=[1], is_first_panel=nobody, seed=0)
    with pytest.raises(ConfigError, match=r"^hide is 'panels', but the annotators of this data are unknown"):
        partial(hide_panel, anonymous, keep=[1], seed=0)(is_first_panel=nobody)


def pairs(annotations: Annotations) -> set[tuple[int, int]]:
    return set(zip(annotations.item_index.tolist(), annotations.annotator_index.tolist(), strict=True))


def table_of(annotations: Annotations, n_items: int) -> np.ndarray:
    table = np.zeros((n_items, 2))
    np.add.at(table, (annotations.item_index, annotations.is_acceptable.astype(int)), 1)
    return table
