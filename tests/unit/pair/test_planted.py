"""Taking a rule out breaks a promise; with all rules in place the same steps break none."""

import pytest

from .bugs import BUGS, Bug
from .world import Bad, World, play

ROOMY = dict.fromkeys(
    ("write", "crash", "power", "claim", "shape", "force", "witness", "blank"), 9
) | {"tick": 40}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_rule_taken_out_is_found(bug: Bug, monkeypatch):
    """Without the rule the script ends in a broken promise."""
    if bug.patch is not None:
        bug.patch(monkeypatch)
    world = World(bug.mode, budget=ROOMY, **bug.world)
    with pytest.raises(Bad):
        pytest.fail(play(world, bug.script))


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_rule_holds_under_the_same_steps(bug: Bug):
    """With the rule the script breaks nothing: a step of it is impossible, or it does no harm."""
    play(World(bug.mode, budget=ROOMY), bug.script)
