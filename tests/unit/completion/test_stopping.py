"""Text from tokens: whole characters, stop texts over borders."""

import random

from luthier.completion.stopping import TextStream
from luthier.testing import ByteTokenizer


class Pieces:
    """A tokenizer whose tokens are given byte strings."""

    eos_id = None

    def __init__(self, *tokens: bytes) -> None:
        self.tokens = tokens
        self.vocab_size = len(tokens)

    def encode(self, text: str) -> list[int]:
        raise NotImplementedError

    def decode(self, ids):
        raise NotImplementedError

    def token_bytes(self, token_id: int) -> bytes:
        return self.tokens[token_id]


def feed(*tokens: bytes, stops: tuple[str, ...] = ()) -> tuple[list[str], bool]:
    stream = TextStream(Pieces(*tokens), stops)
    texts = []
    for token_id in range(len(tokens)):
        texts.append(stream.push(token_id))
        if stream.stopped:
            return texts, True
    return [*texts, stream.finish()], False


def test_plain_text_passes():
    assert feed(b"a", b"bc") == (["a", "bc", ""], False)


def test_a_character_is_never_split():
    crown = "한".encode()
    assert feed(crown[:1], crown[1:2], crown[2:], b"!") == (["", "", "한", "!", ""], False)


def test_an_unfinished_character_becomes_a_replacement_at_the_end():
    assert feed(b"a", "한".encode()[:2]) == (["a", "", "�"], False)


def test_bytes_that_are_no_character_do_not_hold_the_rest():
    assert "".join(feed(b"a", b"\xff", b"b")[0]) == "a�b"


def test_a_stop_text_within_a_token():
    assert feed(b"soda. More", stops=(".",)) == (["soda"], True)


def test_a_stop_text_over_tokens_is_held_back_and_cut():
    assert feed(b"yes\n", b"\n#", b"## no", stops=("\n\n###",)) == (["yes", "", ""], True)


def test_what_only_looked_like_a_stop_text_comes_out():
    assert feed(b"a\n", b"b", stops=("\n\n",)) == (["a", "\nb", ""], False)
    assert feed(b"a\n", stops=("\n\n",)) == (["a", "\n"], False)


def test_the_earliest_of_several_stop_texts_counts():
    assert feed(b"one END two.", stops=(".", "END")) == (["one "], True)


def test_a_stop_text_of_several_bytes_a_character():
    crown = "끝".encode()
    assert feed(b"a", crown[:1], crown[1:], stops=("끝",)) == (["a", "", ""], True)


def test_any_cutting_into_tokens_gives_the_same_text():
    text, stops = "Größe 한국어 🙂 aab aaab END of it", ("aaab", "END")
    data, rng = text.encode(), random.Random(0)
    for _ in range(200):
        borders = sorted(rng.sample(range(1, len(data)), rng.randrange(1, 12)))
        tokens = [data[a:b] for a, b in zip([0, *borders], [*borders, len(data)], strict=True)]
        texts, stopped = feed(*tokens, stops=stops)
        assert ("".join(texts), stopped) == ("Größe 한국어 🙂 aab ", True)


def test_bytes_as_tokens():
    tokenizer = ByteTokenizer()
    stream = TextStream(tokenizer, ("!",))
    shown = [stream.push(token) for token in tokenizer.encode("né!")]
    assert shown == ["n", "", "é", ""]
    assert stream.stopped
