"""Embeddings of texts, from those of their pieces."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from luthier.modeling.encoder_card import EncoderCard


class Gathering:
    """The embeddings of one request as they come in.

    A text in several pieces gets their average, each weighed by its tokens: v = Σ wᵢ·vᵢ / Σ wᵢ; where the encoder
    normalises, the average is brought to length 1 again.

    Args:
        n_texts: of the request.
        card: of the encoder.

    Attributes:
        vectors: (N, D); a row is finished when all its text's pieces are there.
    """

    def __init__(self, n_texts: int, card: EncoderCard) -> None:
        self.vectors = np.zeros((n_texts, card.dimensions), dtype=np.float32)
        self._normalizes = card.normalizes
        self._unfinished = n_texts
        self._pieces: dict[int, int] = {}  # those still to come
        self._weights: Counter[int] = Counter()  # of those that came, of texts in several pieces

    @property
    def is_complete(self) -> bool:
        return self._unfinished == 0

    def expect(self, text: int, pieces: int) -> None:
        """Say how many pieces a text has, before the first of them comes."""
        self._pieces[text] = pieces

    def add(self, text: int, vector: NDArray[np.float32], weight: int) -> None:
        """Take in a piece's embedding, (D,)."""
        self._pieces[text] -= 1
        last = self._pieces[text] == 0
        if last and text not in self._weights:
            self.vectors[text] = vector
        else:
            self.vectors[text] += weight * vector
            self._weights[text] += weight
            if last:
                self.vectors[text] /= self._weights[text]
                if self._normalizes:
                    self.vectors[text] /= max(float(np.linalg.norm(self.vectors[text])), 1e-12)
        if last:
            del self._pieces[text]
            self._unfinished -= 1
