"""What is in memory to answer: bases, and the adapters on them."""

from collections.abc import Callable
from pathlib import Path

from luthier.completion.decoder import Decoder
from luthier.completion.sequence import Weights
from luthier.modeling.shelf import Shelf


class Residents:
    """Loads weights at first use and keeps the latest used ones. Not safe for several threads.

    Args:
        load: loads the base in a folder.
        max_bases: how many bases stay when no request uses them.
    """

    def __init__(self, load: Callable[[Path], Decoder], max_bases: int) -> None:
        self._bases = Shelf(load, lambda _: None, max_bases)

    def __getitem__(self, base: Path) -> Decoder:
        return self._bases[base]

    def acquire(self, weights: Weights) -> Decoder:
        """Have weights in memory until `release`, loaded now if they are not there.

        Raises:
            WeightsError: they cannot be loaded; nothing is held then.
        """
        decoder = self._bases.acquire(weights.base)
        try:
            if weights.adapter is not None:
                decoder.acquire_adapter(weights.adapter)
        except BaseException:
            self._bases.release(weights.base)
            raise
        return decoder

    def release(self, weights: Weights) -> None:
        if weights.adapter is not None:
            self._bases[weights.base].release_adapter(weights.adapter)
        self._bases.release(weights.base)

    def evict(self, folder: Path) -> None:
        """Drop a base or an adapter now, or as soon as nobody uses it. Does nothing when it is not there."""
        self._bases.evict(folder)
        for base in self._bases.things():
            base.evict_adapter(folder)

    def unload(self, weights: Weights) -> None:
        """`release`, and drop what nobody else uses."""
        self.release(weights)
        if weights.adapter is not None:
            self.evict(weights.adapter)
        self.evict(weights.base)
