"""Forebay serves models and keeps their weights where they will be needed before they are needed."""

__version__ = "0.1.0"
