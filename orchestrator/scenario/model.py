"""The base of every model of a scenario."""

from __future__ import annotations

from pydantic import ConfigDict

from wsklab.common import strict

__all__ = ["Strict"]


class Strict(strict.Strict):
    """A part of a scenario; its validator is made with that of the whole, as no part is ever read by itself."""

    model_config = ConfigDict(defer_build=True)
