"""What lies outside, and which faults of it there are: each a named option (`--faults`)."""

from __future__ import annotations

from typing import Final

MODELS: Final[dict[str, tuple[str, ...]]] = {
    "network: loss": ("lossy-link", "isolate-leader"),
    "network: delay, and by it another order between links": (
        "slow-link",
        "slow-election",
        "late-grant",
    ),
    "network: cuts": ("cut", "isolate", "pair-parted", "flap", "hand-over-cut"),
    "network: cuts one way": ("cut-one-way", "mute", "deafen", "cut-when-admitted"),
    "network: two of them, of which one fails": ("ring-down",),
    "network: what only one replica reaches": ("uplink-lost",),
    "network: a second session beside one that an end still believes in": ("reset",),
    "network: a peer that says what no member says": ("hostile-peer",),
    # Every plan draws the drift of each clock, up to what is allowed for.
    "clocks: steps of the wall clock": ("wall-step",),
    "processes: killed, restarted, stopped in order": (
        "kill",
        "restart-late",
        "shutdown",
        "rest",
        "rest-twice",
        "leave",
    ),
    "processes: paused and continued": ("stop", "stop-active", "worker-stop"),
    "machines: paused and resumed": ("sleep", "freeze", "freeze-and-lie", "begin-anew"),
    "machines: without power": (
        "power-off",
        "power-off-both",
        "power-off-all",
        "die-while-comparing",
        "strike-settling",
    ),
    "disks: slow, full, torn at a crash": (
        "volume-slow",
        "volume-full",
        "torn",
        "slow-sync",
        "volume-reset",
        "vote-crash",
        "disk-bad",
    ),
    # The kernel ends addresses and the gate late by itself, in every plan.
    "kernel: lifetimes of addresses, time-outs of the gate": (
        "vip-refuses",
        "vip-held-up",
        "vip-stuck",
        "actions-slow",
        "in-phase",
        "action-fails",
    ),
    "network: a third host that has the address": ("address-claimed",),
    "devices: fencing that refuses, hangs, lies, is late; the watchdog": (
        "device-fails",
        "device-mood",
    ),
    "services: they end, do no work, do not start, do not stop, are slow": (
        "service-dies",
        "service-fails",
        "service-sick",
        "service-broken",
        "service-broken-everywhere",
        "service-clings",
        "service-slow",
    ),
    "journal: positions, barriers, the worker": ("worker-kill", "trim-journal"),
    "operators at bad moments": (
        "switchover",
        "cancel",
        "maintenance",
        "force-active",
        "given-up",
        "service-clear",
        "schedule",
        "other-switchover",
    ),
    "releases": ("upgrade", "put-back"),
}

__all__ = ["MODELS"]
