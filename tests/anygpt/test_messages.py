"""Messages as people write them."""

from pathlib import Path

import pytest
from PIL import Image

from anygpt.messages import MessageError, is_batch, normalise


def test_a_string_is_a_user_message() -> None:
    assert normalise("hi") == [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]


def test_every_form_of_content_becomes_a_list_of_parts() -> None:
    picture = Image.new("RGB", (16, 16))
    messages = [
        {"role": "user", "content": ["look", {"type": "image", "path": "a.png"}]},
        {"role": "assistant", "content": [{"type": "image", "image": picture, "caption": "a dot"}]},
        {"role": "assistant", "content": []},
    ]
    first, second, third = normalise(messages)
    assert first["content"] == [{"type": "text", "text": "look"}, {"type": "image", "path": Path("a.png")}]
    assert second["content"] == [{"type": "image", "image": picture, "caption": "a dot"}]
    assert third["content"] == [{"type": "text", "text": ""}]
    assert normalise(normalise(messages)) == normalise(messages)


def test_what_is_not_to_be_learned_stays_so() -> None:
    said = {"role": "assistant", "content": "x"}
    first, second = normalise([{**said, "weight": 0}, {**said, "weight": 1}])
    assert first["weight"] == 0 and "weight" not in second


def test_batches_are_lists_of_conversations() -> None:
    one = [{"role": "user", "content": "hi"}]
    assert is_batch([one, one]) and is_batch(["hi", "ho"])
    assert not is_batch(one) and not is_batch("hi") and not is_batch([])


def part(**values: object) -> list[dict]:
    return [{"role": "user", "content": [{"type": "text", "text": "x"}, values]}]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], ["at least one message"]),
        (None, ["None"]),
        ({"role": "user", "content": "x"}, ["in a list"]),
        ([{"role": "usr", "content": "x"}], ["message 0", "'usr'", "did you mean 'user'"]),
        ([{"role": "user", "contents": "x"}], ["message 0", "did you mean 'content'"]),
        ([{"role": "user", "content": []}], ["message 0", "empty"]),
        ([{"role": "user", "content": 5}], ["message 0", "5"]),
        ([{"role": "user", "content": "x"}, 7], ["message 1", "int"]),
        (part(type="imge", path="a"), ["message 0, part 1", "did you mean 'image'"]),
        (part(type="image"), ["part 1", "neither"]),
        (part(type="image", path="a", image=1), ["part 1", "both"]),
        (part(type="image", url="http://x"), ["part 1", "'url' is not supported"]),
        (part(type="image", pth="a"), ["part 1", "did you mean 'path'"]),
        (part(type="image", path=3), ["part 1", "file name"]),
        (part(type="image", path="a", caption="b"), ["part 1", "'caption'"]),
        (part(type="text", text=3), ["part 1", "3"]),
        ([{"role": "system", "content": [{"type": "image", "path": "a"}]}], ["system", "image"]),
        ([{"role": "assistant", "content": [{"type": "depth", "path": "a"}]}], ["assistant", "depth"]),
        ([{"role": "assistant", "content": "x", "weight": 0.5}], ["message 0", "'weight'", "0 or 1", "0.5"]),
        ([{"role": "user", "content": "x", "weight": 0}], ["message 0", "'weight'", "the assistant's"]),
    ],
)
def test_a_wrong_message_says_where_and_what(messages: object, words: list[str]) -> None:
    with pytest.raises(MessageError) as caught:
        normalise(messages)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
