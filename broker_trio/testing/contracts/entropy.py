"""What every source of Entropy must do: subclass `EntropyContract` with a fixture `make`."""

from collections.abc import Callable

from broker_trio.runtime.seams import Entropy


class EntropyContract:
    """`make()` gives a source as a process would get it at its start."""

    def test_draws_are_in_range(self, make: Callable[[], Entropy]) -> None:
        """Fractions, integers and choices stay within their bounds and are not constant."""
        entropy = make()
        fractions = [entropy.random() for _ in range(100)]
        assert all(0 <= one < 1 for one in fractions)
        assert len(set(fractions)) > 90
        assert {entropy.randint(1, 3) for _ in range(200)} == {1, 2, 3}
        assert {entropy.choice("ab") for _ in range(100)} == {"a", "b"}

    def test_processes_draw_apart(self, make: Callable[[], Entropy]) -> None:
        """Two sources give different ids: nothing is shared that would make them collide."""
        assert make().getrandbits(128) != make().getrandbits(128)
