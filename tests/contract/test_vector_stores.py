"""Vector stores by today's client and by plain HTTP."""

import json
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from contract_helpers import Server

POST = "POST /v1/vector_stores"
GET = "GET /v1/vector_stores"
STORE = "/v1/vector_stores/{vector_store_id}"
FILES = f"{STORE}/files"
BATCHES = f"{STORE}/file_batches"
TEXTS = {
    "beans.txt": "Delicious beans in a can. " * 8,
    "taffy.md": "# Taffy\n\nGreat taffy at a great price. " + "Soft and chewy. " * 8,
    "dogs.html": "<html><head><title>Dogs</title><style>p{}</style></head>"
    "<body><p>Dog food &amp; treats</p></body></html>",
}


def upload(client: openai.OpenAI, name: str, text: str | bytes | None = None, purpose: Any = "assistants") -> str:
    content = TEXTS[name] if text is None else text
    raw = content.encode() if isinstance(content, str) else content
    return client.files.create(file=(name, raw), purpose=purpose).id


def until(look: Callable[[], Any]) -> Any:
    """What is looked at, once it is no longer in progress."""
    deadline = time.monotonic() + 60
    while (seen := look()).status == "in_progress":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return seen


def put(client: openai.OpenAI, store: str, file: str, **fields: Any) -> Any:
    client.vector_stores.files.create(store, file_id=file, **fields)
    return until(lambda: client.vector_stores.files.retrieve(file, vector_store_id=store))


@pytest.fixture(scope="module")
def filled(client: openai.OpenAI) -> tuple[str, dict[str, str]]:
    """A store with three files, and their ids by name."""
    files = {name: upload(client, name) for name in TEXTS}
    store = client.vector_stores.create(name="food")
    for at, (name, file) in enumerate(files.items()):
        done = put(
            client, store.id, file, attributes={"number": at, "kind": name.partition(".")[2], "odd": at % 2 == 1}
        )
        assert done.status == "completed", done.last_error
    return store.id, files


@pytest.mark.contract(POST, "", "honoured")
@pytest.mark.contract(POST, ("name", "description", "file_ids", "chunking_strategy", "metadata"), "honoured")
@pytest.mark.contract(POST, ("chunking_strategy.type", "chunking_strategy.static"), "honoured")
@pytest.mark.contract(
    POST,
    ("chunking_strategy.static.max_chunk_size_tokens", "chunking_strategy.static.chunk_overlap_tokens"),
    "honoured",
)
@pytest.mark.contract(POST, ("expires_after", "expires_after.anchor", "expires_after.days"), "honoured")
@pytest.mark.contract(f"GET {STORE}", "", "honoured")
@pytest.mark.contract(f"DELETE {STORE}", "", "honoured")
def test_a_store_from_beginning_to_end(client: openai.OpenAI) -> None:
    files = [upload(client, name) for name in ("beans.txt", "taffy.md")]
    made = client.vector_stores.create(
        name="shop",
        description="What we sell",
        file_ids=files,
        chunking_strategy={"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 20}},
        expires_after={"anchor": "last_active_at", "days": 7},
        metadata={"a": "b"},
    )
    assert made.id.startswith("vs_")
    assert (made.object, made.name, made.metadata) == ("vector_store", "shop", {"a": "b"})
    assert made.model_extra == {"description": "What we sell"}
    assert made.file_counts.total == 2
    done = until(lambda: client.vector_stores.retrieve(made.id))
    assert (done.status, done.file_counts.completed, done.file_counts.failed) == ("completed", 2, 0)
    assert done.usage_bytes > sum(len(TEXTS[name]) for name in ("beans.txt", "taffy.md"))
    assert done.expires_after is not None
    assert (done.expires_after.anchor, done.expires_after.days) == ("last_active_at", 7)
    assert done.expires_at == (done.last_active_at or 0) + 7 * 86400
    file = client.vector_stores.files.retrieve(files[0], vector_store_id=made.id)
    assert file.chunking_strategy is not None
    assert file.chunking_strategy.to_dict() == {
        "type": "static",
        "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 20},
    }
    gone = client.vector_stores.delete(made.id)
    assert (gone.id, gone.deleted, gone.object) == (made.id, True, "vector_store.deleted")
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.retrieve(made.id)
    assert client.files.retrieve(files[0]).id == files[0]


@pytest.mark.contract(f"POST {STORE}", "", "honoured")
@pytest.mark.contract(
    f"POST {STORE}", ("name", "metadata", "expires_after", "expires_after.anchor", "expires_after.days"), "honoured"
)
def test_a_store_is_changed(client: openai.OpenAI) -> None:
    store = client.vector_stores.create(
        name="a", metadata={"x": "y"}, expires_after={"anchor": "last_active_at", "days": 1}
    )
    same = client.vector_stores.update(store.id, name="b")
    assert (same.name, same.metadata, same.expires_at) == ("b", {"x": "y"}, store.expires_at)
    longer = client.vector_stores.update(store.id, expires_after={"anchor": "last_active_at", "days": 9})
    assert longer.expires_after is not None
    assert longer.expires_after.days == 9
    never = client.vector_stores.update(store.id, expires_after=None, metadata=None)
    assert (never.name, never.metadata, never.expires_after, never.expires_at) == ("b", {}, None, None)


@pytest.mark.contract(GET, ("", "after", "before", "limit", "order"), "honoured")
def test_stores_are_listed_in_pages(client: openai.OpenAI) -> None:
    made = [client.vector_stores.create(name=str(at)).id for at in range(5)]
    newest = client.vector_stores.list(limit=2)
    assert [store.id for store in newest.data] == made[:2:-1]
    assert newest.has_more
    assert [store.id for store in client.vector_stores.list(limit=3, after=made[3]).data] == made[2::-1]
    before = client.vector_stores.list(limit=2, before=made[1])
    assert [store.id for store in before.data] == [made[3], made[2]]
    assert before.has_more
    oldest = client.vector_stores.list(order="asc", after=made[2], limit=100)
    assert [store.id for store in oldest.data] == made[3:]
    assert [store.id for store in client.vector_stores.list(order="asc", before=made[2], limit=1).data] == [made[1]]


@pytest.mark.contract(f"POST {STORE}/search", ("", "query", "max_num_results"), "honoured")
@pytest.mark.contract(f"POST {STORE}/search", "ranking_options.score_threshold", "honoured")
@pytest.mark.contract(
    f"POST {STORE}/search",
    "ranking_options.ranker",
    "different",
    "`auto` and `none` are one: the order of the cosines. Others are refused.",
)
@pytest.mark.contract(f"POST {STORE}/search", "ranking_options", "honoured")
@pytest.mark.contract(
    f"POST {STORE}/search", "rewrite_query", "refused", "Questions are searched for as they are; false is taken."
)
def test_search(client: openai.OpenAI, filled: tuple[str, dict[str, str]]) -> None:
    store, files = filled
    page = client.vector_stores.search(store, query=TEXTS["beans.txt"].strip(), max_num_results=1, rewrite_query=False)
    assert page.object == "vector_store.search_results.page"
    assert page.model_extra is not None
    assert page.model_extra["search_query"] == [TEXTS["beans.txt"].strip()]
    found = page.data[0]
    assert (found.file_id, found.filename) == (files["beans.txt"], "beans.txt")
    assert found.content[0].text == TEXTS["beans.txt"]
    assert found.attributes == {"number": 0, "kind": "txt", "odd": False}
    assert 0.99 < found.score <= 1
    several = client.vector_stores.search(store, query=[TEXTS["beans.txt"], "Dogs\n\nDog food & treats"]).data
    scores = [one.score for one in several]
    assert scores == sorted(scores, reverse=True)
    assert {one.file_id for one in several if one.score > 0.99} >= {files["beans.txt"], files["dogs.html"]}
    high = client.vector_stores.search(
        store, query=TEXTS["beans.txt"], ranking_options={"ranker": "none", "score_threshold": 0.99}
    )
    assert [one.file_id for one in high.data] == [files["beans.txt"]]
    with pytest.raises(openai.BadRequestError, match="There is no ranker 'default-2024-11-15'"):
        client.vector_stores.search(store, query="x", ranking_options={"ranker": "default-2024-11-15"})
    with pytest.raises(openai.BadRequestError, match="searched for as they are") as refused:
        client.vector_stores.search(store, query="x", rewrite_query=True)
    assert refused.value.param == "rewrite_query"
    empty = client.vector_stores.create()
    assert client.vector_stores.search(empty.id, query="x").data == []


@pytest.mark.contract(
    f"POST {STORE}/search", ("filters", "filters.type", "filters.key", "filters.value", "filters.filters"), "honoured"
)
@pytest.mark.contract(
    f"POST {STORE}/search",
    ("filters.filters[].type", "filters.filters[].key", "filters.filters[].value"),
    "honoured",
)
@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ({"type": "eq", "key": "kind", "value": "md"}, {1}),
        ({"type": "ne", "key": "kind", "value": "md"}, {0, 2}),
        ({"type": "gt", "key": "number", "value": 1}, {2}),
        ({"type": "gte", "key": "number", "value": 1.0}, {1, 2}),
        ({"type": "lt", "key": "number", "value": 1}, {0}),
        ({"type": "lte", "key": "kind", "value": "md"}, {1, 2}),
        ({"type": "in", "key": "kind", "value": ["md", "txt"]}, {0, 1}),
        ({"type": "nin", "key": "number", "value": [0, 2]}, {1}),
        ({"type": "eq", "key": "odd", "value": True}, {1}),
        ({"type": "eq", "key": "odd", "value": 1}, set()),
        (
            {
                "type": "or",
                "filters": [
                    {"type": "eq", "key": "number", "value": 0},
                    {
                        "type": "and",
                        "filters": [
                            {"type": "eq", "key": "kind", "value": "html"},
                            {"type": "gt", "key": "number", "value": 1},
                        ],
                    },
                ],
            },
            {0, 2},
        ),
    ],
)
def test_search_with_filters(
    client: openai.OpenAI, filled: tuple[str, dict[str, str]], filters: Any, numbers: set[int]
) -> None:
    found = client.vector_stores.search(filled[0], query="food", filters=filters, max_num_results=50).data
    assert {(one.attributes or {})["number"] for one in found} == numbers


@pytest.mark.contract(f"POST {FILES}", ("", "file_id", "attributes", "chunking_strategy"), "honoured")
@pytest.mark.contract(f"POST {FILES}", ("chunking_strategy.type", "chunking_strategy.static"), "honoured")
@pytest.mark.contract(
    f"POST {FILES}",
    ("chunking_strategy.static.max_chunk_size_tokens", "chunking_strategy.static.chunk_overlap_tokens"),
    "honoured",
)
@pytest.mark.contract(f"GET {FILES}/{{file_id}}", "", "honoured")
@pytest.mark.contract(f"POST {FILES}/{{file_id}}", ("", "attributes"), "honoured")
@pytest.mark.contract(f"DELETE {FILES}/{{file_id}}", "", "honoured")
@pytest.mark.contract(f"GET {FILES}/{{file_id}}/content", "", "honoured")
def test_a_file_from_beginning_to_end(client: openai.OpenAI) -> None:
    store = client.vector_stores.create().id
    text = "".join(f"Sentence number {at:03d}. " for at in range(40))
    file = upload(client, "long.txt", text, "user_data")
    static: Any = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 100}}
    done = put(client, store, file, attributes={"a": 1.5}, chunking_strategy=static)
    assert (done.status, done.object, done.vector_store_id, done.attributes) == (
        "completed",
        "vector_store.file",
        store,
        {"a": 1.5},
    )
    found = client.vector_stores.search(store, query="Sentence", max_num_results=50).data
    wanted = [text[at : at + 200] for at in range(0, len(text) - 100, 100)]  # a token is a byte here
    assert sorted(one.content[0].text for one in found) == sorted(wanted)
    changed = client.vector_stores.files.update(file, vector_store_id=store, attributes={"b": "c"})
    assert changed.attributes == {"b": "c"}
    by_new = {"type": "eq", "key": "b", "value": "c"}
    assert len(client.vector_stores.search(store, query="x", filters=by_new, max_num_results=50).data) == len(wanted)  # type: ignore[arg-type]
    assert client.vector_stores.files.update(file, vector_store_id=store, attributes=None).attributes == {}
    content = client.vector_stores.files.content(file, vector_store_id=store)
    assert [(one.type, one.text) for one in content.data] == [("text", text)]
    again = put(client, store, file, chunking_strategy={"type": "auto"})
    assert again.chunking_strategy.static.max_chunk_size_tokens == 800
    found = client.vector_stores.search(store, query="Sentence", max_num_results=50).data
    assert sorted(one.content[0].text for one in found) == sorted([text[:800], text[400:]])
    gone = client.vector_stores.files.delete(file, vector_store_id=store)
    assert (gone.id, gone.deleted, gone.object) == (file, True, "vector_store.file.deleted")
    assert client.vector_stores.search(store, query="Sentence").data == []
    assert client.vector_stores.retrieve(store).file_counts.total == 0
    with pytest.raises(openai.NotFoundError, match="No such file in the vector store"):
        client.vector_stores.files.retrieve(file, vector_store_id=store)


def test_a_file_that_is_deleted_leaves_its_stores(client: openai.OpenAI) -> None:
    file = upload(client, "beans.txt")
    stores = [client.vector_stores.create(file_ids=[file]).id for _ in range(2)]
    for store in stores:
        until(lambda store=store: client.vector_stores.retrieve(store))
    client.files.delete(file)
    for store in stores:
        assert client.vector_stores.retrieve(store).file_counts.total == 0
        assert client.vector_stores.search(store, query="beans").data == []


@pytest.mark.contract(f"GET {FILES}", ("", "after", "before", "limit", "order", "filter"), "honoured")
def test_files_are_listed(client: openai.OpenAI, filled: tuple[str, dict[str, str]]) -> None:
    store, files = filled
    ids = list(files.values())
    assert [one.id for one in client.vector_stores.files.list(store)] == ids[::-1]
    page = client.vector_stores.files.list(store, order="asc", limit=1, after=ids[0])
    assert ([one.id for one in page.data], page.has_more) == ([ids[1]], True)
    assert [one.id for one in client.vector_stores.files.list(store, order="asc", before=ids[2])] == ids[:2]
    assert [one.id for one in client.vector_stores.files.list(store, filter="failed")] == []
    assert len(list(client.vector_stores.files.list(store, filter="completed"))) == 3


@pytest.mark.parametrize(
    ("name", "content", "code", "message"),
    [
        ("paper.pdf", b"%PDF-1.7", "unsupported_file", "PDF"),
        ("bytes.txt", b"\xff\x00\x81", "invalid_file", "no text in UTF-8"),
        ("empty.md", b" \n", "invalid_file", "has no text"),
    ],
)
def test_files_that_cannot_be_read_fail_with_a_reason(
    client: openai.OpenAI, name: str, content: bytes, code: str, message: str
) -> None:
    store = client.vector_stores.create().id
    failed = put(client, store, upload(client, name, content))
    assert failed.status == "failed"
    assert failed.last_error.code == code
    assert message in failed.last_error.message
    seen = client.vector_stores.retrieve(store)
    assert (seen.status, seen.file_counts.failed) == ("completed", 1)
    with pytest.raises(openai.BadRequestError, match="has no content"):
        client.vector_stores.files.content(failed.id, vector_store_id=store)


def in_chunks_of(tokens: int, overlap: int) -> Any:
    return {"type": "static", "static": {"max_chunk_size_tokens": tokens, "chunk_overlap_tokens": overlap}}


@pytest.mark.contract(f"POST {BATCHES}", ("", "file_ids", "attributes", "chunking_strategy", "files"), "honoured")
@pytest.mark.contract(f"POST {BATCHES}", ("chunking_strategy.type", "chunking_strategy.static"), "honoured")
@pytest.mark.contract(
    f"POST {BATCHES}",
    ("chunking_strategy.static.max_chunk_size_tokens", "chunking_strategy.static.chunk_overlap_tokens"),
    "honoured",
)
@pytest.mark.contract(
    f"POST {BATCHES}", ("files[].file_id", "files[].attributes", "files[].chunking_strategy"), "honoured"
)
@pytest.mark.contract(
    f"POST {BATCHES}",
    (
        "files[].chunking_strategy.type",
        "files[].chunking_strategy.static",
        "files[].chunking_strategy.static.max_chunk_size_tokens",
        "files[].chunking_strategy.static.chunk_overlap_tokens",
    ),
    "honoured",
)
@pytest.mark.contract(f"GET {BATCHES}/{{batch_id}}", "", "honoured")
@pytest.mark.contract(
    f"GET {BATCHES}/{{batch_id}}/files", ("", "after", "before", "limit", "order", "filter"), "honoured"
)
def test_batches_of_files(client: openai.OpenAI) -> None:
    store = client.vector_stores.create().id
    ids = [upload(client, name) for name in TEXTS]
    batch = client.vector_stores.file_batches.create(
        store, file_ids=ids[:2], attributes={"x": 1}, chunking_strategy=in_chunks_of(100, 20)
    )
    assert (batch.object, batch.vector_store_id, batch.file_counts.total) == ("vector_store.files_batch", store, 2)
    done = until(lambda: client.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store))
    assert (done.status, done.file_counts.completed) == ("completed", 2)
    each: Any = [{"file_id": ids[2], "attributes": {"x": 2}, "chunking_strategy": in_chunks_of(200, 50)}]
    other = client.vector_stores.file_batches.create(store, files=each)
    until(lambda: client.vector_stores.file_batches.retrieve(other.id, vector_store_id=store))
    chunked = [client.vector_stores.files.retrieve(id_, vector_store_id=store).chunking_strategy for id_ in ids[1:3]]
    assert [one.to_dict() for one in chunked if one] == [in_chunks_of(100, 20), in_chunks_of(200, 50)]
    listed = client.vector_stores.file_batches.list_files
    assert [one.id for one in listed(batch.id, vector_store_id=store, order="asc")] == ids[:2]
    assert [one.id for one in listed(batch.id, vector_store_id=store, limit=1, before=ids[0]).data] == [ids[1]]
    assert [one.id for one in listed(batch.id, vector_store_id=store, after=ids[1])] == [ids[0]]
    assert [one.id for one in listed(batch.id, vector_store_id=store, filter="failed")] == []
    assert [one.attributes for one in listed(other.id, vector_store_id=store)] == [{"x": 2}]
    with pytest.raises(openai.BadRequestError, match="No file of this batch is in progress"):
        client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store)
    with pytest.raises(openai.NotFoundError, match="No such batch of files"):
        client.vector_stores.file_batches.retrieve(batch.id, vector_store_id=client.vector_stores.create().id)


@pytest.mark.contract(f"POST {BATCHES}/{{batch_id}}/cancel", "", "honoured")
def test_a_batch_is_cancelled(client: openai.OpenAI) -> None:
    store = client.vector_stores.create().id
    long = "word " * 60_000  # a token is a byte: the worker is at it for a while
    ids = [upload(client, "long.txt", long) for _ in range(3)]
    batch = client.vector_stores.file_batches.create(store, file_ids=ids)
    cancelled = client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store)
    assert cancelled.status == "cancelled"
    assert cancelled.file_counts.cancelled >= 1
    assert cancelled.file_counts.in_progress == 0
    assert {one.status for one in client.vector_stores.files.list(store, filter="cancelled")} == {"cancelled"}
    assert client.vector_stores.search(store, query="word").data == []
    assert client.vector_stores.retrieve(store).status == "completed"


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("", {"file_ids": ["file-none"]}, "file_ids", "There is no file file-none"),
    ("", {"file_ids": ["{file}", "{file}"]}, "file_ids", "is named twice"),
    ("", {"file_ids": ["{tuned}"]}, "file_ids", "has the purpose 'batch'"),
    ("", {"chunking_strategy": {"type": "auto"}}, "chunking_strategy", "there are none"),
    ("", {"expires_after": {"anchor": "created_at", "days": 1}}, "expires_after.anchor", "must be 'last_active_at'"),
    ("", {"expires_after": {"anchor": "last_active_at", "days": 0}}, "expires_after.days", "at least 1"),
    ("", {"metadata": {"": "x"}}, "metadata", "keys have 1 to 64"),
    ("", {"nme": "x"}, "nme", "Did you mean 'name'?"),
    ("/{store}", {"file_ids": []}, "file_ids", "does not take it"),
    ("/{store}/search", {}, "query", "You must provide"),
    ("/{store}/search", {"query": " "}, "query", "none of them empty"),
    ("/{store}/search", {"query": []}, "query", "none of them empty"),
    ("/{store}/search", {"query": "x", "max_num_results": 51}, "max_num_results", "at most 50"),
    ("/{store}/search", {"query": "x", "filters": {"type": "like", "key": "a", "value": 1}}, "filters", "like"),
    (
        "/{store}/search",
        {"query": "x", "filters": {"type": "in", "key": "a", "value": 1}},
        "filters",
        "a list of values",
    ),
    ("/{store}/search", {"query": "x", "filters": {"type": "gt", "key": "a", "value": True}}, "filters", "no order"),
    (
        "/{store}/search",
        {"query": "x", "filters": {"type": "eq", "key": "a", "value": 10**400}},
        "filters",
        "a number that is too large",
    ),
    ("/{store}/files", {"file_id": "{file}", "attributes": {"a": 10**400}}, "attributes", "number of 'a' is too large"),
    ("/{store}/search", {"query": "x", "filters": {"type": "and", "filters": []}}, "filters", "at least one condition"),
    (
        "/{store}/search",
        {"query": "x", "ranking_options": {"score_threshold": 2}},
        "ranking_options.score_threshold",
        "at most 1",
    ),
    ("/{store}/files", {}, "file_id", "You must provide"),
    ("/{store}/search", {"query": "x" * 9000}, "query", "maximum context length"),
    ("/{store}/search", {"query": ["x"] * 2049}, "query", "at most 2048"),
    (
        "/{store}/files",
        {"file_id": "{file}", "attributes": {"a": [1]}},
        "attributes",
        "'attributes.a' must be a text, a finite number, or true or false, not [1]",
    ),
    ("/{store}/files", {"file_id": "{file}", "attributes": {"a": "x" * 513}}, "attributes", "at most 512"),
    (
        "/{store}/files",
        {"file_id": "{file}", "attributes": {str(at): at for at in range(17)}},
        "attributes",
        "16 are the most",
    ),
    (
        "/{store}/files",
        {
            "file_id": "{file}",
            "chunking_strategy": {
                "type": "static",
                "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 51},
            },
        },
        "chunking_strategy.static.chunk_overlap_tokens",
        "more than half",
    ),
    (
        "/{store}/files",
        {
            "file_id": "{file}",
            "chunking_strategy": {"type": "static", "static": {"max_chunk_size_tokens": 99, "chunk_overlap_tokens": 0}},
        },
        "chunking_strategy",
        "at least 100",
    ),
    ("/{store}/files/{file}", {}, "attributes", "You must provide"),
    ("/{store}/file_batches", {}, "file_ids", "either by 'file_ids' or by 'files'"),
    ("/{store}/file_batches", {"file_ids": []}, "file_ids", "1 to 2,000"),
    (
        "/{store}/file_batches",
        {"files": [{"file_id": "{file}"}], "attributes": {"a": 1}},
        "attributes",
        "for 'file_ids'",
    ),
]


@pytest.mark.parametrize(("path", "body", "param", "message"), REFUSED)
def test_what_is_refused(
    server: Server,
    client: openai.OpenAI,
    filled: tuple[str, dict[str, str]],
    path: str,
    body: dict[str, Any],
    param: str,
    message: str,
) -> None:
    store, files = filled
    named = {"store": store, "file": files["beans.txt"]}
    text = json.dumps(body)
    if "{tuned}" in text:
        named["tuned"] = upload(client, "a.jsonl", "{}\n", "batch")
    for name, value in named.items():
        text, path = text.replace("{" + name + "}", value), path.replace("{" + name + "}", value)
    answer = server.call("POST", f"vector_stores{path}", content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert message in error["message"]
    assert error["param"].startswith(param)


@pytest.mark.parametrize("path", ["", "/files", "/files/file-1", "/files/file-1/content", "/file_batches/vsfb_1"])
def test_a_store_that_is_not_there(server: Server, path: str) -> None:
    answer = server.call("GET", f"vector_stores/vs_none{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "vector_store_id_not_found")


@pytest.mark.contract("POST /openai/vector_stores", "", "honoured")
@pytest.mark.contract("POST /openai/vector_stores", "*", "honoured", how="As `POST /v1/vector_stores`.")
@pytest.mark.contract("POST /openai/vector_stores/{vector_store_id}", "", "honoured")
@pytest.mark.contract(
    "POST /openai/vector_stores/{vector_store_id}",
    "*",
    "honoured",
    how="As `POST /v1/vector_stores/{vector_store_id}`.",
)
@pytest.mark.contract("POST /openai/vector_stores/{vector_store_id}/search", "", "honoured")
@pytest.mark.contract(
    "POST /openai/vector_stores/{vector_store_id}/search",
    "*",
    "honoured",
    how="As `POST /v1/vector_stores/{vector_store_id}/search`.",
)
@pytest.mark.contract("POST /openai/vector_stores/{vector_store_id}/files", "", "honoured")
@pytest.mark.contract(
    "POST /openai/vector_stores/{vector_store_id}/files",
    "*",
    "honoured",
    how="As `POST /v1/vector_stores/{vector_store_id}/files`.",
)
@pytest.mark.contract("POST /openai/vector_stores/{vector_store_id}/files/{file_id}", "", "honoured")
@pytest.mark.contract(
    "POST /openai/vector_stores/{vector_store_id}/files/{file_id}",
    "*",
    "honoured",
    how="As `POST /v1/vector_stores/{vector_store_id}/files/{file_id}`.",
)
@pytest.mark.contract("POST /openai/vector_stores/{vector_store_id}/file_batches", "", "honoured")
@pytest.mark.contract(
    "POST /openai/vector_stores/{vector_store_id}/file_batches",
    "*",
    "honoured",
    how="As `POST /v1/vector_stores/{vector_store_id}/file_batches`.",
)
@pytest.mark.contract("GET /openai/vector_stores/{vector_store_id}", "", "honoured")
@pytest.mark.contract("DELETE /openai/vector_stores/{vector_store_id}", "", "honoured")
@pytest.mark.contract("GET /openai/vector_stores/{vector_store_id}/files/{file_id}", "", "honoured")
@pytest.mark.contract("DELETE /openai/vector_stores/{vector_store_id}/files/{file_id}", "", "honoured")
@pytest.mark.contract("GET /openai/vector_stores/{vector_store_id}/files/{file_id}/content", "", "honoured")
@pytest.mark.contract("GET /openai/vector_stores/{vector_store_id}/file_batches/{batch_id}", "", "honoured")
@pytest.mark.contract("POST /openai/vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel", "", "honoured")
@pytest.mark.contract("GET /openai/vector_stores", ("", "after", "before", "limit", "order"), "honoured")
@pytest.mark.contract(
    "GET /openai/vector_stores/{vector_store_id}/files", ("", "after", "before", "limit", "order", "filter"), "honoured"
)
@pytest.mark.contract(
    "GET /openai/vector_stores/{vector_store_id}/file_batches/{batch_id}/files",
    ("", "after", "before", "limit", "order", "filter"),
    "honoured",
)
def test_by_azures_client(server: Server, client: openai.OpenAI) -> None:
    root = server.url.removesuffix("/v1")
    ids = [upload(client, name) for name in TEXTS]
    with openai.AzureOpenAI(azure_endpoint=root, api_key="x", api_version="2025-04-01-preview", max_retries=0) as azure:
        stores = azure.vector_stores
        store = stores.create(name="food").id
        assert stores.update(store, name="more food").name == "more food"
        assert put(azure, store, ids[0], attributes={"a": 1}).status == "completed"
        batch = stores.file_batches.create(store, file_ids=ids[1:])
        until(lambda: stores.file_batches.retrieve(batch.id, vector_store_id=store))
        batched = stores.file_batches.list_files
        assert [one.id for one in batched(batch.id, vector_store_id=store, order="asc", limit=1).data] == ids[1:2]
        assert [one.id for one in batched(batch.id, vector_store_id=store, order="asc", after=ids[1])] == ids[2:]
        assert [one.id for one in batched(batch.id, vector_store_id=store, order="asc", before=ids[2])] == ids[1:2]
        assert list(batched(batch.id, vector_store_id=store, filter="failed")) == []
        with pytest.raises(openai.BadRequestError, match="No file of this batch is in progress"):
            stores.file_batches.cancel(batch.id, vector_store_id=store)
        listed = stores.files.list
        assert [one.id for one in listed(store, order="asc", limit=1).data] == ids[:1]
        assert [one.id for one in listed(store, order="asc", after=ids[0])] == ids[1:]
        assert [one.id for one in listed(store, order="asc", before=ids[1], filter="completed")] == ids[:1]
        assert stores.files.update(ids[0], vector_store_id=store, attributes={"a": 2}).attributes == {"a": 2}
        assert stores.files.content(ids[0], vector_store_id=store).data[0].text == TEXTS["beans.txt"]
        found = stores.search(store, query=TEXTS["beans.txt"], filters={"type": "eq", "key": "a", "value": 2})
        assert [one.filename for one in found] == ["beans.txt"]
        assert stores.files.delete(ids[0], vector_store_id=store).deleted
        other = stores.create().id
        assert [one.id for one in stores.list(limit=1).data] == [other]
        assert [one.id for one in stores.list(limit=1, after=other).data] == [store]
        assert [one.id for one in stores.list(limit=1, before=store, order="desc").data] == [other]
        assert stores.retrieve(store).file_counts.total == 2
    with openai.OpenAI(base_url=f"{root}/openai/v1", api_key="x", max_retries=0) as azure_v1:
        assert (
            azure_v1.vector_stores.search(store, query=TEXTS["taffy.md"], max_num_results=1).data[0].file_id == ids[1]
        )
        assert azure_v1.vector_stores.delete(store).deleted


def test_an_expired_store(server: Server, client: openai.OpenAI) -> None:
    from luthier.storage.db import Database
    from luthier.storage.vector_stores import VectorStoreStore

    file = upload(client, "beans.txt")
    store = client.vector_stores.create(file_ids=[file], expires_after={"anchor": "last_active_at", "days": 1})
    until(lambda: client.vector_stores.retrieve(store.id))
    database = Database.open(server.settings)
    VectorStoreStore(database).update(store.id, last_active_at=int(time.time()) - 86_401)
    database.close()
    assert client.vector_stores.retrieve(store.id).status == "expired"
    for act in (
        lambda: client.vector_stores.search(store.id, query="x"),
        lambda: client.vector_stores.files.create(store.id, file_id=file),
        lambda: client.vector_stores.update(store.id, name="x"),
    ):
        with pytest.raises(openai.BadRequestError, match="has expired after 1 days without use"):
            act()
    client.vector_stores.create(file_ids=[file])  # wakes the worker, which empties the other
    deadline = time.monotonic() + 30
    while (server.home / "vector_stores" / store.id).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert client.vector_stores.retrieve(store.id).usage_bytes == 0
    assert client.vector_stores.delete(store.id).deleted
