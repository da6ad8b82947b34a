"""OpenAI's paths, under /v1: the first fine-tuning API and today's."""
