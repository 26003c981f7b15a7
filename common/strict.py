"""The base of every model that a user writes: unknown keys are refused, one value may stand for the main key."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from wsklab.common.text import quoted


class Strict(BaseModel):
    """A mapping with known keys only.

    `shorthand` names the field that a bare value stands for: `send: 4` is `send: {length: 4}`; an empty value
    (`close:`) or the bare word of a step without arguments stands for no keys at all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    shorthand: ClassVar[str | None] = None

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if isinstance(value, BaseModel):
            return value
        if not isinstance(value, dict):
            if value is None:
                return {}
            if cls.shorthand is None:
                raise ValueError(f"expected a mapping; its keys are: {', '.join(cls.names()) or 'none'}")
            return {cls.shorthand: value}
        for key in value:
            if key not in cls.names():
                import difflib  # for a mistake alone

                guess = difflib.get_close_matches(str(key)[:80], cls.names(), 1)
                hint = f"; did you mean '{guess[0]}'?" if guess else ""
                allowed = ", ".join(cls.names()) or "none"
                # Custom errors keep the key, so that the message points at its own line.
                raise PydanticCustomError(
                    "unknown_key",
                    "unknown key '{shown}'{hint} Allowed: {allowed}",
                    {"key": str(key), "shown": quoted(key, 80), "hint": hint or ".", "allowed": allowed},
                )
        return value

    @classmethod
    def names(cls) -> list[str]:
        """Return the keys as they are written in YAML."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Have editors accept the shorthand too."""
        schema = handler(core)
        if cls.shorthand is None:
            return schema
        return {"anyOf": [schema, {"type": ["string", "integer", "number", "boolean", "array", "null"]}]}
