"""Prints the JSON schema: `python -m pipeline.config > schemas/config.schema.json`."""

import json

from pipeline.config import dump_schema

if __name__ == "__main__":
    print(json.dumps(dump_schema(), indent=2, ensure_ascii=False))
