"""Configuration files for tests, complete and right until a test changes something."""

from __future__ import annotations

from pathlib import Path

from fakes.pki import cluster_pki

TEXT = """\
cluster: lab
node: a
nodes:
  a: {{role: replica, rings: {{service: 10.0.0.1, sync: 10.1.0.1}}}}
  b: {{role: replica, rings: {{service: 10.0.0.2, sync: 10.1.0.2}}}}
  w: {{role: witness, rings: {{service: 10.0.0.3}}}}
tls:
  ca: {tls.ca}
  certificate: {tls.certificate}
  key: {tls.key}
consensus: {{election_min: 300ms, election_max: 600ms, heartbeat: 95ms, tick: 15ms}}
lease: {{ttl: 3s, renew: 300ms}}
state_dir: {base}/state
run_dir: {base}/run
admin_socket: {base}/run/admin.sock
groups:
  default:
    initial_active: a
    trees:
      web: {{path: {base}/www, profile: web}}
      mail: {{path: {base}/mail, profile: maildir}}
    vips:
      - {{address: 10.0.0.10/24, interface: lo}}
    services:
      nginx: {{unit: nginx.service}}
"""


def write_config(directory: Path, changes: dict[str, str] | None = None) -> Path:
    """A right configuration in `directory`, after replacing each text in `changes` by another."""
    base = directory / "host"
    for name in ("www", "mail"):
        (base / name).mkdir(parents=True, exist_ok=True)
    text = TEXT.format(tls=cluster_pki().node("a"), base=base)
    for old, new in (changes or {}).items():
        assert text.count(old) >= 1, f"the text {old!r} is not in the configuration"
        text = text.replace(old, new, 1)
    path = directory / "staqraft.yaml"
    path.write_text(text)
    return path
