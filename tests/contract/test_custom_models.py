"""Customized embedding models: asked, listed, retrieved, deployed and deleted like any model."""

from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import numpy as np
import openai
import pytest
from contract_helpers import Server

from luthier.embedding.projection import CustomModel, CustomModels, custom_name, revision_of
from luthier.modeling.bases import BaseStore

BASE = "text-embedding-ada-002"
WIDTH, WIDER = 32, 40
TEXTS = ["a cat", "a toaster", "an old toaster that nobody repairs"]


@pytest.fixture
def model(server: Server) -> Iterator[CustomModel]:
    """A matrix from 32 to 40 numbers, kept as `luthier customize` keeps one."""
    base = BaseStore(server.settings).local(BASE)
    assert base is not None
    card = CustomModel(
        custom_name(BASE, f"cats-{uuid4().hex[:8]}"),
        BASE,
        base.key,
        revision_of(base),
        WIDTH,
        WIDER,
        0.5,
        1_700_000_000,
    )
    models = CustomModels(server.settings)
    models.save(card, np.random.default_rng(0).normal(size=(WIDTH, WIDER)).astype(np.float32), replaces=True)
    yield card
    if card.id in models:
        models.delete(card.id)


def embed(client: openai.OpenAI, model: str, **options: int) -> np.ndarray:
    answer = client.embeddings.create(model=model, input=TEXTS, **options)
    assert answer.model == model
    return np.array([item.embedding for item in answer.data])


@pytest.mark.contract("POST /v1/embeddings", "model", "honoured")
def test_its_embeddings_are_the_bases_times_the_matrix(
    server: Server, client: openai.OpenAI, model: CustomModel
) -> None:
    made = embed(client, BASE) @ CustomModels(server.settings).matrix(model)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    assert embed(client, model.id) == pytest.approx(made, abs=1e-3)


@pytest.mark.contract("POST /v1/embeddings", "dimensions", "honoured")
def test_dimensions_are_counted_in_the_customized_numbers(client: openai.OpenAI, model: CustomModel) -> None:
    whole, cut = embed(client, model.id), embed(client, model.id, dimensions=6)
    assert cut == pytest.approx(whole[:, :6] / np.linalg.norm(whole[:, :6], axis=1, keepdims=True), abs=1e-3)
    with pytest.raises(openai.BadRequestError, match=f"have {WIDER} numbers"):
        embed(client, model.id, dimensions=WIDER + 1)


@pytest.mark.contract("GET /v1/models", "", "honoured")
@pytest.mark.contract("GET /v1/models/{model}", "", "honoured")
def test_it_is_listed_and_retrieved(client: openai.OpenAI, model: CustomModel) -> None:
    listed = {one.id: one for one in client.models.list()}
    one = client.models.retrieve(model.id)
    assert listed[model.id] == one
    assert (one.created, one.owned_by) == (model.created_at, "personal")
    told = one.model_extra
    assert told is not None
    assert (told["root"], told["parent"]) == (BASE, BASE)
    assert (told["details"]["dimensions"], told["details"]["kind"]) == (WIDER, "embedding")
    assert "cosines above 0.500 mean alike" in told["details"]["note"]


@pytest.mark.contract("DELETE /v1/models/{model}", "", "honoured")
def test_it_is_deleted(client: openai.OpenAI, model: CustomModel) -> None:
    embed(client, model.id)  # a moment before: what a name means is remembered
    assert client.models.delete(model.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(model.id)
    with pytest.raises(openai.NotFoundError):
        embed(client, model.id)


def test_it_completes_no_text(client: openai.OpenAI, model: CustomModel) -> None:
    with pytest.raises(openai.BadRequestError, match="makes embeddings and completes no texts"):
        client.completions.create(model=model.id, prompt="a")


@pytest.mark.parametrize("change", [{"revision": "other"}, {"width": 5}, {"key": "other"}])
def test_other_weights_of_its_base_are_refused(
    server: Server, client: openai.OpenAI, model: CustomModel, change: dict[str, object]
) -> None:
    CustomModels(server.settings).save(replace(model, **change), np.eye(5, WIDER, dtype=np.float32), replaces=True)  # type: ignore[arg-type]
    with pytest.raises(openai.BadRequestError, match="customize again"):
        embed(client, model.id)
    details = (client.models.retrieve(model.id).model_extra or {})["details"]
    assert details["note"].startswith("This model cannot answer now")


def test_it_can_be_deployed_and_tokenized(server: Server, model: CustomModel) -> None:
    answer = server.call("POST", "tokenize", json={"model": model.id, "input": "ab"})
    assert answer.json()["data"][0]["count"] == 2, answer.text
    root = server.url.removesuffix("/v1")
    made = server.call(
        "POST",
        f"{root}/openai/deployments?api-version=2022-12-01",
        json={"model": model.id, "scale_settings": {"scale_type": "standard"}},
        headers={"api-key": "x"},
    )
    assert made.json()["status"] == "succeeded", made.text
    refused = server.call("DELETE", f"models/{model.id}")
    assert (refused.status_code, "is deployed as" in refused.text) == (400, True)
    name = made.json()["id"]
    answer = server.call(
        "POST", f"{root}/openai/deployments/{name}/embeddings?api-version=2022-12-01", json={"input": "a"}
    )
    assert len(answer.json()["data"][0]["embedding"]) == WIDER
    server.call("DELETE", f"{root}/openai/deployments/{name}?api-version=2022-12-01")
