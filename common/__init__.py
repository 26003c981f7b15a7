"""What every layer may use: reading a user's files with care, and showing foreign text. It knows nobody."""

from pathlib import Path

JSON_IN_C = Path(__file__).parent / "json"
"""The JSON reader of the programs in the guests: C files that each is built with."""
