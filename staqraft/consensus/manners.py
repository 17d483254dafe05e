"""How members meet over the network: what is kept alive how, and how much of its work may wait.

A dead host and a frozen or stuck process are found by heartbeats of ours. HTTP/2 pings of the side
that was dialled are answered by the other's loop, not by a thread of a library; so they are no more
impatient than the heartbeats. How soon is a matter of the cluster's own timing: where elections
take a second, so may that, and hundreds of sessions stay quiet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

REDIAL_S: Final = 0.1
# A leader steps down after 0.9 election timeouts without acknowledgements: with what lies between
# two of its messages (0.33 at most) this stays below.
LONGEST_PATIENCE: Final = 0.4  # of the shortest election timeout
MAX_MESSAGE_BYTES: Final = 4 << 20  # parsed before we see it; empty messages grow sixtyfold
SILENT_HEARTBEATS: Final = 4  # so many heartbeat periods without a message end a session
_HEARTBEAT_S: Final = 0.25
_LONGEST_HEARTBEAT_S: Final = 0.7  # a peer of an older version gives up after a second

# The server that the service is added to needs `SERVER_OPTIONS`.
KEEPALIVE: Final = (
    ("grpc.keepalive_time_ms", 500),
    ("grpc.keepalive_timeout_ms", 1000),
    ("grpc.http2.ping_timeout_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
SERVER_OPTIONS: Final = (
    *KEEPALIVE,
    # Raft says little: to measure how much a connection could carry costs more than what it says.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 100),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 100),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How a node meets its peers, and how much of its work may wait.

    An attempt to connect may take `attempt_s`, and the next follows after `first_retry_s`, later
    after up to `longest_retry_s`; then the opening of a session is answered within `answer_s`. An
    opening that was refused is sent anew, and a session that ended soon is dialled again, after up
    to `longest_redial_s`.

    `messages_per_s`: more of one peer wait; None: no limit. `linger`: as a follower whom nobody
    waits for it takes in what was appended after this part of the shortest election timeout, in
    one go, and asks its peers to send it so (`bundles`); 0: at once. `snapshot_after`: entries
    that the log may have.
    """

    attempt_s: float = 0.4
    answer_s: float = 2.0
    first_retry_s: float = 0.05
    longest_retry_s: float = 0.2
    longest_redial_s: float = REDIAL_S
    messages_per_s: float | None = None
    linger: float = 0.0
    snapshot_after: int | None = None


PLAIN: Final = Manners()

# Among many clusters none may take more than its share: who sends too much waits, who breaks its
# sessions again and again is dialled ever more seldom, and who is away is not asked for all the
# time. The bounds on bytes are far above what a witness of one pair needs.
_SHARED: Final = (
    ("grpc.keepalive_time_ms", 2000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", 2000),
)
SHARED_SERVER_OPTIONS: Final = (*SERVER_OPTIONS, *_SHARED)
SHARED: Final = Manners(
    # Hundreds are dialled at once after a restart: on a busy machine a shorter time would end most
    # attempts just before they succeed, for ever.
    attempt_s=8.0,
    answer_s=8.0,
    longest_retry_s=2.0,
    longest_redial_s=2.0,
    messages_per_s=200.0,
    linger=LONGEST_PATIENCE,
    snapshot_after=250,
)


def heartbeat_s(election_min_ms: int) -> float:
    """How long a session is silent before a heartbeat is sent."""
    return min(_LONGEST_HEARTBEAT_S, max(_HEARTBEAT_S, 0.0007 * election_min_ms))


def keepalive(election_min_ms: int) -> tuple[tuple[str, int], ...]:
    """Pings where heartbeats are rarer than usual: not before one of those was missed."""
    period_s = heartbeat_s(election_min_ms)
    if period_s <= _HEARTBEAT_S:
        return ()
    patience_ms = round(1000 * SILENT_HEARTBEATS * period_s)
    return (
        ("grpc.keepalive_time_ms", round(1500 * period_s)),
        ("grpc.keepalive_timeout_ms", patience_ms),
        ("grpc.http2.ping_timeout_ms", patience_ms),
    )
