"""Packets out of capture files: files, link layers, fragments, flows."""
