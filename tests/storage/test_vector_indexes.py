"""Each kind of index keeps the one interface's promises."""

import math
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from postgresql_server import PostgresServer
from sqlalchemy import create_engine

from luthier.domain.filters import Comparison, Filter, Op, Scalar, matches, parse_where
from luthier.errors import ConfigError, ConflictError, InvalidRequestError, NotFoundError, UnavailableError
from luthier.storage.indexes import Indexes, IndexSpec, Record, VectorIndex, check_new, embedded, open_indexes
from luthier.storage.indexes.postgresql import PostgresIndex
from luthier.storage.indexes.qdrant import QdrantIndexes
from luthier.types import Floats

SPEC = IndexSpec("reviews", 8, "text-embedding-3-small")


@pytest.fixture(params=["embedded", "postgresql", "qdrant"])
def indexes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Indexes]:
    made: Indexes
    if request.param == "embedded":
        made = open_indexes(tmp_path / "indexes")
    elif request.param == "postgresql":
        made = open_indexes(request.getfixturevalue("pgvector").database())
    else:
        client = pytest.importorskip("qdrant_client").QdrantClient(":memory:")
        made = QdrantIndexes(client)
    yield made
    made.close()


def some(n: int, seed: int = 0, width: int = 8) -> tuple[list[Record], Floats]:
    rng = np.random.default_rng(seed)
    records = [
        Record(
            f"r{at}",
            f"text {at} — “é”",
            {
                "Score": at % 5 + 1,
                "lang": "ko" if at % 3 else "en",
                "sold": at % 2 == 0,
                "price": at / 4,
                "odd name": at,
                "back\\slash": at,
                "two\nlines": at,
            }
            | ({"rare": "yes"} if at % 7 == 0 else {}),
        )
        for at in range(n)
    ]
    return records, rng.normal(size=(n, width)).astype(np.float32)


def cosines(vectors: Floats, asked: Floats) -> Floats:
    return vectors @ asked / np.linalg.norm(vectors, axis=1) / np.linalg.norm(asked)


def test_finds_the_nearest_with_what_was_kept(indexes: Indexes) -> None:
    index = indexes.create(SPEC)
    records, vectors = some(60)
    index.add(records, vectors)
    asked = np.random.default_rng(1).normal(size=8).astype(np.float32)
    exact = cosines(vectors, asked)
    hits = index.search(asked, 5)
    assert [hit.record for hit in hits] == [records[at] for at in np.argsort(-exact)[:5]]
    assert [hit.score for hit in hits] == pytest.approx(sorted(exact, reverse=True)[:5], abs=1e-5)
    assert len(index) == 60
    assert len(index.search(asked, 100)) == 60
    index.close()


def test_putting_in_again_replaces(indexes: Indexes) -> None:
    index = indexes.create(SPEC)
    records, vectors = some(20)
    index.add(records, vectors)
    moved = Record("r3", "another text", {"Score": 9})
    index.add([moved], -vectors[3:4])
    assert len(index) == 20
    assert index.search(-vectors[3], 1)[0].record == moved
    assert index.get(["r5", "gone", "r3"]) == [records[5], moved]


def test_deleting(indexes: Indexes) -> None:
    index = indexes.create(SPEC)
    records, vectors = some(20)
    index.add(records, vectors)
    assert index.delete(["r0", "r1", "never"]) == 2
    assert len(index) == 18
    assert {"r0", "r1"}.isdisjoint(hit.record.id for hit in index.search(vectors[0], 20))
    assert index.delete([]) == 0


CONDITIONS = [
    "Score >= 4",
    "Score == 2 or Score == 3",
    "Score > 1 and (lang == 'en' or sold == true)",
    "lang in ('en', 'fr')",
    "lang not in ('en', 'fr')",
    "rare != 'yes'",
    "rare == 'yes' and price < 3.5",
    "Score in (1, 2.0)",
    "lang in ('en', 3) or Score not in (1, 'x', true)",
    "sold == 1",
    "lang == 3",
    "`odd name` <= 4",
    "missing > 3",
    "missing != 'x'",
    "`back\\slash` == 3 or `two\nlines` > 30",
    "Score < 99999999999999999999",
    "Score in (1, 99999999999999999999)",
    " or ".join(f"Score == {at}" for at in range(2, 1500)),
    " and ".join(f"Score != {at}" for at in range(3, 1500)),
]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions_mean_the_same_everywhere(indexes: Indexes, condition: str) -> None:
    index = indexes.create(SPEC)
    records, vectors = some(40)
    index.add(records, vectors)
    where = parse_where(condition)
    hits = index.search(vectors[0], 40, where)
    assert {hit.record.id for hit in hits} == {one.id for one in records if matches(where, one.attributes)}


@pytest.mark.parametrize(
    ("op", "value"),
    [
        (Op.IN, ()),
        (Op.NIN, ()),
        (Op.EQ, 2**53 + 1),
        (Op.NE, 2**53 + 1),
        (Op.IN, (-(2**53) - 1, 3, "a")),
        (Op.EQ, "a"),
        (Op.EQ, "a\0b"),
        (Op.NIN, ("", "a\0b")),
        (Op.IN, (math.nan, True)),
    ],
)
def test_odd_values_mean_the_same_everywhere(indexes: Indexes, op: Op, value: Scalar | tuple[Scalar, ...]) -> None:
    index = indexes.create(SPEC)
    values: list[Scalar] = [2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 3.0, "a", "a\0b", "\0", True]
    records = [Record(f"r{at}", "", {"odd": one}) for at, one in enumerate(values)]
    vectors = some(len(values))[1]
    index.add(records, vectors)
    where = Comparison("odd", op, value)
    hits = index.search(vectors[0], 40, where)
    assert {hit.record.id for hit in hits} == {one.id for one in records if matches(where, one.attributes)}


@pytest.mark.parametrize("condition", ["lang < 'f'", "lang >= 'en' and Score == 1"])
def test_texts_have_an_order_except_in_qdrant(indexes: Indexes, condition: str) -> None:
    index = indexes.create(SPEC)
    records, vectors = some(40)
    index.add(records, vectors)
    where = parse_where(condition)
    if isinstance(indexes, QdrantIndexes):
        with pytest.raises(InvalidRequestError, match="Qdrant orders numbers and no texts: 'lang'"):
            index.search(vectors[0], 5, where)
    else:
        found = {hit.record.id for hit in index.search(vectors[0], 40, where)}
        assert found == {one.id for one in records if matches(where, one.attributes)} != set()


def test_names_and_models_are_kept(indexes: Indexes) -> None:
    indexes.create(SPEC).close()
    indexes.create(IndexSpec("another", 3)).close()
    assert indexes.specs() == [IndexSpec("another", 3), SPEC]
    assert indexes.open("reviews").spec == SPEC
    with pytest.raises(ConflictError, match="There is an index 'reviews' already"):
        indexes.create(SPEC)
    with pytest.raises(ConflictError, match="There is an index 'reviews' already"):
        check_new(indexes, "reviews")
    check_new(indexes, "review")
    indexes.drop("reviews")
    assert indexes.specs() == [IndexSpec("another", 3)]
    for lookup in (indexes.open, indexes.drop):
        with pytest.raises(NotFoundError, match=r"There is no index 'reviews'\. There are: another"):
            lookup("reviews")
    indexes.create(SPEC)


BAD: list[tuple[Callable[[VectorIndex], object], str]] = [
    (lambda index: index.add(*some(3, width=7)), "takes vectors of 8 numbers.*made by 'text-embedding-3-small'"),
    (lambda index: index.add(some(3)[0], some(2)[1]), "one for each of 3 records"),
    (lambda index: index.add([Record("a", ""), Record("a", "")], some(2)[1]), "The id 'a' comes twice"),
    (lambda index: index.add([Record("", "")], some(1)[1]), "no id"),
    (lambda index: index.add([Record("a", "", {'say "x"': 1})], some(1)[1]), "cannot be called"),
    (lambda index: index.add(some(1)[0], np.zeros((1, 8), np.float32)), "all zeros"),
    (lambda index: index.add(some(1)[0], np.full((1, 8), np.nan, np.float32)), "not finite"),
    (lambda index: index.search(np.ones(7, np.float32), 3), "has 7 numbers; those of the index 'reviews' have 8"),
    (lambda index: index.search(np.zeros(8, np.float32), 3), "no direction"),
]


@pytest.mark.parametrize(("act", "message"), BAD)
def test_what_does_not_fit_is_refused(indexes: Indexes, act: Callable[[VectorIndex], object], message: str) -> None:
    index = indexes.create(SPEC)
    with pytest.raises(InvalidRequestError, match=message):
        act(index)
    assert len(index) == 0


@pytest.mark.parametrize("name", ["", "a b", "../a", "-a", "é", "a" * 64])
def test_names_that_cannot_be(indexes: Indexes, name: str) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be the name of an index"):
        indexes.create(IndexSpec(name, 3))


def test_places() -> None:
    with pytest.raises(ConfigError, match="cannot be kept at 'mysql://x/y'"):
        open_indexes("mysql://x/y")
    with pytest.raises(ConfigError, match="Qdrant does not answer"):
        open_indexes("http://127.0.0.1:9")


def test_the_embedded_one_is_there_when_opened_again(tmp_path: Path) -> None:
    records, vectors = some(30)
    first = open_indexes(tmp_path).create(SPEC)
    first.add(records[:20], vectors[:20])
    other = open_indexes(tmp_path).open("reviews")
    first.add(records[20:], vectors[20:])  # seen by who had it open
    assert [hit.record.id for hit in other.search(vectors[25], 1)] == ["r25"]
    for index in (first, other):
        index.close()


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quantised index from 200 vectors on."""
    pytest.importorskip("faiss")
    monkeypatch.setattr(embedded, "EXACT_BELOW", 200)
    monkeypatch.setattr(embedded, "_FEW", 100)


@pytest.mark.usefixtures("small_limits")
def test_the_quantised_index_follows_every_change(tmp_path: Path) -> None:
    index = open_indexes(tmp_path).create(SPEC)
    records, vectors = some(3000)
    asked = some(20, seed=5)[1]
    truth = {record.id: vector for record, vector in zip(records, vectors, strict=True)}

    def recall(where: Filter | None = None) -> float:
        allowed = {one.id: one for one in index.get(list(truth))}
        ids = [one for one in truth if matches(where, allowed[one].attributes)]
        matrix = np.stack([truth[one] for one in ids])
        found = 0
        for question in asked:
            nearest = {ids[at] for at in np.argsort(-cosines(matrix, question))[:10]}
            found += len(nearest & {hit.record.id for hit in index.search(question, 10, where)})
        return found / (10 * len(asked))

    for start in (0, 1000, 1050, 2900):
        end = {0: 1000, 1000: 1050, 1050: 2900, 2900: 3000}[start]
        index.add(records[start:end], vectors[start:end])
    assert list(tmp_path.glob("reviews/lists-*.faiss")) != []
    assert recall() > 0.97
    assert recall(parse_where("Score >= 2")) > 0.97  # through the quantised index
    assert recall(parse_where("Score == 1 and rare == 'yes'")) > 0.97
    gone = [f"r{at}" for at in range(0, 3000, 2)]
    assert index.delete(gone) == 1500
    for one in gone:
        del truth[one]
    assert recall() > 0.97
    assert index.delete([f"r{at}" for at in range(1, 3000, 4)]) == 750  # now most slots are free: they are given back
    for at in range(1, 3000, 4):
        del truth[f"r{at}"]
    assert recall() > 0.97
    assert next(tmp_path.glob("reviews/vectors-*.f32")).stat().st_size == 750 * 8 * 4
    again = open_indexes(tmp_path).open("reviews")
    assert [hit.record for hit in again.search(asked[0], 10)] == [hit.record for hit in index.search(asked[0], 10)]


@pytest.mark.usefixtures("small_limits")
def test_a_condition_that_holds_far_away_and_a_large_k_are_answered_in_full(tmp_path: Path) -> None:
    index = open_indexes(tmp_path).create(SPEC)
    n, towards = 3000, np.eye(SPEC.dimensions, dtype=np.float32)
    sides = np.where(np.arange(n) % 2, "near", "far")
    vectors = 0.3 * np.random.default_rng(0).normal(size=(n, SPEC.dimensions)).astype(np.float32)
    vectors += np.where((sides == "near")[:, None], towards[0], towards[1])
    index.add([Record(f"r{at}", "", {"side": str(side)}) for at, side in enumerate(sides)], vectors)
    far = index.search(towards[0], 10, parse_where("side == 'far'"))
    exact = np.argsort(-cosines(vectors[sides == "far"], towards[0]))[:10]
    assert {hit.record.id for hit in far} == {f"r{2 * at}" for at in exact}
    assert len(index.search(towards[0], 2500)) == 2500


@pytest.mark.usefixtures("small_limits")
def test_without_faiss_what_needs_it_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = open_indexes(tmp_path).create(SPEC)
    records, vectors = some(300)
    index.add(records[:150], vectors[:150])
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match="faiss-cpu"):
        index.add(records[150:], vectors[150:])
    assert len(index) == 150
    assert [hit.record.id for hit in index.search(vectors[3], 1)] == ["r3"]


def test_bytes_that_no_transaction_names_do_not_count(tmp_path: Path) -> None:
    index = open_indexes(tmp_path).create(SPEC)
    records, vectors = some(20)
    index.add(records[:10], vectors[:10])
    with next(tmp_path.glob("reviews/vectors-*.f32")).open("ab") as file:
        file.write(os.urandom(500))  # a process that died while it added
    index.add(records[10:], vectors[10:])
    for at in range(20):
        assert index.search(vectors[at], 1)[0].record == records[at]


def test_numbers_beyond_all_bounds_are_refused() -> None:
    for number in ("1e999", "1" + "0" * 400):
        with pytest.raises(InvalidRequestError, match="'Score' is compared with a number that is too large"):
            parse_where(f"Score < {number}")
    assert not matches(parse_where("Score < 3"), {"Score": 10**400})


def test_what_a_killed_drop_left_does_not_come_back(tmp_path: Path) -> None:
    indexes = open_indexes(tmp_path)
    records, vectors = some(20)
    with closing(indexes.create(IndexSpec("reviews", 8))) as index:
        index.add(records, vectors)
    (tmp_path / "reviews" / "index.json").unlink()
    with closing(indexes.create(IndexSpec("reviews", 3))) as index:
        assert len(index) == 0
        index.add(*some(2, width=3))
        assert len(index.search(np.ones(3, np.float32), 10)) == 2


def test_no_name_leads_out_of_the_place(tmp_path: Path) -> None:
    open_indexes(tmp_path / "mine").create(SPEC).close()
    other = open_indexes(tmp_path / "other")
    other.create(SPEC).close()
    for act in (other.open, other.drop):
        with pytest.raises(NotFoundError, match=r"There is no index '\.\./mine/reviews'"):
            act("../mine/reviews")


def test_one_who_reads_does_not_wait_for_one_who_writes(tmp_path: Path) -> None:
    indexes = open_indexes(tmp_path)
    records, vectors = some(20)
    with closing(indexes.create(SPEC)) as index:
        index.add(records, vectors)
        writer = sqlite3.connect(tmp_path / "reviews" / "rows.db", isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        with FileLock(tmp_path / "reviews" / "writing.lock"), closing(indexes.open("reviews")) as other:
            found = [hit.record.id for hit in other.search(vectors[3], 1)]
        writer.close()
    assert found == ["r3"]


def test_a_reader_outlives_another_process_that_tidies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_FEW", 10)
    indexes = open_indexes(tmp_path)
    records, vectors = some(40)
    writer = indexes.create(SPEC)
    writer.add(records, vectors)
    reader = indexes.open("reviews")
    writer.add(records[:1], vectors[:1])
    load, at_once = np.memmap, [lambda: writer.delete([f"r{at}" for at in range(35)])]

    def late(path: Path, *arguments: object, **options: object) -> object:
        if at_once:
            at_once.pop()()  # between the reader's look at the state and at the files
        return load(path, *arguments, **options)

    monkeypatch.setattr(np, "memmap", late)
    assert {hit.record.id for hit in reader.search(vectors[0], 40)} == {f"r{at}" for at in range(35, 40)}
    assert len(list(tmp_path.glob("reviews/vectors-*"))) == 1
    for index in (reader, writer):
        index.close()


def test_two_writers_see_each_other_tidy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_FEW", 10)
    indexes = open_indexes(tmp_path)
    records, vectors = some(60)
    with closing(indexes.create(SPEC)) as first, closing(indexes.open("reviews")) as second:
        first.add(records[:40], vectors[:40])
        first.delete([f"r{at}" for at in range(35)])  # its files are written anew
        second.add(records[40:], vectors[40:])
        for index in (first, second):
            for at in range(35, 60):
                assert index.search(vectors[at], 1)[0].record == records[at]


def test_an_index_answers_in_full_after_many_changes(indexes: Indexes) -> None:
    index = indexes.create(SPEC)
    records, vectors = some(400)
    for _ in range(12):
        index.add(records, vectors)
    nearest = np.argsort(-cosines(vectors, vectors[0]))
    assert [hit.record.id for hit in index.search(vectors[0], 10)] == [f"r{at}" for at in nearest[:10]]
    index.delete([f"r{at}" for at in nearest[:150]])
    assert [hit.record.id for hit in index.search(vectors[0], 10)] == [f"r{at}" for at in nearest[150:160]]


def test_writers_with_the_same_ids_do_not_wait_for_each_other_for_ever(pgvector: PostgresServer) -> None:
    indexes = open_indexes(pgvector.database())
    indexes.create(SPEC)
    records, vectors = some(400)

    def write(backwards: bool) -> None:
        index = indexes.open(SPEC.name)
        order = np.arange(400)[::-1] if backwards else np.arange(400)
        for _ in range(5):
            index.add([records[at] for at in order], vectors[order])
            index.delete([records[at].id for at in order[:200]])

    with ThreadPoolExecutor(4) as writers:
        list(writers.map(write, [False, True, False, True]))  # PostgreSQL ends one of two that wait for each other
    indexes.close()


def test_a_database_that_is_away_is_told_in_words(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    away = create_engine(f"postgresql+psycopg://luthier@/none?host={tmp_path}")
    index = PostgresIndex(away, "luthier_index_1", SPEC)
    records, vectors = some(2)
    for act in (
        lambda: index.add(records, vectors),
        lambda: index.search(vectors[0], 1),
        lambda: index.delete(["r0"]),
        lambda: index.get(["r0"]),
        lambda: len(index),
    ):
        with pytest.raises(UnavailableError, match="PostgreSQL cannot do that now: connection"):
            act()
