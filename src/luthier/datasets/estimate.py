"""How long a fine-tune will take and what it would cost, from figures that somebody measured or set."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

from luthier.domain.hyperparameters import Method
from luthier.errors import ConfigError

RATES_FILE = "rates.json"  # inside the home folder: tokens a second by weights and method, as runs measured them
PRICES_FILE = "prices.toml"  # inside the home folder, if the user wants costs shown


def read_rate(path: Path, weights: str, method: Method) -> float | None:
    """Tokens a second of the last fine-tune of these weights by this method; None when none was measured."""
    rate = _read_rates(path).get(_key(weights, method))
    return float(rate) if rate else None


def record_rate(path: Path, weights: str, method: Method, tokens_per_second: float) -> None:
    """Remember the measured rate of a fine-tune by this method of weights, named by their key in the catalogue."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    rates = _read_rates(path) | {_key(weights, method): round(tokens_per_second, 1)}
    fresh.write_text(json.dumps(rates, indent=2), encoding="utf-8")
    fresh.replace(path)


def _key(weights: str, method: Method) -> str:
    return f"{weights} {method}"


def _read_rates(path: Path) -> dict[str, float]:
    try:
        rates = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise ConfigError(f"{path} is not JSON. Delete it; the next fine-tune writes it anew.") from None
    return {name: rate for name, rate in rates.items() if isinstance(rate, int | float)}


@dataclass(frozen=True)
class Prices:
    """What training costs.

    Args:
        per_1k_tokens: price of a thousand trained tokens by model.
    """

    currency: str
    per_1k_tokens: dict[str, float]

    def cost(self, model: str, tokens: int) -> float | None:
        """Price of training on `tokens` tokens, all epochs counted; None for a model without a price."""
        price = self.per_1k_tokens.get(model)
        return None if price is None else price * tokens / 1000


def read_prices(path: Path) -> Prices:
    """Read a price file:

        currency = "USD"
        [per_1k_tokens]
        ada = 0.0004

    Raises:
        ConfigError: it is not there, no TOML, or a price is no number.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"The price file {path} cannot be read: {error}") from None
    prices = table.get("per_1k_tokens")
    if not isinstance(prices, dict) or not prices:
        raise ConfigError(f"The price file {path} has no table [per_1k_tokens] with a price for each model.")
    for model, price in prices.items():
        if isinstance(price, bool) or not isinstance(price, int | float) or price < 0:
            raise ConfigError(f"The price file {path} gives {model} = {price!r}; it should be a number such as 0.0004.")
    return Prices(str(table.get("currency", "USD")), prices)


def format_duration(seconds: float) -> str:
    """`45 seconds`, `12 minutes`, `3.5 hours`: for people."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            amount = seconds / size
            return f"{amount:.0f} {unit}s" if amount >= 10 else f"{amount:.1f} {unit}s"
    return f"{max(seconds, 1):.0f} seconds"
