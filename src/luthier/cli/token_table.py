"""`luthier tokens FILE --text TEMPLATE`: the tokens of a whole table, counted in this process, and what they cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli import render

if TYPE_CHECKING:
    from luthier.modeling.bases import BaseStore, LocalBase
    from luthier.toolkit.tokens import TokenCounts

_SHOWN = 20  # rows over the limit


@dataclass(frozen=True)
class _Reader:
    """Who counts.

    Args:
        tokenizer: its name.
        limit: tokens that the model takes of one text, as this tokenizer counts them.
    """

    tokenizer: str
    count: Callable[[Sequence[str]], Sequence[int]]
    limit: int | None


def show_table(
    file: Path,
    text: str,
    *,
    model: str,
    own: bool,
    limit: int | None,
    prices: Path | None,
    as_json: bool,
) -> None:
    """Print how many tokens a table has.

    Args:
        own: count as the weights read, where the API would count otherwise.
        limit: that counts instead of the model's.
        prices: TOML of prices; by default the home folder's, if there is one.

    Raises:
        DataError: the file or the template does not fit.
        NotFoundError: nobody knows the model.
        ConfigError: the price file makes no sense.
    """
    from luthier.config import load_settings
    from luthier.datasets.estimate import PRICES_FILE, read_prices
    from luthier.embedding.projection import CustomModels
    from luthier.modeling.bases import BaseStore
    from luthier.toolkit.template import open_texts
    from luthier.toolkit.tokens import count_tokens

    table, template = open_texts(file, text)
    settings = load_settings()
    path = prices or settings.home / PRICES_FILE
    listed = read_prices(path) if prices or path.is_file() else None
    custom = CustomModels(settings).find(model)
    reader = _reader(BaseStore(settings), custom.base if custom else model, own)
    counts = count_tokens(table, template, reader.count, limit or reader.limit)
    cost = listed.cost(model, counts.total) if listed and not own else None
    currency = listed.currency if listed else None
    if as_json:
        told: dict[str, Any] = {"file": str(file), "text": text, "model": model, "tokenizer": reader.tokenizer}
        render.show_json({**told, **counts.as_dict(), "cost": cost, "currency": currency})
        return
    if cost is not None:
        price = f"{cost:,.6f} {currency}"
    elif own:
        price = "prices go by what the API counts: leave out --own"
    else:
        price = f"{path} has no price for {model}" if listed else "no price list: name one with --prices"
    _tell(counts, model, reader.tokenizer, price)


def _reader(bases: "BaseStore", model: str, own: bool) -> _Reader:
    from luthier.catalogue.entry import Kind
    from luthier.catalogue.vocabulary import CL100K_BASE
    from luthier.domain.embedding import manners_of
    from luthier.embedding.cl100k import Cl100k

    kind = bases.registry.resolve(model).entry.kind or bases.ensure(model).kind
    if kind is not Kind.EMBEDDING:
        return _completion_reader(bases.ensure(model))
    manners = manners_of(model)
    if own:
        from luthier.modeling.encoder_card import EncoderCard
        from luthier.modeling.pieces import PieceReader

        base = bases.ensure(model)
        card = EncoderCard.read(base.path)
        reader, prompt = PieceReader(card), card.prompt(manners.side)
        return _Reader(base.key, lambda texts: reader.count(texts, prompt), card.max_tokens)
    vocabulary = Cl100k(bases.vocabulary())
    return _Reader(CL100K_BASE.key, lambda texts: [*map(vocabulary.count, texts)], manners.max_tokens)


def _completion_reader(base: "LocalBase") -> _Reader:
    from luthier.modeling.tokenizer import HFTokenizer

    tokenizer = HFTokenizer(base.path)
    before = len(tokenizer.start_ids)
    return _Reader(
        base.key, lambda texts: [before + len(tokenizer.encode(text)) for text in texts], base.entry.context_length
    )


def _tell(counts: "TokenCounts", model: str, tokenizer: str, cost: str) -> None:
    over = len(counts.over_limit)
    rows = [
        ("Model", f"{model}, counted in {tokenizer}"),
        ("Rows", f"{counts.rows:,}"),
        ("Tokens", f"{counts.total:,}"),
        (
            "A row",
            f"mean {counts.mean:,.1f}, median {counts.median:,.0f}, 95 % up to {counts.percentile_95:,.0f}, "
            f"longest {counts.longest:,}",
        ),
        ("Over limit", "no limit is known" if counts.limit is None else f"{over:,} of more than {counts.limit:,}"),
        ("Cost", cost),
    ]
    render.console().print(render.details(rows))
    if over:
        shown = [(f"{long.row:,}", f"{long.tokens:,}") for long in counts.over_limit[:_SHOWN]]
        render.console().print()
        render.console().print(render.table(("Row", "Tokens"), shown, right=("Row", "Tokens")))
        if over > _SHOWN:
            render.say(f"… and {over - _SHOWN:,} more; --json prints them all.")
