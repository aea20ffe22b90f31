"""When a token is fetched anew: before it ends, when it was refused, not because threads start together."""

from __future__ import annotations

from forebay.sources.tokens import Renewed


class World:
    """A clock, and a server that gives numbered tokens."""

    def __init__(self, life_s: float = 100.0) -> None:
        self.now, self.count, self.life_s = 0.0, 0, life_s
        self.held = Renewed(self.fetch, now=lambda: self.now)

    def fetch(self) -> tuple[str, float]:
        self.count += 1
        return f"Bearer {self.count}", self.life_s

    def ask(self, what: str, at: float) -> str:
        self.now = at
        return self.held.value(what)


def test_one_token_serves_all_until_shortly_before_its_end() -> None:
    world = World()
    assert [world.ask(f, at) for f, at in (("a", 0), ("b", 50), ("", 79), ("c", 79.9))] == ["Bearer 1"] * 4
    assert world.ask("d", 80.1) == "Bearer 2" and world.count == 2


def test_who_comes_back_for_the_same_thing_was_refused() -> None:
    world = World()
    assert world.ask("a", 0) == world.ask("a", 0.1) == "Bearer 1"  # threads that start on one file
    assert world.ask("a", 5) == "Bearer 2"
    assert world.ask("a", 5.1) == world.ask("b", 6) == "Bearer 2"


def test_listing_again_and_again_is_no_refusal() -> None:
    world = World()
    assert {world.ask("", at) for at in range(0, 70, 5)} == {"Bearer 1"}


def test_a_life_of_nothing_does_not_mean_a_token_for_each_request() -> None:
    world = World(life_s=0.0)
    assert world.ask("a", 0) == world.ask("b", 0.9) == "Bearer 1" and world.ask("c", 1.1) == "Bearer 2"
