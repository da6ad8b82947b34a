"""Tokens as the completions API reports them."""

from luthier.completion.legacy import LogprobsWriter, token_text
from luthier.domain.generation import TokenLogprob
from luthier.testing import ByteTokenizer

TOKENIZER = ByteTokenizer()


def test_token_texts():
    assert token_text(TOKENIZER, ord("a")) == "a"
    assert token_text(TOKENIZER, 0xE2) == r"bytes:\xe2"
    assert token_text(TOKENIZER, 256) == "<|end|>"


def test_parts_of_characters_stay_distinct_and_share_an_offset():
    data = "né!".encode()
    tokens = [TokenLogprob(data[0], None)]
    tokens += [TokenLogprob(byte, -1.0, ((byte, -1.0), (0xFF, -2.0))) for byte in data[1:]]
    written = LogprobsWriter(TOKENIZER).write(tokens)
    assert written.tokens == ["n", r"bytes:\xc3", r"bytes:\xa9", "!"]
    assert written.text_offset == [0, 1, 1, 2]
    assert written.token_logprobs == [None, -1.0, -1.0, -1.0]
    assert written.top_logprobs[0] is None
    assert written.top_logprobs[1] == {r"bytes:\xc3": -1.0, r"bytes:\xff": -2.0}


def test_offsets_go_on_and_the_end_of_a_text_has_no_width():
    writer = LogprobsWriter(TOKENIZER, offset=10)
    assert writer.write([TokenLogprob(97, -1.0), TokenLogprob(256, -1.0)]).text_offset == [10, 11]
    assert writer.write([TokenLogprob(98, -1.0)]).text_offset == [11]


def test_the_chosen_token_keeps_its_value_when_another_looks_alike():
    class Twins(ByteTokenizer):
        def token_bytes(self, _: int) -> bytes:
            return b"x"

    written = LogprobsWriter(Twins()).write([TokenLogprob(2, -3.0, ((1, -0.5), (2, -3.0)))])
    assert written.top_logprobs == [{"x": -3.0}]
