"""Chats as the commands ask for them and show them."""

import pytest

from luthier.cli.chat import spread_messages
from luthier.errors import InvalidRequestError

OLD = ("api", "chat_completions.create", "-m", "gpt-4o-mini")


def choice(text, index=0):
    return {"index": index, "message": {"role": "assistant", "content": text}}


def delta(**fields):
    return {"choices": [{"index": 0, "delta": fields}]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("-g user Hi -t 0", "-g user -g Hi -t 0"),
        ("-g system a --message user -g", "-g system -g a --message user --message -g"),
        ("-g user", "-g user"),
        ("-m a", "-m a"),
    ],
)
def test_messages_are_spread(given, expected):
    assert spread_messages(given.split()) == expected.split()


def test_old_create_sends_what_the_old_client_sent(server, luthier):
    server.completion = {"choices": [choice("Hello.")]}
    result = luthier(*OLD, "-g", "system", "Be brief.", "-g", "user", "Hi there", "-t", "0", "--stop", ".")
    assert (result.output, result.exception) == ("Hello.\n", None)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi there"}]
    expected = {"model": "gpt-4o-mini", "messages": messages, "max_tokens": 100, "temperature": 0.0, "stop": "."}
    assert server.bodies == [expected]
    assert server.calls == ["POST chat/completions"]


def test_several_answers_are_headed(server, luthier):
    server.completion = {"choices": [choice("b", 1), choice("a", 0)]}
    output = luthier(*OLD[1:], "-g", "user", "x", "-n", "2").output
    assert output == "===== Chat Completion 0 =====\na\n===== Chat Completion 1 =====\nb\n"


def test_streams_are_written_as_they_come(server, luthier):
    for words in ([*OLD, "-g", "user", "x", "--stream"], ["chat", "gpt-4o-mini", "x"]):
        server.streams = [server.sse(delta(role="assistant", content=""), delta(content="one "), delta(content="two"))]
        assert luthier(*words).output == "one two\n"
        assert server.bodies[-1]["stream"] is True


def test_what_cannot_be_is_refused(server, luthier):
    for words in (["-g", "user", "x", "-n", "2", "--stream"], ["-g", "user"]):
        assert isinstance(luthier(*OLD, *words).exception, InvalidRequestError)
    assert not server.calls


def test_chat_reads_from_standard_input(server, luthier):
    server.completion = {"choices": [choice("a", 0), choice("b", 1)]}
    luthier("chat", "m", "-", "--system", "Be brief.", "-M", "5", "-n", "2", "--seed", "1", input="Hi")
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert server.bodies == [{"model": "m", "messages": messages, "max_completion_tokens": 5, "n": 2, "seed": 1}]
