"""Alembic's entry point. The connection comes from `storage.db`, or from the test that compares the schema."""

from alembic import context

from luthier.storage.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
