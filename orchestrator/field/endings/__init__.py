"""Connections of a capture: their stories, and how they ended."""
