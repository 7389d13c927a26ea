"""How request bodies are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser


class StrictJSONParser(JSONParser):
    """JSON in UTF-8 in which no field stands twice: of two amounts nobody knows which was meant."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,  # noqa: ARG002
        parser_context: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> Any:
        """Raises ParseError, also for what is nested too deeply to be read."""
        try:
            text = stream.read().decode("utf-8")
            found = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_field_twice)
            # Half of a surrogate pair is no text: it could be neither stored nor said back.
            json.dumps(found, ensure_ascii=False).encode()
            return found
        except ValueError as error:
            raise ParseError(f"The body is not JSON: {error}.") from None
        except RecursionError:
            raise ParseError("The body is nested too deeply.") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _no_field_twice(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field stands twice")
    return found
