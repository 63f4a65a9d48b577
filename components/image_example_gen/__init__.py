"""Ingestion: a folder of class folders becomes examples in splits and a named quarantine."""
