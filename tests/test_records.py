"""Records on disk: what is absent leaves no trace, so that old files and their hashes stay as they were."""

import msgspec
import pytest

from accord.records import CandidateSet, Message, Output, PromptRow

CHAT = (Message("user", "Hi."),)


@pytest.mark.parametrize(
    "record",
    [
        PromptRow("p", CHAT),
        CandidateSet("p", CHAT, ("a",), (-1.0,), (1,), (-1.0,)),
        Output("p", CHAT, "a", "base"),
    ],
)
def test_a_strategy_is_written_only_where_there_is_one(record: PromptRow | CandidateSet | Output) -> None:
    assert b"strategy" not in msgspec.json.encode(record)
    named = msgspec.structs.replace(record, strategy="Question")
    assert msgspec.json.encode(named).endswith(b',"strategy":"Question"}')
    assert msgspec.json.decode(msgspec.json.encode(named), type=type(record)) == named


def test_messages_without_a_strategy_are_those_of_trl() -> None:
    assert msgspec.json.encode(Message("user", "Hi.")) == b'{"role":"user","content":"Hi."}'
    assert repr(Message("user", "Hi.")) == "Message(role='user', content='Hi.')"
    assert msgspec.json.encode(Message("assistant", "", "Others")) == (
        b'{"role":"assistant","content":"","strategy":"Others"}'
    )
    with pytest.raises(msgspec.ValidationError, match="unknown field `name`"):
        msgspec.json.decode(b'{"role": "user", "content": "Hi.", "name": "x"}', type=Message)
