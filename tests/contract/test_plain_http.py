"""Plain HTTP past every client's manners: odd methods, headers, bodies and paths."""

import gzip
import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from contract_helpers import Server, jsonl, rows

ASKED = {"model": "ada", "prompt": "a", "max_tokens": 1}
COLLECTIONS = ["files", "models", "fine-tunes", "fine_tuning/jobs"]


def refused(response: httpx.Response, status: int, words: str, param: str | None = None) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert words in error["message"]


@pytest.fixture(scope="module")
def file_id(server: Server) -> str:
    sent = {"data": {"purpose": "fine-tune"}, "files": {"file": ("train.jsonl", jsonl(rows(8)))}}
    return str(server.call("POST", "files", **sent).json()["id"])


@pytest.mark.parametrize("path", COLLECTIONS)
def test_head_is_a_get_without_its_body(server: Server, path: str) -> None:
    got, head = server.call("GET", path), server.call("HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert server.call("HEAD", f"{path}/nobody").status_code == 404


def test_head_of_an_endless_stream_ends(server: Server, file_id: str) -> None:
    job_id = server.call("POST", "fine-tunes", json={"training_file": file_id, "model": "ada", "n_epochs": 50}).json()[
        "id"
    ]
    try:
        for _ in range(2):  # the second on the same connection
            head = server.call("HEAD", f"fine-tunes/{job_id}/events?stream=true", timeout=30)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-type"].startswith("text/event-stream")
    finally:
        server.call("POST", f"fine-tunes/{job_id}/cancel")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("//openai/files?api-version=2022-12-01", 200),
        ("/openai/v1//models/ada", 200),
        ("//v1//models", 200),
        ("//health", 200),
        ("//fine-tunes/ft-none/events", 404),
    ],
)
def test_a_base_url_may_end_with_a_slash(server: Server, path: str, status: int) -> None:
    answer = server.http.get(f"{server.url.removesuffix('/v1')}{path}")
    assert answer.status_code == status, answer.text
    assert "Invalid URL" not in answer.text


def test_slashes_within_an_id_stay(server: Server) -> None:
    refused(server.call("GET", "files/http:%2F%2Fx%2F%2Fy"), 404, "No such File object: http://x//y", "id")


@pytest.mark.parametrize(
    ("path", "methods"),
    [("files", "GET, POST"), ("files/file-none", "GET, DELETE"), ("completions", "POST"), ("models", "GET")],
)
def test_options_names_the_methods(server: Server, path: str, methods: str) -> None:
    answer = server.call("OPTIONS", path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["allow"] == f"{methods}, OPTIONS"
    refused(server.call("TRACE", path), 405, f"Not allowed to TRACE on /v1/{path}")


def test_a_trailing_slash_is_another_path(server: Server) -> None:
    refused(server.call("POST", "completions/", json=ASKED), 404, "Invalid URL (POST /v1/completions/)")
    refused(server.call("GET", "fine-tunes/"), 404, "Invalid URL (GET /v1/fine-tunes/)")
    refused(server.call("GET", "files/"), 404, "No such File object", "id")


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/xml", "nonsense"])
def test_json_is_read_whatever_its_content_type(server: Server, kind: str) -> None:
    answer = server.call("POST", "completions", content=json.dumps(ASKED).encode(), headers={"content-type": kind})
    assert answer.status_code == 200, answer.text


def test_forms_and_queries_are_no_bodies(server: Server) -> None:
    refused(server.call("POST", "completions", data=ASKED), 400, "not JSON")
    refused(server.call("POST", "completions", files={"model": (None, "ada")}), 400, "not JSON")
    refused(server.call("POST", "completions", params=ASKED, json=ASKED), 400, "model", "model")
    refused(server.call("POST", "files", json={"purpose": "fine-tune"}), 400, "multipart/form-data")


@pytest.mark.parametrize("accepted", ["text/html", "application/json;q=0", "*/*", ""])
def test_answers_are_json_whatever_is_accepted(server: Server, accepted: str) -> None:
    answer = server.call("GET", "models", headers={"accept": accepted, "accept-encoding": "gzip, br"})
    assert answer.headers["content-type"] == "application/json"
    assert "content-encoding" not in answer.headers


def in_pieces(content: bytes, size: int = 7) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def test_chunked_bodies(server: Server) -> None:
    answer = server.call("POST", "completions", content=in_pieces(json.dumps(ASKED).encode()))
    assert answer.status_code == 200, answer.text
    refused(
        server.call("POST", "completions", content=in_pieces(b" " * 300_001, 4096)), 413, "larger than 300000 bytes"
    )
    form = (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + jsonl(rows(1)) + b"\r\n--b--\r\n"
    )
    kind = {"content-type": "multipart/form-data; boundary=b"}
    sent = server.call("POST", "files", content=in_pieces(form), headers=kind)
    assert sent.json()["bytes"] == len(jsonl(rows(1)))


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "gzip, gzip"])
def test_compressed_bodies_are_refused(server: Server, encoding: str) -> None:
    headers = {"content-encoding": encoding}
    words = f"encoded as '{encoding.lower()}'"
    content = gzip.compress(json.dumps(ASKED).encode())
    refused(server.call("POST", "completions", content=content, headers=headers), 400, words)
    form = {"data": {"purpose": "fine-tune"}, "files": {"file": ("a.jsonl", b"{}")}}
    refused(server.call("POST", "files", headers=headers, **form), 400, words)
    plain = server.call("POST", "completions", json=ASKED, headers={"content-encoding": "identity"})
    assert plain.status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "fine-tunes/ft-none/cancel"), ("GET", "models"), ("DELETE", "files/file-none"), ("GET", "files")],
)
def test_a_body_that_nobody_reads_is_refused(server: Server, method: str, path: str) -> None:
    refused(server.call(method, path, json={"reason": "x"}), 400, "reason", "reason")
    refused(server.call(method, path, content=b"why not"), 400, "not JSON")
    refused(server.call(method, path, content=b" " * 300_001), 413, "larger than 300000 bytes")
    for nothing in (b"", b"{}", b"null", b" \n"):
        assert server.call(method, path, content=nothing).status_code in (200, 404)


def test_what_stands_twice_is_refused(server: Server) -> None:
    refused(server.call("GET", "fine_tuning/jobs?limit=1&limit=2"), 400, "'limit' stands twice", "limit")
    form = {"data": {"purpose": ["fine-tune", "fine-tune"]}, "files": {"file": ("a.jsonl", b"{}")}}
    refused(server.call("POST", "files", **form), 400, "'purpose' stands twice", "purpose")


@pytest.mark.parametrize("query", ["%ff=1", "%00", "limit=%00", "=1", "a[b=c", "limit=%F0%9F%98%80"])
def test_odd_queries(server: Server, query: str) -> None:
    answer = server.call("GET", f"fine_tuning/jobs?{query}")
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "path", ["files/%ff", "models/%00", "files//", "fine-tunes/..", "models/%2e%2e%2f", "%0d%0aX:y"]
)
def test_odd_paths(server: Server, path: str) -> None:
    answer = server.call("GET", path)
    assert answer.status_code in (400, 404)
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_part_of_a_file(server: Server, file_id: str) -> None:
    whole = jsonl(rows(8))
    part = server.call("GET", f"files/{file_id}/content", headers={"range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, whole[2:6])
    head = server.call("HEAD", f"files/{file_id}/content")
    assert (int(head.headers["content-length"]), head.content) == (len(whole), b"")


def raw(server: Server, request: bytes) -> bytes:
    """What the server sends back to these bytes until it closes."""
    where = urlsplit(server.url)
    received = b""
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=30) as connection:
        connection.sendall(request)
        while chunk := connection.recv(65536):
            received += chunk
    return received


def test_an_old_http_version_and_an_expectation(server: Server) -> None:
    assert raw(server, b"GET /v1/models HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
    body = json.dumps(ASKED).encode()
    asked = raw(
        server,
        b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nExpect: 100-continue\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body),
    )
    assert asked.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_bytes_that_are_no_http_do_not_hang(server: Server) -> None:
    assert raw(server, b"\x16\x03\x01\x00\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert raw(server, b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert server.call("GET", "models").status_code == 200
