"""Alembic migrations; `storage.db` runs them when the database is opened."""
