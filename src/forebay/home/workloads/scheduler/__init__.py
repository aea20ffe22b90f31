"""Scheduler: a node for every pod."""
