"""Whatever is sent, the answer is a result or an error in the one shape: never a 5xx."""

import json
from typing import Any
from urllib.parse import quote

from contract_helpers import Server
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.server.wire.chat import ChatBody
from luthier.server.wire.completions import CompletionBody
from luthier.server.wire.fine_tunes import CreateFineTuneBody
from luthier.server.wire.jobs import CreateJobBody

PLENTY = settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SOME = settings(PLENTY, max_examples=25)

numbers = st.sampled_from([0, 1, 2, -1, 0.5, 1e308, -1e308, 10**30, 2**63, 1e-320, 3])
texts = st.sampled_from(
    ["", "ada", "auto", "a", "\0", "é", "⚾", "../..", "/", ".", "~", "hf:", "hf:a/b/c", "ft-x", " "]
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)


def bodies(*models: Any) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Bodies with some of the fields of a model, some of them sound."""
    sound: dict[str, Any] = {"model": "ada", "prompt": "a", "max_tokens": 1, "training_file": "file-x", "n": 1}
    talk = {"model": "gpt-4o", "messages": [{"role": "user", "content": "a"}]}

    def of(path: str, model: Any) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
        names = sorted(model.model_fields)
        odd = st.dictionaries(st.sampled_from(names), values, max_size=3)
        base = {
            name: value for name, value in {**sound, **(talk if "messages" in names else {})}.items() if name in names
        }
        return st.tuples(st.just(path), odd.map(lambda fields: {**base, **fields}))

    return st.one_of(of(path, model) for path, model in models)


def _check(response: Any, *, may_succeed: bool = True) -> None:
    assert response.status_code < 500, response.text
    if response.is_error:
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    else:
        assert may_succeed, response.text


@PLENTY
@given(
    bodies(
        ("completions", CompletionBody),
        ("chat/completions", ChatBody),
        ("fine-tunes", CreateFineTuneBody),
        ("fine_tuning/jobs", CreateJobBody),
    )
)
def test_bodies(server: Server, request_: tuple[str, dict[str, Any]]) -> None:
    path, body = request_
    _check(server.call("POST", path, json=body), may_succeed=path.endswith("completions"))


@PLENTY
@given(st.sampled_from(["files", "models", "fine-tunes", "fine_tuning/jobs"]), texts | st.text(max_size=8))
def test_ids(server: Server, path: str, name: str) -> None:
    where = f"{path}/{quote(name, safe='')}"
    _check(server.call("GET", where))
    _check(server.call("DELETE", where))
    _check(server.call("POST", f"{where}/cancel"), may_succeed=False)


@SOME
@given(st.binary(max_size=60))
def test_bytes(server: Server, content: bytes) -> None:
    _check(server.call("POST", "completions", content=content), may_succeed=False)
    head = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--b\r\n'
    form = head + b'Content-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + content
    kind = {"content-type": "multipart/form-data; boundary=b"}
    _check(server.call("POST", "files", content=form, headers=kind), may_succeed=False)
    made = server.call("POST", "files", content=form + b"\r\n--b--\r\n", headers=kind)
    _check(made)
    assert json.loads(made.content)["bytes"] == len(content)
    assert server.call("DELETE", f"files/{made.json()['id']}").json()["deleted"]
