"""Every drill there is, as data: what is broken, in which steps, and what must hold.

    Drill ─ steps ─▶ the laptop's conductor (cli/drill)        the same rows,
                 └─▶ playbooks/drills/*.yml on a fleet         two ways to carry them out

A step is a verb on somebody. `kill`, `stall` … break; `heal` undoes all of it; `promote` and
`switchover` are what a person would do; `refused` is a promotion that a guard must refuse; `whole`
waits until both copies count again and every nameserver shows the pair.
"""

from dataclasses import dataclass
from typing import Final, Literal

Do = Literal[
    "kill", "poweroff", "cut", "isolate", "fill", "slow", "stall", "forget", "key",
    "heal", "hold", "promote", "refused", "switchover", "degrade", "restart", "start", "whole",
]  # fmt: skip
Whom = Literal["", "master", "slave", "last", "others", "all"]

BREAKS: Final = frozenset(
    {"kill", "poweroff", "cut", "isolate", "fill", "slow", "stall", "forget", "key", "restart"}
)
"""Verbs that do harm: before the first of them a revert is armed, and it is T0."""

ROOT: Final = "takes root on the host; on a fleet: ansible-playbook playbooks/drills/{}.yml"


@dataclass(frozen=True, slots=True)
class Step:
    """`whom` master and slave are those of the beginning; last, others and all are nameservers:
    the last one, all but the first, and every one."""

    do: Do
    whom: Whom = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """One row. `rto_max_s` counts from the fault, `after_heal_max_s` from the healing.

    `moved`: another replica must own afterwards. `errors_max`: sends that may end without an
    acknowledgement; None: any number. `causes`: no send may fail from another one; empty: any may.
    `reads`: they must go well from the fault to the healing. `laptop`: why it cannot be done there;
    empty: it can.
    """

    name: str
    title: str
    proves: str
    harm: str
    revert: str
    steps: tuple[Step, ...]
    rto_max_s: float | None = None
    after_heal_max_s: float | None = None
    moved: bool = False
    errors_max: int | None = None
    causes: frozenset[str] = frozenset()
    reads: bool = False
    attempts: int = 1
    nameservers_min: int = 1
    laptop: str = ""
    hints: tuple[str, ...] = ()

    @property
    def faults(self) -> tuple[Step, ...]:
        """What it breaks, in order."""
        return tuple(step for step in self.steps if step.do in BREAKS)

    @property
    def playable(self) -> bool:
        """Whether a person has something to do in it."""
        return any(step.do == "promote" for step in self.steps)


def _root(name: str) -> str:
    return ROOT.format(name)


_LOOK: Final = "broker-trio pair status NAME says who answers and what to do now."
_PROMOTE: Final = "broker-trio promote NAME/ID --one-copy makes the other replica the master."

DRILLS: Final = (
    Drill(
        name="kill_master",
        title="Kill the master",
        proves="the slave takes over, and nothing acknowledged is lost",
        harm="no sends to this pair until the slave is promoted: seconds",
        revert="the master's process is started again and follows",
        steps=(
            Step("kill", "master"), Step("promote", "slave"), Step("hold", seconds=6),
            Step("heal"), Step("whole"),
        ),
        rto_max_s=15, moved=True, hints=("A process is gone.", _LOOK, _PROMOTE),
    ),
    Drill(
        name="power_off",
        title="Power off the master's host",
        proves="a dead machine is survived, with what its disk had not flushed",
        harm="no sends to this pair until the slave is promoted; a host is off until it boots",
        revert="the host boots again (drill_poweron_command of the inventory, or a person)",
        steps=(
            Step("poweroff", "master"), Step("promote", "slave"), Step("hold", seconds=10),
            Step("heal"), Step("whole"),
        ),
        rto_max_s=30, moved=True, laptop=_root("power_off"),
        hints=("A machine is gone, not only a process.", _LOOK, _PROMOTE),
    ),
    Drill(
        name="cut_pair",
        title="Cut the pair",
        proves="a master without its slave acknowledges nothing that only it has",
        harm="sends to this pair are refused from slave_timeout_ms on, until the cut is healed",
        revert="the rules of the host's firewall are taken away",
        steps=(Step("cut", "slave"), Step("hold", seconds=15), Step("heal"), Step("whole")),
        after_heal_max_s=30, reads=True, laptop=_root("cut_pair"),
        hints=("Everybody is up.", "The two replicas do not hear each other.", _LOOK),
    ),
    Drill(
        name="isolate_master",
        title="Isolate the master from everything",
        proves="at most one replica acknowledges, though no connection was closed",
        harm="no sends to this pair until the slave is promoted and clients gave up waiting",
        revert="the rules of the host's firewall are taken away",
        steps=(
            Step("isolate", "master"), Step("promote", "slave"), Step("hold", seconds=10),
            Step("heal"), Step("whole"),
        ),
        rto_max_s=30, moved=True, laptop=_root("isolate_master"),
        hints=("No connection was closed.", _LOOK, _PROMOTE),
    ),
    Drill(
        name="lose_nameserver",
        title="Lose one nameserver",
        proves="routes do not depend on any one nameserver",
        harm="none for who knows another nameserver",
        revert="the nameserver is started again",
        steps=(Step("kill", "last"), Step("hold", seconds=15), Step("heal"), Step("whole")),
        errors_max=0, reads=True, nameservers_min=2, hints=("The brokers are well.",),
    ),
    Drill(
        name="lose_all_but_one",
        title="Lose all nameservers but one",
        proves="one nameserver is enough for clients that work",
        harm="a master that acknowledges alone would stop: the pair must be whole",
        revert="the nameservers are started again",
        steps=(Step("kill", "others"), Step("hold", seconds=20), Step("heal"), Step("whole")),
        errors_max=0, reads=True, nameservers_min=2, hints=("The brokers are well.",),
    ),
    Drill(
        name="lose_all_nameservers",
        title="Lose all nameservers for a minute",
        proves="who knows a route goes on without any nameserver",
        harm="new clients find no route for a minute",
        revert="the nameservers are started again",
        steps=(Step("kill", "all"), Step("hold", seconds=60), Step("heal"), Step("whole")),
        errors_max=0, reads=True, hints=("The brokers are well.", "New clients find nobody."),
    ),
    Drill(
        name="forget_nameserver",
        title="A nameserver restarts empty",
        proves="it stays silent until it has learnt anew from the others",
        harm="one nameserver does not answer for some seconds",
        revert="nothing to undo: what it kept is beside its folder until it is whole",
        steps=(Step("forget", "last"), Step("hold", seconds=10), Step("heal"), Step("whole")),
        errors_max=0, reads=True, nameservers_min=2,
        hints=("One nameserver knows less than the others.",),
    ),
    Drill(
        name="disk_full",
        title="The master's disk is full",
        proves="sends are refused by name, reads go on, and it ends by itself",
        harm="sends to this pair are refused while the disk is full",
        revert="the file that fills the disk is removed",
        steps=(Step("fill", "master"), Step("hold", seconds=15), Step("heal"), Step("whole")),
        after_heal_max_s=10, causes=frozenset({"SERVICE_NOT_AVAILABLE"}), reads=True,
        laptop=_root("disk_full"),
        hints=("Sends are refused with a reason: read it.", "df says more."),
    ),
    Drill(
        name="slow_disk",
        title="The slave's disk is slow",
        proves="slower, never wrong",
        harm="sends to this pair are as slow as the slave's disk",
        revert="the limit of the unit is taken away",
        steps=(Step("slow", "slave"), Step("hold", seconds=20), Step("heal"), Step("whole")),
        after_heal_max_s=30, reads=True, laptop=_root("slow_disk"),
        hints=("Nothing is refused, everything is late.", _LOOK),
    ),
    Drill(
        name="stall_master",
        title="Stall the master",
        proves="a master that wakes up after its replacement takes no write",
        harm="no sends to this pair until the slave is promoted and clients gave up waiting",
        revert="the process goes on (SIGCONT)",
        steps=(
            Step("stall", "master"), Step("promote", "slave"), Step("hold", seconds=8),
            Step("heal"), Step("whole"),
        ),
        rto_max_s=30, moved=True, hints=("Its port still takes connections.", _LOOK, _PROMOTE),
    ),
    Drill(
        name="slave_behind",
        title="The slave is far behind when the master dies",
        proves="the guard refuses to promote who lacks acknowledged messages",
        harm="one copy only, then no sends to this pair until the master is back",
        revert="both processes go on",
        steps=(
            Step("stall", "slave"), Step("degrade", "master"), Step("hold", seconds=5),
            Step("kill", "master"), Step("start", "slave"), Step("refused", "slave"),
            Step("hold", seconds=3), Step("heal"), Step("whole"),
        ),
        after_heal_max_s=60, hints=("The slave lacks something.", "Only the old master has all."),
    ),
    Drill(
        name="rolling_restart",
        title="Rolling restart",
        proves="every process is restarted, and clients do not notice",
        harm="a pause below a second at each handover",
        revert="what stands still is started",
        steps=(
            Step("restart", "slave"), Step("whole"), Step("switchover", "slave"),
            Step("restart", "master"), Step("heal"), Step("whole"),
        ),
        rto_max_s=10, moved=True, attempts=10,
    ),
    Drill(
        name="old_master_returns",
        title="The old master returns after a long absence",
        proves="it gives up what it alone had, and copies what it missed",
        harm="no sends to this pair until the slave is promoted; then one copy for a minute",
        revert="the master's process is started again and follows",
        steps=(
            Step("kill", "master"), Step("promote", "slave"), Step("hold", seconds=60),
            Step("heal"), Step("whole"),
        ),
        rto_max_s=15, moved=True, hints=("A process is gone.", _LOOK, _PROMOTE),
    ),
    Drill(
        name="wrong_key",
        title="The pair's key is changed on one side",
        proves="a slave with another key is refused, and the master says why it refuses sends",
        harm="sends to this pair are refused until both have one key again",
        revert="the key is put back and the slave restarted",
        steps=(Step("key", "slave"), Step("hold", seconds=12), Step("heal"), Step("whole")),
        after_heal_max_s=60, reads=True,
        hints=("The slave is up and does not follow.", "Read its log."),
    ),
)  # fmt: skip

BY_NAME: Final = {drill.name: drill for drill in DRILLS}


def find(name: str) -> Drill | None:
    """Also with dashes, as commands are typed."""
    return BY_NAME.get(name.replace("-", "_"))


def seconds_of(drill: Drill, steady_s: float) -> float:
    """How long it takes when all goes well: the holds, and some for everything else."""
    holds = sum(step.seconds for step in drill.steps)
    waits = sum(step.do in {"whole", "promote", "switchover", "degrade"} for step in drill.steps)
    return steady_s + holds + 10.0 * waits


def fault_seconds(drill: Drill) -> float:
    """After so long the armed revert heals: the longest that the fault may last by plan, twice,
    and what a slow controller may take."""
    return 120.0 + 2.0 * (seconds_of(drill, 0.0))
