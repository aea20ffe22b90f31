"""Parsers that meet foreign bytes, as targets: `make fuzz` searches, ordinary tests replay seeds."""
