"""Every field does something: two values give two results."""

import logging
from typing import Any

import openai
import pytest
from contract_helpers import jsonl, rows

PROMPT = "bat and pitcher"
NO_END = {"256": -100}  # the token that ends a text: without it every completion has all its tokens


def ask(client: openai.OpenAI, prompt: Any = PROMPT, **fields: Any) -> openai.types.Completion:
    fields = {"model": "ada", "max_tokens": 12, "temperature": 0, "logit_bias": NO_END, **fields}
    return client.completions.create(prompt=prompt, **fields)


def text(client: openai.OpenAI, prompt: Any = PROMPT, **fields: Any) -> str:
    return ask(client, prompt, **fields).choices[0].text


def ids(text: str) -> list[int]:
    return list(text.encode())


@pytest.mark.contract("POST /v1/completions", "prompt", "honoured")
def test_prompt_as_text_ids_and_lists_of_both(client: openai.OpenAI) -> None:
    one, other = text(client, "a"), text(client, "bc")
    assert one != other
    assert text(client, ids("a")) == one
    for prompts in (["a", "bc"], [ids("a"), ids("bc")]):
        answer = ask(client, prompts, n=1)
        assert [choice.text for choice in answer.choices] == [one, other]
        assert [choice.index for choice in answer.choices] == [0, 1]
        assert answer.usage
        assert answer.usage.prompt_tokens == 3
    assert len(ask(client, [ids("a"), ids("bc")], n=2).choices) == 4


def test_no_prompt_is_a_texts_very_beginning(client: openai.OpenAI) -> None:
    assert text(client, None) == text(client, "") == text(client, openai.omit)


@pytest.mark.contract("POST /v1/completions", "model", "honoured", how="Answers name the model as it was asked for.")
def test_model(client: openai.OpenAI) -> None:
    assert ask(client, model="ada").model == "ada"
    assert ask(client, model="babbage").model == "babbage"


@pytest.mark.contract("POST /v1/completions", "max_tokens", "honoured")
def test_max_tokens(client: openai.OpenAI) -> None:
    for count in (1, 5):
        answer = ask(client, max_tokens=count)
        assert answer.usage
        assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (count, "length")
        assert answer.usage.total_tokens == len(PROMPT) + count
    usage = ask(client, max_tokens=openai.omit).usage
    assert usage
    assert usage.completion_tokens == 16


@pytest.mark.contract("POST /v1/completions", ("temperature", "seed"), "honoured")
def test_temperature_and_seed(client: openai.OpenAI) -> None:
    hot = [text(client, temperature=2, seed=seed) for seed in (1, 1, 2)]
    assert hot[0] == hot[1] != hot[2]
    assert hot[0] != text(client, temperature=0)


@pytest.mark.contract("POST /v1/completions", "top_p", "honoured")
def test_top_p(client: openai.OpenAI) -> None:
    assert text(client, temperature=1.5, seed=1, top_p=1e-6) == text(client)
    assert text(client, temperature=1.5, seed=1, top_p=1) != text(client)


@pytest.mark.contract("POST /v1/completions", ("n", "best_of"), "honoured")
def test_n_and_best_of(client: openai.OpenAI) -> None:
    answer = ask(client, n=3, temperature=1.5, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.text for choice in answer.choices}) > 1

    best = ask(client, best_of=3, temperature=1.5, seed=1)
    assert len(best.choices) == 1
    assert best.usage
    assert best.usage.completion_tokens == 3 * 12


@pytest.mark.contract("POST /v1/completions", "logprobs", "honoured")
def test_logprobs(client: openai.OpenAI) -> None:
    assert ask(client).choices[0].logprobs is None
    for count in (0, 1, 4):
        logprobs = ask(client, logprobs=count, logit_bias={}).choices[0].logprobs
        assert logprobs
        assert logprobs.top_logprobs
        assert logprobs.token_logprobs
        # greedy and without bias the token taken is the likeliest, so that it is no further one
        assert {len(top) for top in logprobs.top_logprobs} == {max(count, 1)}
        assert [max(top.values()) for top in logprobs.top_logprobs] == logprobs.token_logprobs


@pytest.mark.contract("POST /v1/completions", "echo", "honoured", how="With max_tokens 0 it scores the prompt alone.")
def test_echo_with_and_without_tokens(client: openai.OpenAI) -> None:
    assert text(client, echo=True) == PROMPT + text(client)
    scored = ask(client, echo=True, max_tokens=0, logprobs=1)
    assert scored.choices[0].text == PROMPT
    assert scored.usage
    assert scored.usage.completion_tokens == 0
    logprobs = scored.choices[0].logprobs
    assert logprobs
    assert logprobs.token_logprobs
    assert logprobs.tokens == list(PROMPT)
    assert logprobs.token_logprobs[0] is None
    assert all(value < 0 for value in logprobs.token_logprobs[1:])
    assert logprobs.text_offset == list(range(len(PROMPT)))


def test_the_score_of_a_text_is_the_sum_of_what_generating_it_gave(client: openai.OpenAI) -> None:
    made = ask(client, logprobs=1, max_tokens=8, prompt="xyz").choices[0]
    assert made.logprobs
    assert made.logprobs.token_logprobs
    biased = sum(made.logprobs.token_logprobs)
    again = ask(client, logprobs=1, max_tokens=0, echo=True, prompt="xyz" + made.text).choices[0].logprobs
    assert again
    assert again.token_logprobs
    if "�" not in made.text:
        assert sum(again.token_logprobs[3:]) == pytest.approx(biased, abs=1e-2)


@pytest.mark.contract("POST /v1/completions", "stop", "honoured")
def test_stop(client: openai.OpenAI) -> None:
    whole = text(client, max_tokens=40)
    inside = whole[5:7]
    for stop in (inside, [inside], ["never at all", inside]):
        answer = ask(client, max_tokens=40, stop=stop).choices[0]
        assert answer.text == whole[: whole.index(inside)]
        assert answer.finish_reason == "stop"


@pytest.mark.contract("POST /v1/completions", ("presence_penalty", "frequency_penalty"), "honoured")
def test_penalties(client: openai.OpenAI) -> None:
    repeat = {str(ord("z")): 15.0}  # makes the model say z again and again
    plain = text(client, logit_bias=repeat, max_tokens=30)
    assert plain.count("z") > 20
    assert text(client, logit_bias=repeat, max_tokens=30, frequency_penalty=2).count("z") < plain.count("z")
    shy, bold = (text(client, temperature=1, seed=1, max_tokens=40, presence_penalty=penalty) for penalty in (2, -2))
    assert len(set(shy)) > len(set(bold))


@pytest.mark.contract("POST /v1/completions", "logit_bias", "honoured", how="Token ids are those of the model asked.")
def test_logit_bias_removes_the_greedy_token(client: openai.OpenAI) -> None:
    def first(**fields: Any) -> str:
        logprobs = ask(client, max_tokens=1, logprobs=1, **fields).choices[0].logprobs
        assert logprobs
        assert logprobs.tokens
        return logprobs.tokens[0]

    greedy = first()
    byte = int(greedy.removeprefix("bytes:\\x"), 16) if greedy.startswith("bytes:") else ord(greedy)
    assert first(logit_bias={str(byte): -100}) != greedy
    assert text(client, max_tokens=3, logit_bias={str(ord("q")): 100}) == "qqq"


@pytest.mark.contract("POST /v1/completions", "stream", "honoured")
def test_stream_gives_the_same_in_pieces(client: openai.OpenAI) -> None:
    wanted: Any = {"logprobs": 2, "n": 2, "temperature": 1.2, "seed": 3, "echo": True, "logit_bias": NO_END}
    whole = ask(client, **wanted)
    texts: dict[int, str] = {0: "", 1: ""}
    tokens: dict[int, list[str]] = {0: [], 1: []}
    reasons: dict[int, str] = {}
    chunks = list(client.completions.create(model="ada", prompt=PROMPT, max_tokens=12, stream=True, **wanted))
    assert len(chunks) > 4
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            tokens[choice.index] += (choice.logprobs and choice.logprobs.tokens) or []
            if choice.finish_reason:
                reasons[choice.index] = choice.finish_reason
    for choice in whole.choices:
        assert texts[choice.index] == choice.text
        assert choice.logprobs
        assert tokens[choice.index] == choice.logprobs.tokens
        assert reasons[choice.index] == choice.finish_reason


@pytest.mark.contract("POST /v1/completions", ("stream_options", "stream_options.include_usage"), "honoured")
@pytest.mark.contract(
    "POST /v1/completions",
    "stream_options.include_obfuscation",
    "different",
    how="May be false: chunks are never padded.",
)
def test_stream_options(client: openai.OpenAI) -> None:
    def last(**options: Any) -> Any:
        return list(client.completions.create(model="ada", prompt="a", max_tokens=3, stream=True, **options))[-1]

    assert last().usage is None
    assert last(stream_options={"include_usage": False}).usage is None
    ending = last(stream_options={"include_usage": True})
    assert (ending.choices, ending.usage.prompt_tokens, ending.usage.completion_tokens) == ([], 1, 3)
    assert last(stream_options={"include_obfuscation": False}).choices
    with pytest.raises(openai.BadRequestError, match="must be false"):
        last(stream_options={"include_obfuscation": True})


@pytest.mark.contract("POST /v1/completions", "suffix", "refused", how="No base here can fill in.")
def test_suffix_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="suffix") as refused:
        text(client, suffix=" end")
    assert refused.value.param == "suffix"


@pytest.mark.contract(
    "POST /v1/completions",
    "user",
    "different",
    how="Written to the server's log beside the request's id; used for nothing else.",
)
@pytest.mark.contract(
    "POST /v1/completions", "header X-Request-Id", "honoured", how="Every answer bears it, or one of the server's own."
)
def test_user_stands_in_the_log(client: openai.OpenAI, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "luthier.server"):
        ask(client, user="person-17", extra_headers={"x-request-id": "my-request"})
    assert "person-17" in caplog.text
    assert "my-request" in caplog.text


def test_null_is_absent_in_every_field(client: openai.OpenAI) -> None:
    fields = (
        *("suffix", "top_p", "n", "best_of", "stream", "stream_options", "logprobs", "echo", "stop", "seed", "user"),
        *("presence_penalty", "frequency_penalty", "logit_bias"),
    )
    assert text(client, extra_body=dict.fromkeys(fields)) == text(client, logit_bias={})


@pytest.fixture(scope="module")
def finished(client: openai.OpenAI, wait: Any) -> dict[float, Any]:
    """Two jobs, alike but for the weight of the prompt and the betas; by weight."""
    train = client.files.create(file=("train.jsonl", jsonl(rows(8))), purpose="fine-tune").id
    valid = client.files.create(file=("valid.jsonl", jsonl(rows(4, start=8))), purpose="fine-tune").id
    common: Any = {
        "n_epochs": 1,
        "batch_size": 2,
        "learning_rate_multiplier": 0.2,
        "lora_rank": 2,
        "compute_classification_metrics": True,
        "classification_positive_class": " baseball",
    }
    jobs = {
        weight: client.fine_tuning.jobs.create(
            training_file=train,
            validation_file=valid,
            model="ada",
            seed=5,
            suffix="Fields",
            metadata={"weight": str(weight)},
            method={
                "type": "supervised",
                "supervised": {
                    "hyperparameters": {**common, "prompt_loss_weight": weight, "classification_betas": betas}
                },
            },
        ).id
        for weight, betas in ((0.0, []), (1.0, [0.5, 2]))
    }
    return {weight: wait(job_id) for weight, job_id in jobs.items()}


def _results(client: openai.OpenAI, job: Any) -> list[dict[str, str]]:
    lines = client.files.content(job.result_files[0]).text.splitlines()
    return [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]


def test_prompt_loss_weight_betas_and_batch_size(client: openai.OpenAI, finished: dict[float, Any]) -> None:
    tables = {weight: _results(client, job) for weight, job in finished.items()}
    first = {weight: float(table[0]["training_loss"]) for weight, table in tables.items()}
    assert first[0.0] != pytest.approx(first[1.0], rel=1e-3)
    assert {"classification/f0.5", "classification/f1.0", "classification/f2.0"} <= set(tables[1.0][0])
    assert "classification/f0.5" not in tables[0.0][0]
    assert len(tables[0.0]) == 4  # 8 rows, 2 at a time, once


@pytest.mark.contract("POST /v1/fine_tuning/jobs", ("seed", "suffix", "metadata"), "honoured")
def test_jobs_print_what_was_used(finished: dict[float, Any]) -> None:
    job = finished[1.0]
    assert job.status == "succeeded"
    assert job.seed == 5
    used = job.hyperparameters.model_dump()
    assert (used["n_epochs"], used["batch_size"], used["learning_rate_multiplier"]) == (1, 2, 0.2)
    assert (used["prompt_loss_weight"], used["lora_rank"], used["method"]) == (1, 2, "lora")
    assert used["classification_betas"] == [0.5, 2]
    assert job.method.supervised.hyperparameters.model_dump(exclude_unset=True) == used
    assert job.metadata == {"weight": "1.0"}
    assert job.trained_tokens > 0
    assert ":personal:fields:" in job.fine_tuned_model


@pytest.mark.contract("GET /v1/fine_tuning/jobs", "metadata", "honoured")
def test_metadata_filters_the_list(client: openai.OpenAI, finished: dict[float, Any]) -> None:
    listed = client.fine_tuning.jobs.list(metadata={"weight": "1.0"}).data
    assert [job.id for job in listed] == [finished[1.0].id]
