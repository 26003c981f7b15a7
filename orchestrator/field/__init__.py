"""Captures from the field: read, named by their endings, and made into scenarios."""
