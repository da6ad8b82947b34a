"""Completions as the commands ask for them and show them."""

from luthier.errors import InvalidRequestError


def choice(text, index=0, **more):
    return {"text": text, "index": index, "logprobs": None} | more


def test_old_create_echoes_and_sends_only_what_was_set(server, luthier):
    server.completion = {"choices": [choice("say this")]}
    result = luthier("api", "completions.create", "-m", "ada", "-p", "say", "-M", "1", "-t", "0", "--logprobs", "2")
    assert result.output == "say this\n"
    assert server.bodies == [
        {"model": "ada", "prompt": "say", "max_tokens": 1, "temperature": 0.0, "logprobs": 2, "echo": True}
    ]


def test_several_completions_are_headed(server, luthier):
    server.completion = {"choices": [choice("b", 1), choice("a", 0)]}
    output = luthier("completions.create", "-e", "ada", "-p", "x", "-n", "2", "-P", "0.5", "--stop", ".").output
    assert output == "===== Completion 0 =====\na\n===== Completion 1 =====\nb\n"
    assert server.bodies[0] == {"model": "ada", "prompt": "x", "n": 2, "top_p": 0.5, "stop": ".", "echo": True}


def test_streams_are_written_as_they_come(server, luthier):
    for words in (["completions.create", "-m", "ada", "-p", "x", "--stream"], ["complete", "ada", "x"]):
        server.streams = [server.sse({"choices": [choice("one ")]}, {"choices": [choice("two")]})]
        assert luthier(*words).output == "one two\n"
        assert server.bodies[-1]["stream"] is True


def test_several_streams_are_refused(server, luthier):
    result = luthier("completions.create", "-m", "ada", "-p", "x", "-n", "2", "--stream")
    assert isinstance(result.exception, InvalidRequestError)
    assert not server.calls


def test_log_probabilities_are_a_table(server, luthier):
    logprobs = {"tokens": [" edible"], "token_logprobs": [-0.01], "top_logprobs": [{" edible": -0.01, " in": -4.6}]}
    server.completion = {"choices": [choice(" edible", logprobs=logprobs)]}
    output = luthier("complete", "m", "-", "-M", "1", "--logprobs", "2", "--seed", "7", input="plum ->").output
    assert "' edible' -0.010   ' in' -4.600" in output
    expected = {"model": "m", "prompt": "plum ->", "echo": False, "max_tokens": 1, "logprobs": 2, "seed": 7}
    assert server.bodies == [expected]
