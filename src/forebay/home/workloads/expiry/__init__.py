"""Events that have told their story."""
