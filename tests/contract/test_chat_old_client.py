"""Chat by `openai==0.27.2`: its lines, its streams, its command."""

import json

import pytest
from contract_helpers import OldClient

PATH = "POST /v1/chat/completions"
FIELDS = "model='gpt-4o-mini', messages=[{'role': 'user', 'content': 'Hi'}], temperature=0, max_tokens=8"


@pytest.mark.contract(PATH, "", "honoured")
def test_its_lines_whole_and_as_a_stream(old_client: OldClient) -> None:
    printed = old_client.run(
        f"whole = openai.ChatCompletion.create({FIELDS})\n"
        f"parts = list(openai.ChatCompletion.create({FIELDS}, stream=True))\n"
        "print(json.dumps([whole, parts]))"
    )
    whole, parts = json.loads(printed)
    assert whole["object"] == "chat.completion"
    assert whole["choices"][0]["message"]["role"] == "assistant"
    deltas = [part["choices"][0]["delta"] for part in parts]
    assert deltas[0]["role"] == "assistant"
    assert "".join(delta.get("content", "") for delta in deltas) == whole["choices"][0]["message"]["content"]
    assert parts[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]


@pytest.mark.contract("POST /v1/engines/{engine}/chat/completions", "", "honoured")
@pytest.mark.contract(
    "POST /v1/engines/{engine}/chat/completions", "*", "honoured", how="As `POST /v1/chat/completions`."
)
@pytest.mark.contract(
    "POST /v1/engines/{engine}/chat/completions", "model", "different", how="May be left out; must be the engine."
)
def test_an_engine_chats(old_client: OldClient) -> None:
    printed = old_client.run(
        "same = dict(messages=[{'role': 'user', 'content': 'Hi'}], temperature=0, max_tokens=8)\n"
        "named = [openai.ChatCompletion.create(**{key: 'gpt-4o-mini'}, **same) for key in ('engine', 'model')]\n"
        "print(json.dumps([(one['model'], one['choices']) for one in named]))"
    )
    engine, model = json.loads(printed)
    assert engine == model


def test_its_command(old_client: OldClient) -> None:
    words = ("api", "chat_completions.create", "-m", "gpt-4o-mini", "-g", "system", "Be brief.", "-g", "user", "Hi")
    assert old_client(*words, "-t", "0", "--stop", "zzz")
    assert "not a chat model" in old_client("api", "chat_completions.create", "-m", "ada", *words[4:], fails=True)
