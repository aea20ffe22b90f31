"""Nodes that stop reporting, and the pods on them."""
