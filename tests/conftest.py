"""For all tests: nothing is judged by how long it took, as machines are shared and noisy."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("lab", deadline=None)
settings.load_profile("lab")
