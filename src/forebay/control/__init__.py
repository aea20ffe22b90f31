"""Forebay's controllers: read and write objects, cannot tell which home they are in."""
