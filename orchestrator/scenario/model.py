"""The base of every model of a scenario; drivers and machines are described with it, too."""

from wsklab.common.strict import Strict

__all__ = ["Strict"]
