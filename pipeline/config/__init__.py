"""The typed, strict configuration of a pipeline: read, overridden, checked, resolved.

A wrong key or value is told here, with its line, before TensorFlow is imported or a photo is
read; what passes is frozen, so that every stage sees the same values. `model.py` says what may be
given, `document.py` reads the file with the line of every key, `checks.py` looks at what holds
between keys and against files, `messages.py` words what is wrong, `loading.py` joins them.
"""

from pipeline.config.fields import section_of
from pipeline.config.loading import load
from pipeline.config.model import Config, dump_schema, slug
from pipeline.config.training import NO_WEIGHTS

__all__ = ["NO_WEIGHTS", "Config", "dump_schema", "load", "section_of", "slug"]
