"""Carrying out a scenario's steps."""
