"""Luthier: your own fine-tuning and embeddings service, speaking the OpenAI API."""

__version__ = "0.1.0"
