"""One step: a pass through the model, the scores of prompts, and the next tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from luthier.completion.decoder import Decoder
from luthier.completion.logprobs import describe
from luthier.completion.sampler import sample
from luthier.completion.scheduler import Piece
from luthier.domain.generation import TokenLogprob

HEAD_ROWS = 256  # positions whose logits stand in memory at a time: 50 MB with a vocabulary of 49,152


@dataclass(frozen=True)
class Result:
    """What a step gave for one piece.

    Args:
        scores: of the prompt tokens that the piece predicts, when the prompt is to be scored.
        next_token: the token chosen, None when the piece does not end its prompt or nothing is to be generated. Its
            log probability is None unless the request wants it.
    """

    scores: tuple[TokenLogprob, ...] = ()
    next_token: TokenLogprob | None = None


@torch.inference_mode()
def run(decoder: Decoder, pieces: Sequence[Piece]) -> list[Result]:
    """Send the pieces through the model, and say what came out of each."""
    hidden = decoder.forward(pieces)  # (T, hidden)
    parts = torch.split(hidden, [piece.stop - piece.start for piece in pieces])
    scores = [_score(decoder, piece, rows) for piece, rows in zip(pieces, parts, strict=True)]
    tokens = _choose(decoder, pieces, parts)
    return [Result(scored, token) for scored, token in zip(scores, tokens, strict=True)]


def _score(decoder: Decoder, piece: Piece, rows: torch.Tensor) -> tuple[TokenLogprob, ...]:
    """Log probabilities of the prompt tokens that follow each row of a piece, (n, hidden), where they are asked for."""
    sequence = piece.sequence
    n_top = sequence.params.logprobs
    if not sequence.scores_prompt or n_top is None:
        return ()
    targets = sequence.tokens[piece.start + 1 : min(piece.stop + 1, sequence.n_prompt)]
    described = []
    for at in range(0, len(targets), HEAD_ROWS):
        chosen = targets[at : at + HEAD_ROWS]
        described += describe(decoder.head(rows[at : at + len(chosen)]), chosen, n_top)
    return tuple(described)


def _choose(decoder: Decoder, pieces: Sequence[Piece], parts: Sequence[torch.Tensor]) -> list[TokenLogprob | None]:
    """The next token after each piece that ends its sequence and wants one."""
    tokens: list[TokenLogprob | None] = [None] * len(pieces)
    wanted = [i for i, piece in enumerate(pieces) if piece.is_last and piece.sequence.params.max_tokens > 0]
    for at in range(0, len(wanted), HEAD_ROWS):
        group = wanted[at : at + HEAD_ROWS]
        sequences = [pieces[i].sequence for i in group]
        logits = decoder.head(torch.stack([parts[i][-1] for i in group]))  # (n, V)
        chosen = sample(logits, sequences)
        for row, (i, token) in enumerate(zip(group, chosen, strict=True)):
            n_top = pieces[i].sequence.request.n_top
            if n_top is None:
                tokens[i] = TokenLogprob(token, None)
            else:
                (tokens[i],) = describe(logits[row : row + 1], [token], n_top)
    return tokens
