"""What Alembic runs: the revisions, on the connection that `database.py` has opened."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    render_as_batch=True,  # SQLite alters little: Alembic copies a table instead
)
context.run_migrations()
