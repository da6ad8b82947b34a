"""Adapters on a resident base: loaded at first use, dropped when not used for long or deleted."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError

from luthier.errors import WeightsError
from luthier.modeling.lora import LoraModel, Route
from luthier.modeling.shelf import Shelf


class Adapters:
    """The adapters of one base.

    Args:
        lora: the base with its wrapped layers.
        dtype, device: of the base; adapters are brought to them once, not in each pass.
        limit: how many adapters stay in memory when no request uses them.
    """

    def __init__(self, lora: LoraModel, dtype: torch.dtype, device: torch.device, limit: int) -> None:
        self._lora = lora
        self._dtype = dtype
        self._device = device
        self._numbers = itertools.count()
        self._shelf = Shelf(self._load, lora.remove, limit)

    def acquire(self, folder: Path) -> None:
        """Have an adapter in memory until `release`.

        Raises:
            WeightsError: its files are missing, damaged, or made for another base.
        """
        self._shelf.acquire(folder)

    def release(self, folder: Path) -> None:
        self._shelf.release(folder)

    def evict(self, folder: Path) -> None:
        """Drop an adapter, as soon as nobody uses it."""
        self._shelf.evict(folder)

    def route(self, pieces: Sequence[tuple[Path | None, int]]) -> None:
        """Send the next pass through these adapters.

        Args:
            pieces: (adapter, tokens) of each piece of the packed row, in order. Neighbours of one adapter go together.
        """
        routes: list[Route] = []
        at = 0
        for folder, group in itertools.groupby(pieces, key=lambda piece: piece[0]):
            stop = at + sum(tokens for _, tokens in group)
            if folder is not None:
                routes.append(Route(self._shelf[folder], at, stop))
            at = stop
        self._lora.route(routes)

    def _load(self, folder: Path) -> str:
        name = f"adapter{next(self._numbers)}"  # a model's name may hold dots, which no parameter's name can
        try:
            self._lora.load(name, folder)
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            self._lora.remove(name)
            raise WeightsError(f"The adapter in {folder.name} cannot be loaded: {error}") from error
        for parameter in self._lora.parameters(name).values():
            parameter.data = parameter.data.to(self._device, self._dtype)
        self._lora.publish(name)
        return name
