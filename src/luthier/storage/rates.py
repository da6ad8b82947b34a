"""How fast this machine trained each base, kept so that times can be foretold."""

import json
import os
from pathlib import Path

from luthier.config import Settings


def _path(settings: Settings) -> Path:
    return settings.home / "rates.json"


def read(settings: Settings, base_key: str) -> float | None:
    """Tokens a second of the last run on this base, None if there was none."""
    return _all(settings).get(base_key)


def write(settings: Settings, base_key: str, tokens_per_second: float) -> None:
    """Remember a run's speed."""
    rates = {**_all(settings), base_key: tokens_per_second}
    fresh = _path(settings).with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(rates, indent=2), encoding="utf-8")
    fresh.replace(_path(settings))


def _all(settings: Settings) -> dict[str, float]:
    path = _path(settings)
    if not path.is_file():
        return {}
    rates: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return rates
