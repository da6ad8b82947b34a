"""Conversations as tokens: what the base's chat template makes of them, and which tokens are learnt.

The text of a turn and the text before it are tokenized apart and joined, so that the border between them is always a
border between tokens, as it is when the tuned model is asked.
"""

from collections.abc import Sequence

from luthier.datasets.conversations import ChatExample, Message, PreferenceExample, with_tool_names
from luthier.datasets.encode import EncodedExample, EncodedPair
from luthier.errors import DataError, InvalidRequestError
from luthier.types import ChatRenderer, Tokenizer

Pieces = list[tuple[str, bool]]
"""One sequence: its text in pieces, and whether each is learnt."""


def encode_chat(example: ChatExample, tokenizer: Tokenizer, template: ChatRenderer) -> list[EncodedExample]:
    """A conversation as one sequence, or as several where the template writes past turns otherwise than new ones.

    Raises:
        DataError: the template does not take the conversation, or leaves a part of it out.
    """
    last = max(at for at, weight in enumerate(example.weights) if weight)
    answer = str(example.messages[last].get("content", ""))
    return [_encode(pieces, answer, tokenizer) for pieces in write(example, template)]


def encode_preference(example: PreferenceExample, tokenizer: Tokenizer, template: ChatRenderer) -> EncodedPair:
    """Both outputs, each behind the input.

    Raises:
        DataError: the template does not take the conversation, or leaves a part of it out.
    """
    outputs = (example.preferred, example.other)
    sides = zip(write(example, template), outputs, strict=True)
    return EncodedPair(*(_encode(pieces, str(output.get("content", "")), tokenizer) for pieces, output in sides))


def write(example: ChatExample | PreferenceExample, template: ChatRenderer) -> list[Pieces]:
    """The sequences that an example is trained on; of preferences, that with each output.

    Each turn that is learnt follows exactly the text that the tuned model gets when it is asked for it.

    Raises:
        DataError: the template does not take the conversation, or leaves a part of it out.
    """
    if isinstance(example, PreferenceExample):
        return [
            list(_turn((*example.messages, output), len(example.messages), example.tools, template))
            for output in (example.preferred, example.other)
        ]
    sequences: list[Pieces] = []
    whole = ""  # the text of the last sequence so far
    for at, weight in enumerate(example.weights):
        if weight:
            (before, _), (turn, _) = _turn(example.messages, at, example.tools, template)
            if not sequences or not before.startswith(whole):
                sequences.append([])
                whole = ""
            sequences[-1] += [(before.removeprefix(whole), False), (turn, True)]
            whole = before + turn
    return sequences


def _turn(
    messages: Sequence[Message], at: int, tools: Sequence[Message], template: ChatRenderer
) -> tuple[tuple[str, bool], tuple[str, bool]]:
    """The text before an assistant's turn, as the tuned model will get it, and that of the turn, its end included."""
    before = _render(messages[:at], tools, template, asked=True)
    whole = _render(messages[: at + 1], tools, template)
    if not whole.startswith(before):
        raise DataError(
            f"the base's chat template writes the assistant's message {at + 1} otherwise than it asks for it; "
            "such a template cannot be trained with."
        )
    _check_carried(messages[: at + 1], tools, whole, template)
    return (before, False), (whole[len(before) :].rstrip(), True)


def _check_carried(messages: Sequence[Message], tools: Sequence[Message], text: str, template: ChatRenderer) -> None:
    """Refuse what the template has silently left out of `text`.

    Raises:
        DataError: tools, calls, names or a whole message.
    """
    called = any(message["role"] == "tool" or "tool_calls" in message for message in messages)
    if (tools or called) and not template.takes_tools:
        raise DataError("it has `tools`, which the base's chat template leaves out. Remove them, or take another base.")
    if not template.takes_names and any("name" in message for message in messages):
        raise DataError("a message has a `name`, which the base's chat template leaves out. Remove it.")
    for number, message in enumerate(messages, 1):
        content = message.get("content", "").strip()
        if message["role"] != "assistant" and content not in text:  # thoughts of the assistant may be left out
            raise DataError(f"the base's chat template leaves out message {number}, of the role {message['role']}.")
        for call in message.get("tool_calls", ()):
            if call["function"]["name"] not in text:
                raise DataError(f"the base's chat template leaves out the tool calls of message {number}.")


def _render(
    messages: Sequence[Message], tools: Sequence[Message], template: ChatRenderer, *, asked: bool = False
) -> str:
    try:
        return template.render(with_tool_names(messages), tools or None, add_generation_prompt=asked)
    except InvalidRequestError as error:
        raise DataError(error.message[0].lower() + error.message[1:]) from None


def _encode(pieces: Pieces, answer: str, tokenizer: Tokenizer) -> EncodedExample:
    ids: list[int] = []
    mask: list[bool] = []
    for text, learnt in pieces:
        tokens = tokenizer.encode(text)
        ids += tokens
        mask += [learnt] * len(tokens)
    return EncodedExample(tuple(ids), tuple(mask), answer)
