"""Commands for people; speaks the API only."""
