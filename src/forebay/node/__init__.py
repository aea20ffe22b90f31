"""The agent of one node: room, eviction, views, status."""
