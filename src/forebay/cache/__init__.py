"""Blobs, manifests, views, pins and eviction on one node's disk."""
