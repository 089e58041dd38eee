"""The runtime: model files, read and written without torch."""

from elman.runtime.document import Document, Layer
from elman.runtime.files import write_atomically
from elman.runtime.model_file import describe, load, save

__all__ = ["Document", "Layer", "describe", "load", "save", "write_atomically"]
