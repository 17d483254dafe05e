"""The phases of a group on one replica, each with its sentence for `staqctl status` (PURE)."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """Where a replica is on its way to being active, or away from it."""

    STARTUP = "startup"
    RESUMING = "resuming"
    STANDBY = "standby"
    ACQUIRING = "acquiring"
    FENCING = "fencing"
    FINISHING = "finishing"
    OPENING = "opening"
    ARMING = "arming"
    CAPTURING = "capturing"
    STARTING = "starting"
    ADDRESSING = "addressing"
    ADMITTING = "admitting"
    ACTIVE = "active"
    PREPARING = "preparing"
    DRAINING = "draining"
    STOPPING = "stopping"
    FLUSHING = "flushing"
    UNADDRESSING = "unaddressing"
    RELEASING = "releasing"
    DROPPING = "dropping"
    HALTING = "halting"
    RESTING = "resting"
    LEAVING = "leaving"
    RESTED = "rested"


SENTENCES: dict[Phase, str] = {
    Phase.STARTUP: "has not heard from the Raft majority yet",
    Phase.RESUMING: "was active before its daemon restarted and renews its lease",
    Phase.STANDBY: "follows the active and is ready to be asked",
    Phase.ACQUIRING: "asks the Raft majority for the next epoch",
    Phase.FENCING: "makes sure that the former active no longer serves",
    Phase.FINISHING: "applies what it received before the takeover",
    Phase.OPENING: "opens the new epoch in the replicated record",
    Phase.ARMING: "arms the watchdog",
    Phase.CAPTURING: "starts to capture changes",
    Phase.STARTING: "starts the services",
    Phase.ADDRESSING: "takes the virtual addresses",
    Phase.ADMITTING: "opens the gate to clients",
    Phase.ACTIVE: "is active",
    Phase.PREPARING: "makes sure, before it hands over, that the other replica is at hand",
    Phase.DRAINING: "lets no new client in before it stops the services",
    Phase.STOPPING: "stops the services to hand over",
    Phase.FLUSHING: "sends the last changes to the other replica",
    Phase.UNADDRESSING: "gives the virtual addresses away",
    Phase.RELEASING: "tells the Raft majority that it let go",
    Phase.DROPPING: "lets go of the virtual addresses",
    Phase.HALTING: "stops the services after it let go of the addresses",
    Phase.RESTING: "asks, in maintenance, to leave its addresses to the kernel while it stops",
    Phase.LEAVING: "leaves its addresses and services as they are, to stop in maintenance",
    Phase.RESTED: "has left its addresses and services as they are, and stops in maintenance",
}

# The lease is renewed in these: from the acquired epoch until it is released or lost.
HOLDING = frozenset(
    {
        Phase.FENCING,
        Phase.FINISHING,
        Phase.OPENING,
        Phase.ARMING,
        Phase.CAPTURING,
        Phase.STARTING,
        Phase.ADDRESSING,
        Phase.ADMITTING,
        Phase.ACTIVE,
        Phase.PREPARING,
        Phase.DRAINING,
        Phase.STOPPING,
        Phase.FLUSHING,
        Phase.UNADDRESSING,
        Phase.RELEASING,
        Phase.RESTING,
        Phase.LEAVING,
        Phase.RESTED,
    }
)

# At rest the lease lasts by itself, and a shorter one is not to take its place.
LEFT = frozenset({Phase.LEAVING, Phase.RESTED})

# No renewal once the release is on its way: it would be refused.
RENEWING = (HOLDING | {Phase.RESUMING}) - {Phase.RELEASING} - LEFT

# The virtual addresses may be on this node in these, and are refreshed at each renewal.
ADDRESSED = frozenset(
    {
        Phase.ADDRESSING,
        Phase.ADMITTING,
        Phase.ACTIVE,
        Phase.PREPARING,
        Phase.DRAINING,
        Phase.STOPPING,
        Phase.FLUSHING,
        Phase.RESTING,
    }
)

# With a gate they are, behind it, before the services start.
ADDRESSED_BEHIND_GATE = ADDRESSED | {Phase.STARTING}

# After a restart of the daemon the addresses may still be here: a renewal keeps them.
RETURNING = frozenset({Phase.RESUMING, Phase.ARMING, Phase.CAPTURING, Phase.STARTING})

# The journal is written by this node in these: barriers have a meaning, standbys may join.
CAPTURED = ADDRESSED | {Phase.STARTING}
