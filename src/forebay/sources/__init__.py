"""Where models come from: a URI becomes an immutable listing, then requests."""
