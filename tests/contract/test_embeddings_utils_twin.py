"""`luthier.embeddings_utils` beside the old client's own module, over the same server."""

import asyncio
import json
from typing import Any

import openai
import pytest
from contract_helpers import OldClient, Server

from luthier import embeddings_utils as ours

TEXTS = ["The food\nwas delicious", "a broken toaster", "and a longer text than the encoder reads at once"]

# Its module wants libraries for charts and retries that an old environment may lack; these functions do not use them.
STAND_INS = """
import sys, types
for name in ("matplotlib", "matplotlib.pyplot", "plotly", "plotly.express", "tenacity"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["tenacity"].retry = lambda **_: lambda function: function
sys.modules["tenacity"].stop_after_attempt = sys.modules["tenacity"].wait_random_exponential = lambda *_, **__: None
try:
    from openai import embeddings_utils as theirs
except ImportError as error:
    print(json.dumps(str(error)))
    sys.exit()
"""


@pytest.fixture
def theirs(old_client: OldClient) -> Any:
    """What the old module's functions gave."""
    out = old_client.run(
        STAND_INS
        + f"""
texts = {TEXTS!r}
one = theirs.get_embedding(texts[0], engine="text-search-ada-query-001")
many = theirs.get_embeddings(texts, engine="text-similarity-ada-001")
metrics = ("cosine", "L1", "L2", "Linf")
distances = [theirs.distances_from_embeddings(one, many, metric) for metric in metrics]
nearest = theirs.indices_of_nearest_neighbors_from_distances(distances[0]).tolist()
components = theirs.pca_components_from_embeddings(many).tolist()
print(json.dumps([one, many, theirs.cosine_similarity(one, many[1]), distances, nearest, components]))
"""
    )
    answer = json.loads(out)
    if isinstance(answer, str):
        pytest.skip(f"the old client's environment lacks what its module imports: {answer}")
    return answer


def test_the_same_functions_give_the_same(theirs: Any, client: openai.OpenAI) -> None:
    one, many, cosine, distances, nearest, components = theirs
    assert ours.get_embedding(TEXTS[0], engine="text-search-ada-query-001", client=client) == pytest.approx(
        one, abs=1e-6
    )
    mine = ours.get_embeddings(TEXTS, model="text-similarity-ada-001", client=client)
    for a, b in zip(mine, many, strict=True):
        assert a == pytest.approx(b, abs=2e-2)  # passes of other sizes round otherwise
    assert ours.cosine_similarity(one, many[1]) == pytest.approx(cosine)
    for metric, expected in zip(("cosine", "L1", "L2", "Linf"), distances, strict=True):
        assert ours.distances_from_embeddings(one, many, metric) == pytest.approx(expected)
    assert ours.indices_of_nearest_neighbors_from_distances(distances[0]).tolist() == nearest
    for row, expected in zip(ours.pca_components_from_embeddings(many), components, strict=True):
        assert row == pytest.approx(expected)


def test_without_a_client_the_environment_is_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    expected = ours.get_embedding("a b", "text-similarity-ada-001")  # by the installed client
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    assert ours.get_embedding("a b", "text-similarity-ada-001") == pytest.approx(expected, abs=1e-6)


def test_coroutines(server: Server) -> None:
    async def ask() -> list[list[float]]:
        async with openai.AsyncOpenAI(base_url=server.url, api_key="sk-test") as client:
            return await ours.aget_embeddings(TEXTS, model="text-similarity-ada-001", client=client)

    assert [len(vector) for vector in asyncio.run(ask())] == [32, 32, 32]
