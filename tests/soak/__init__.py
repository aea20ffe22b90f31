"""Kills and writes at random for as long as one likes: `make soak`."""
