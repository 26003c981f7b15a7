"""What earlier runs were: a database of runs and rows, and what can be told from it (docs/history.md)."""
