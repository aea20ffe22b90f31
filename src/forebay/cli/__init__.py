"""Commands for people; speaks the API only."""

from forebay.cli.app import build
from forebay.cli.programs import Programs, PullWish, UpOptions

__all__ = ["Programs", "PullWish", "UpOptions", "build"]
