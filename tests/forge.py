"""Model files made from the description in docs/model-file.md alone, right or wrong, always with a right checksum."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def split(model: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a model file as plain data, and the bytes of its tensors."""
    length = int.from_bytes(model[:8], "little")
    return json.loads(model[8 : 8 + length]), model[8 + length :]


def join(header: bytes | str, data: bytes) -> bytes:
    """A file with this header, whatever it is."""
    header = header.encode() if isinstance(header, str) else header
    return len(header).to_bytes(8, "little") + header + data


def sealed(document: str, entries: dict[str, Any], data: bytes, **metadata: str) -> bytes:
    """A file with this document and these entries whose checksum is right."""
    zeros = "0" * 64
    header = json.dumps({"__metadata__": {"elman": document, "sha256": zeros, **metadata}, **entries})
    model = join(header, data)
    return model.replace(zeros.encode(), hashlib.sha256(model).hexdigest().encode())


def resealed(model: bytes, document: str) -> bytes:
    """The same model with another document."""
    header, data = split(model)
    del header["__metadata__"]
    return sealed(document, header, data)
