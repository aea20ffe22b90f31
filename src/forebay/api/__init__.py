"""Kinds: types, defaults, validation, conditions and names; pure."""
