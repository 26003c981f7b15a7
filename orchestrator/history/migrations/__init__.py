"""The database's migrations; Alembic runs them when a database is opened."""
