"""Forms: the shipped ones say what the paper's tables ask, and a wrong file is refused with its key."""

from pathlib import Path

import msgspec
import pytest
import yaml

from accord.data.schemes import load_scheme
from accord.errors import ConfigError
from accord.rating.forms import FORMS, FORMS_DIR, Form, Label, Question, load_form, question_scheme, write_form

ASPECTS = {
    "emotional-support": ["identification", "comforting", "suggestion", "overall", "global_consensus"],
    "rule-of-thumb": ["well_formedness", "fluency", "relevance", "global_consensus"],
    "acceptable": ["acceptable"],
}
"""The columns of the paper's Tables 2 and 4, and the yes/no form."""


@pytest.mark.parametrize("name", FORMS)
def test_shipped_forms_ask_what_they_should(name: str) -> None:
    form = load_form(name)
    assert (form.name, [question.name for question in form.questions]) == (name, ASPECTS[name])
    scales = {question.name: [label.value for label in question.labels] for question in form.questions}
    yes_no = {"well_formedness", "acceptable"}
    assert scales == {aspect: ["no", "yes"] if aspect in yes_no else list("12345") for aspect in ASPECTS[name]}
    assert all(label.anchor.endswith((".", "!")) for question in form.questions for label in question.labels)


def test_every_file_among_the_forms_is_shipped() -> None:
    assert sorted(path.stem for path in FORMS_DIR.glob("*.yaml")) == sorted(FORMS)


@pytest.mark.parametrize("name", ["emotional-support", "rule-of-thumb"])
def test_global_consensus_is_the_shipped_scheme(name: str) -> None:
    """nobody < 1 %, rare 5-25 %, controversial about 50 %, most 75-90 %, all > 99 %."""
    question = load_form(name).questions[-1]
    scheme = question_scheme(question)
    assert scheme == msgspec.structs.replace(
        load_scheme("global-consensus"), name="global_consensus", question="global_consensus"
    )
    assert [label.text for label in question.labels] == ["Nobody", "Rare", "Controversial", "Most", "All"]


def test_scheme_of_a_rating_names_its_acceptable_labels() -> None:
    overall = load_form("emotional-support").questions[3]
    scheme = question_scheme(overall)
    assert scheme is not None
    assert (scheme.acceptable, scheme.level, scheme.kind, scheme.question) == (("4", "5"), "ordinal", "vote", "overall")


def test_question_without_acceptable_labels_has_no_scheme() -> None:
    assert (
        question_scheme(Question("tone", "Which tone?", (Label("a", "A", "Calm."), Label("b", "B", "Loud.")))) is None
    )


def test_digits_choose_by_value_where_values_are_digits() -> None:
    zero_based = Question("q", "?", tuple(Label(value, value, "A.") for value in "012"))
    assert (zero_based.keys, load_form("acceptable").questions[0].keys) == (("0", "1", "2"), ("1", "2"))


@pytest.mark.parametrize("name", FORMS)
def test_a_written_form_reads_back_the_same(name: str, tmp_path: Path) -> None:
    write_form(load_form(name), tmp_path / "form.yaml")
    assert load_form(tmp_path / "form.yaml") == load_form(name)


def a_form() -> dict[str, object]:
    labels = [{"value": "no", "text": "No", "anchor": "Bad."}, {"value": "yes", "text": "Yes", "anchor": "Good."}]
    question = {"name": "good", "text": "Good?", "labels": labels, "acceptable": ["yes"]}
    return {"name": "f", "title": "F", "instructions": "Read.", "consent": "Fine.", "questions": [question]}


def test_the_smallest_form(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(yaml.safe_dump(a_form()), encoding="utf-8")
    form = load_form(path)
    assert isinstance(form, Form)
    assert (form.layout, form.traits, form.questions[0].order, form.questions[0].optional) == (
        "together",
        (),
        "nominal",
        False,
    )


DAMAGES = {
    "name: [": "is not valid YAML",
    "questions: none": "Expected `array`, got `str` - at `$.questions`. Compare it with a shipped form.",
    "{title: T, questions[0].labels[0].value: false}": "true and false: write them in quotes",
    "{questions[0].labels[0].value: 3}": "Expected `str`, got `int` - at `$.questions[0].labels[0].value`. Write it",
    "{colour: red}": "Object contains unknown field `colour`",
    "{layout: sideways}": "Invalid enum value 'sideways' - at `$.layout`",
    "{consent: ' '}": "consent is empty. Expected text.",
    "{questions: []}": "questions is empty. Expected at least one.",
    "{questions[0].name: ../x}": "questions[0].name is '../x'. Expected small letters",
    "{questions[0].text: ''}": "questions[0].text is empty",
    "{questions[0].labels[1].anchor: ''}": "question 'good', label 'yes': anchor is empty",
    "{questions[0].labels[1].value: 'no'}": "labels of question 'good': 'no' comes twice",
    "{questions[0].labels[1].share: [0.5, 1.0]}": "1 of 2 labels have a share. Expected all or none.",
    "{questions[0].acceptable: [maybe]}": 'acceptable names ["maybe"]; expected labels out of ["no", "yes"]',
    "{questions[0].labels: []}": "question 'good' has 0 labels. Expected 2 to 9",
    "{traits: [{name: consent, text: Agreed}]}": "the name 'consent' is one of the page's own",
    "{traits: [{name: age, text: Years, choices: [x, x]}]}": "choices of trait 'age': 'x' comes twice",
    "{traits: [{name: age, text: A}, {name: age, text: B}]}": "traits: 'age' comes twice",
}
"""What is changed in the smallest form (a path to its new value; else the whole file) -> what the error says."""


@pytest.mark.parametrize("change", DAMAGES)
def test_a_wrong_form_is_refused_with_its_key(change: str, tmp_path: Path) -> None:
    path = tmp_path / "form.yaml"
    path.write_text(damaged(change), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_form(path)
    assert str(path) in str(caught.value)
    assert DAMAGES[change] in str(caught.value)
    assert "\n" not in str(caught.value)


def damaged(change: str) -> str:
    if not change.startswith("{"):
        return change
    form: object = a_form()
    for where, value in yaml.safe_load(change.replace("[0]", ".0").replace("[1]", ".1")).items():
        *parents, last = [int(part) if part.isdigit() else part for part in where.split(".")]
        target: object = form
        for parent in parents:
            target = target[parent]  # type: ignore[index]  # a tree of lists and mappings
        target[last] = value  # type: ignore[index]
    return yaml.safe_dump(form)


def test_unknown_form_lists_the_shipped_ones() -> None:
    expected = 'Form \'moods\' is neither a file nor one of \\["emotional-support", "rule-of-thumb", "acceptable"\\]'
    with pytest.raises(ConfigError, match=expected):
        load_form("moods")
