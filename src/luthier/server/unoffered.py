"""What OpenAI's API has and Luthier has not: one table, for an answer that says so."""

_TEXT = "It serves text models: completions, chat and embeddings."
_THREADS = "Keep the conversation yourself and send it to /v1/chat/completions."

REASONS = {
    "assistants": _THREADS,
    "audio": _TEXT,
    "chatkit": _THREADS,
    "containers": _TEXT,
    "conversations": _THREADS,
    "edits": "Say in the prompt what is to be changed, and send it to /v1/completions.",
    "evals": "`luthier tune` measures a classifier on a validation file.",
    "images": _TEXT,
    "moderations": "Tune a classifier on examples of your own and ask it by /v1/completions.",
    "organization": "Keys are made and revoked with `luthier keys`.",
    "realtime": _TEXT,
    "responses": "Send the conversation to /v1/chat/completions.",
    "skills": _THREADS,
    "threads": _THREADS,
    "uploads": "Send the whole file to /v1/files.",
    "vector_stores": "Get embeddings from /v1/embeddings and keep them in a store of your own.",
    "videos": _TEXT,
}
"""First word of a path behind /v1, /openai, /openai/v1 or a deployment → what to do instead."""


def why_not(path: str) -> str | None:
    """Why there is nothing at a path of OpenAI's; None for a path that OpenAI has not either."""
    words = path.strip("/").split("/")
    while words and words[0] in ("openai", "v1"):
        words = words[1:]
    if words[:1] == ["deployments"]:
        words = words[2:]
    if not words or words[0] not in REASONS:
        return None
    return f"Luthier does not offer {words[0]} ({path}). {REASONS[words[0]]}"
