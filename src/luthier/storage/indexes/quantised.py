"""faiss's inverted file with 8-bit scalar quantisation, over the first slots of a matrix."""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from luthier.errors import ConfigError
from luthier.types import Floats

_PER_LIST = 40  # vectors that each centre is learned from
_LISTS_PER_ROOT = 4  # centres for each square root of the number of vectors, faiss's advice
_ROUNDS = 6  # of k-means
_PROBED_SHARE = 1 / 125  # of the lists, that a question reads
_LEAST_PROBED = 32
_CHUNK = 50_000


class Quantised:
    """Finds candidates for the nearest vectors of a matrix.

    Vectors of length 1 lie in lists around k-means centres, a byte for each number; a question reads the lists whose
    centres are nearest. `benchmarks/vector_search.py` measures it.

    Args:
        trained_on: vectors there were when the centres were learned.
    """

    def __init__(self, index: Any, trained_on: int) -> None:
        self._index = index
        self.trained_on = trained_on

    @classmethod
    def train(cls, matrix: Floats) -> Self:
        """Learn centres from a matrix, and take in its rows. The same rows give the same index.

        Args:
            matrix: (S, D), rows of length 1.
        """
        faiss = _faiss()
        n_lists = max(int(_LISTS_PER_ROOT * len(matrix) ** 0.5), 1)
        index = faiss.index_factory(matrix.shape[1], f"IVF{n_lists},SQ8", faiss.METRIC_INNER_PRODUCT)
        index.cp.niter = _ROUNDS
        n_sample = min(len(matrix), _PER_LIST * n_lists)
        sample = np.random.default_rng(0).choice(len(matrix), n_sample, replace=False)
        index.train(np.ascontiguousarray(matrix[np.sort(sample)]))
        made = cls(index, len(matrix))
        made.extend(matrix)
        return made

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The index in a file; None where there is none."""
        if not path.exists():
            return None
        index = _faiss().read_index(str(path))
        return cls(index, (index.nlist // _LISTS_PER_ROOT) ** 2)

    def write(self, path: Path) -> None:
        """Write it whole, in one step for who reads."""
        new = path.with_name(path.name + ".new")
        _faiss().write_index(self._index, str(new))
        new.replace(path)

    @property
    def covered(self) -> int:
        """Slots, from the first on, that it knows."""
        return int(self._index.ntotal)

    def extend(self, matrix: Floats) -> None:
        """Take in the rows of (S, D) that it does not know yet."""
        for at in range(self.covered, len(matrix), _CHUNK):
            self._index.add(np.ascontiguousarray(matrix[at : at + _CHUNK]))

    def search(self, vector: Floats, k: int, chosen: Any = None, share: float = 1.0) -> NDArray[np.int64]:
        """Slots of about the `k` nearest, in no exact order; more lists are read until there are as many.

        Args:
            vector: (D,) of length 1.
            chosen: only these slots, by `select`; None for all.
            share: of the slots that are chosen; the fewer they are, the more lists are read at once.
        """
        lists = self._index.nlist
        probed = min(lists, int(max(_LEAST_PROBED, lists * _PROBED_SHARE) / max(share, 1e-3)))
        wanted = {} if chosen is None else {"sel": chosen}
        while True:
            parameters = _faiss().SearchParametersIVF(nprobe=probed, **wanted)
            found: NDArray[np.int64] = self._index.search(vector[None], k, params=parameters)[1][0]
            if probed == lists or found[-1] >= 0:  # places that stay empty are -1, at the end
                return found[found >= 0]
            probed = min(lists, 2 * probed)

    def select(self, slots: NDArray[np.int64]) -> Any:
        """A selection of slots that `search` takes."""
        bits = np.zeros(self.covered, bool)
        bits[slots] = True
        return _faiss().IDSelectorBitmap(np.packbits(bits, bitorder="little"))


def check_installed() -> None:
    """
    Raises:
        ConfigError: faiss is not there.
    """
    _faiss()


def _faiss() -> Any:
    try:
        import faiss
    except ModuleNotFoundError:
        raise ConfigError(
            "An index of more than 20,000 vectors needs the package faiss-cpu: pip install 'luthier[index]'."
        ) from None
    return faiss
