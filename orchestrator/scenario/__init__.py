"""The language: its model, its verbs, its files, and the catalogue of what comes with the lab."""
