"""The bodies of both dialects as pydantic models, and their translation from and to the domain."""
