"""A run: what it stands on, its labs, its rows, its evidence."""
