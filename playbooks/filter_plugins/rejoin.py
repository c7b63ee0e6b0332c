"""What bringing a member of a pair back means, from what everybody says of the pair. Pure functions.

    pair status, who has a store ──▶ rejoin ──┬─ problem    why nothing may be done now
                                              ├─ degrade    whose copy must count alone first
                                              ├─ text       what is going to happen, for the plan
                                              └─ answered   who told how it stands

A store that is new never takes the place of a counted one by itself: the counted one may only be
away, and it alone may hold what was acknowledged. So an operator says by name which replica is
rebuilt, and its old copy stops counting by a record before the empty one starts.
"""

import json

LEADING = ("owner", "owner, paused")
SHOWN = 8  # characters of a store id, as the command line shows them


def parsed(text):
    """`pair status --json`, or an empty one where it said nothing that can be read."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def by_name(status, pair):
    """The replicas that answered, as NAME/ID."""
    return {"%s/%d" % (pair, r["replica_id"]): r for r in status.get("replicas", {}).values()}


def counted(replica):
    """The store ids whose copies count, of the record in force."""
    return replica["kept"]["settled"]["members"]


def leads(replica):
    """Whether it owns the pair with a lease, or was interrupted while it began to count alone."""
    if replica["state"] in LEADING:
        return True
    kept, proposed = replica["kept"], replica["kept"]["proposed"]
    mine = kept["settled"]["epoch"][1] == kept["store_id"] and not kept["fenced"]
    return mine and proposed is not None and proposed["members"] == [kept["store_id"]]


def lost_copy(owner):
    """The id of the counted store that is not the owner's, as people see it."""
    mine = owner["kept"]["store_id"]
    return next((each[:SHOWN] for each in counted(owner) if each != mine), "")


def without_store(members, hostvars):
    """Members whose host was read and has no store in their folder."""
    known = {each["replica"]: hostvars[each["host"]].get("rejoin_host") for each in members}
    return [
        each["replica"]
        for each in members
        if known[each["replica"]] and each["data"] not in known[each["replica"]]["facts"]["stores"]
    ]


def strangers(owner, others, answered, empty):
    """Those whose store is none that counts, as far as anybody can tell; none where one copy counts."""
    if len(counted(owner)) < 2:
        return []
    told = {name: answered[name]["kept"]["store_id"] for name in others if name in answered}
    return [n for n in others if (told[n] not in counted(owner) if n in told else n in empty)]


def problem_of(leader, strange, members, rebuild, instruction):
    """Why nothing may be done now; empty where it may. `leader` is (NAME/ID, its status) or None."""
    if rebuild and rebuild not in members:
        return "%s is none of %s" % (rebuild, ", ".join(members))
    if rebuild and leader is None:
        words = "%s is not rebuilt while no whole copy leads the pair: %s"
        return words % (rebuild, instruction)
    if rebuild and leader[0] == rebuild:
        words = "%s is the master, the copy that others are rebuilt from: switchover.yml first"
        return words % rebuild
    if strange and rebuild not in strange:
        words = (
            "%s has an empty or new store, and the copy that counts is %s: bring that one back, "
        )
        words += "or, if it is lost for good, -e rebuild=%s"
        return words % (strange[0], lost_copy(leader[1]), strange[0])
    return ""


def rejoin(text, pair, members, hostvars, rebuild=""):
    """What to do with a pair; `members` are its instances, with their hosts."""
    status, names = parsed(text), [each["replica"] for each in members]
    answered = by_name(status, pair)
    leader = next((item for item in sorted(answered.items()) if leads(item[1])), None)
    strange = []
    if leader is not None:
        others = [name for name in names if name != leader[0]]
        strange = strangers(leader[1], others, answered, without_store(members, hostvars))
    instruction = status.get("instruction", {}).get("text") or "nobody answered"
    problem = problem_of(leader, strange, names, rebuild, instruction)
    found = {"problem": problem, "degrade": "", "answered": sorted(answered)}
    back = "wait until both copies of %s count" % pair
    if problem or not strange:
        return {**found, "text": "start what stands still, " + back}
    words = (leader[0], lost_copy(leader[1]), rebuild, back)
    plan = "let %s count alone without %s, copy everything from it to %s, %s" % words
    return {**found, "degrade": leader[0], "text": plan}


class FilterModule:
    """What templates may call."""

    def filters(self):
        return {"bt_rejoin": rejoin}
