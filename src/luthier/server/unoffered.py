"""What OpenAI's API has and Luthier has not: one table, for an answer that says so."""

_TEXT = "It serves text models: completions, chat and embeddings."
_THREADS = "Keep the conversation yourself and send it to /v1/chat/completions."

_NO_TELLING = "Ask for what you wait for: jobs by their events, batches by their status."

REASONS = {
    "agents": _THREADS,
    "answers": "Find the texts by /v1/embeddings, put them into the prompt, and send it to /v1/completions.",
    "assistants": _THREADS,
    "audio": _TEXT,
    "chat/completions": "Chats are not kept: 'store' is false. Keep what you will want to read again.",
    "chatkit": _THREADS,
    "classifications": "Tune a classifier on examples of your own and ask it by /v1/completions.",
    "containers": _TEXT,
    "content_provenance_checks": _TEXT,
    "conversations": _THREADS,
    "customer": "OpenAI-Organization and OpenAI-Project say on whose behalf a request is made.",
    "decisions": _TEXT,
    "edits": "Say in the prompt what is to be changed, and send it to /v1/completions.",
    "evals": "`luthier tune` measures a classifier on a validation file.",
    "fine_tuning/alpha": "Graders belong to reinforcement; the methods here are 'supervised' and 'dpo'.",
    "fine_tuning/checkpoints": "Checkpoints need no permission: whoever may ask models may ask them by their names.",
    "images": _TEXT,
    "live": _TEXT,
    "moderations": "Tune a classifier on examples of your own and ask it by /v1/completions.",
    "organization": "Keys are made and revoked with `luthier keys`.",
    "projects": "Keys are made and revoked with `luthier keys`.",
    "realtime": _TEXT,
    "responses": "Send the conversation to /v1/chat/completions.",
    "safety": _TEXT,
    "search": "Compare the texts' embeddings with the query's: /v1/embeddings makes both.",
    "skills": _THREADS,
    "threads": _THREADS,
    "uploads": "Send the whole file to /v1/files.",
    "vaults": _TEXT,
    "videos": _TEXT,
    "webhook_endpoints": _NO_TELLING,
    "webhook_event_types": _NO_TELLING,
}
"""First words of a path behind /v1, /openai, /openai/v1 or a deployment → what to do instead."""


def why_not(path: str) -> str | None:
    """Why there is nothing at a path of OpenAI's; None for a path that OpenAI has not either."""
    words = path.strip("/").split("/")
    while words and words[0] in ("openai", "v1"):
        words = words[1:]
    if words[:1] == ["deployments"]:
        words = words[2:]
    for name in ("/".join(words[:2]), words[0] if words else ""):
        if name in REASONS:
            return f"Luthier does not offer {path}. {REASONS[name]}"
    return None
