"""Telling people: e-mail, webhooks and programs, never in the way of a failover.

What is told (`watch`, PURE): events of the cluster's history that this node proposed, so that of
all nodes one tells each of them; and what `staqctl status` on this node complains about, once it
has lasted, and again when it is over.

How it is told (`outbox`, PURE): each receiver has a queue of its own, bounded in time and length,
with its own limit per hour and its own tries that come further and further apart; a receiver that
hangs delays no other. `send` has the three ways out into the world, each in a thread or process of
its own under a time limit.

At least once: how far the history has been told is kept on disk, written after sending.
"""
