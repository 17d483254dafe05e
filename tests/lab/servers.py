"""Debian's postfix, dovecot and bind9 as managed services of a lab host, beside nginx.

Mail for anybody at example.org goes from postfix over LMTP to dovecot, which keeps it as Maildir in
the replicated tree `mail`; bind9 answers for example.org from a zone in the tree `accounts`. What
they keep for themselves (queue, sockets, pid files) is below the host's own /run.
"""

from __future__ import annotations

import json
import shutil
from typing import Any, Final

from lab import nginx
from lab.cluster import GROUP, Cluster
from lab.lab import Lab
from lab.layout import REPLICAS, VIP

PACKAGES: Final = {"postfix": "postfix", "dovecot": "dovecot-imapd", "named": "bind9"}
DOMAIN: Final = "example.org"
NAME: Final = f"www.{DOMAIN}"
ETC: Final = "/etc/staqraft"
STOP_NAMED: Final = f"{ETC}/named.stop"

_MAIN_CF: Final = f"""compatibility_level = 3.6
queue_directory = /run/postfix-queue
data_directory = /var/lib/postfix
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = /var/log/staqraft/postfix.log
myhostname = mail.{DOMAIN}
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
mynetworks = 127.0.0.0/8 10.77.0.0/16
inet_protocols = ipv4
smtpd_peername_lookup = no
disable_dns_lookups = yes
virtual_mailbox_domains = {DOMAIN}
virtual_mailbox_maps = static:all
virtual_transport = lmtp:unix:/run/dovecot/lmtp
smtpd_tls_security_level = may
smtpd_tls_cert_file = {ETC}/tls/NODE.pem
smtpd_tls_key_file = {ETC}/tls/NODE.key
"""

_MASTER_CF: Final = """smtp      inet  n - n - - smtpd
postlog   unix-dgram n - n - 1 postlogd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
error     unix  - - n - - error
retry     unix  - - n - - error
lmtp      unix  - - n - - lmtp
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
"""

_DOVECOT: Final = """base_dir = /run/dovecot
state_dir = /run/dovecot
log_path = /var/log/staqraft/dovecot.log
protocols = imap lmtp
ssl = no
disable_plaintext_auth = no
first_valid_uid = 8
first_valid_gid = 8
mail_location = maildir:/srv/mail/%n
postmaster_address = postmaster@example.org
hostname = mail.example.org
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = static
  args = uid=mail gid=mail home=/srv/mail/%n
}
service imap-login {
  inet_listener imaps {
    port = 0
  }
}
service lmtp {
  unix_listener lmtp {
    mode = 0666
  }
}
"""

_NAMED: Final = f"""options {{
  directory "/run";
  pid-file "/run/named.pid";
  session-keyfile "/run/named.session";
  recursion no;
  dnssec-validation no;
  listen-on {{ any; }};
  listen-on-v6 {{ none; }};
}};
controls {{ }};
zone "{DOMAIN}" {{ type primary; file "/srv/etc/{DOMAIN}.zone"; }};
"""

ZONE: Final = f"""$TTL 60
@ IN SOA ns.{DOMAIN}. admin.{DOMAIN}. 1 3600 600 86400 60
@ IN NS ns.{DOMAIN}.
ns IN A {VIP}
www IN A {VIP}
"""


def _control(pid_file: str, stop: str = "TERM/5/KILL/2") -> tuple[list[str], list[str]]:
    """start-stop-daemon's words for starting and stopping what has this pid file."""
    base = ["start-stop-daemon", "--quiet", "--oknodo", "--pidfile", pid_file]
    return [*base, "--start"], [*base, "--stop", "--retry", stop]


def _services() -> dict[str, Any]:
    dovecot_start, dovecot_stop = _control("/run/dovecot/master.pid")
    named_start, _ = _control("/run/named.pid")
    _, postfix_stop = _control("/run/postfix-queue/pid/master.pid")
    postfix = ["postfix", "-c", f"{ETC}/postfix"]
    common = {
        "start_timeout": "10s",
        "stop_timeout": "10s",
        "check_interval": "500ms",
        "restarts": 2,
        "restart_window": "5m",
    }
    return {
        "nginx": {
            "start": nginx.START,
            "stop": nginx.STOP,
            "checks": [{"http": "http://127.0.0.1/", "status": [200, 403], "failures": 2}],
            **common,
        },
        "named": {
            "start": [*named_start, "--exec", "/usr/sbin/named", "--", "-n", "1", "-c",
                      f"{ETC}/named.conf"],
            "stop": ["sh", STOP_NAMED],
            "checks": [
                {"dns": "127.0.0.1", "name": NAME, "expect": VIP, "failures": 2},
                {"dns": VIP, "name": NAME, "expect": VIP, "failures": 4},
            ],
            **common,
        },
        "dovecot": {
            "start": [*dovecot_start, "--exec", "/usr/sbin/dovecot", "--", "-c",
                      f"{ETC}/dovecot.conf"],
            "stop": dovecot_stop,
            "checks": [{"imap": "127.0.0.1", "failures": 2},
                       {"lmtp": "/run/dovecot/lmtp", "failures": 2}],
            **common,
        },
        "postfix": {
            "start": [*postfix, "start"],
            # 'postfix stop' says no when it does not run.
            "stop": postfix_stop,
            "checks": [
                {"smtp": "127.0.0.1", "starttls": True, "verify": False, "failures": 2},
                {"pid_file": "/run/postfix-queue/pid/master.pid", "failures": 2},
            ],
            **common,
        },
    }  # fmt: skip


def missing() -> str:
    """What is to be installed; nothing if all is there."""
    packages = [
        package
        for program, package in PACKAGES.items()
        if shutil.which(program, path="/usr/sbin:/usr/bin") is None
    ]
    return f"apt-get install {' '.join(packages)}" if packages else ""


def install(cluster: Cluster) -> None:
    """After `Cluster.install`, before its daemons are started."""
    for node in REPLICAS:
        etc = cluster.lab.host_directory(node) / "etc"
        (etc / "postfix").mkdir()
        (etc / "postfix" / "main.cf").write_text(_MAIN_CF.replace("NODE", node))
        (etc / "postfix" / "master.cf").write_text(_MASTER_CF)
        (etc / "dovecot.conf").write_text(_DOVECOT)
        mend_named(cluster.lab, node)
        cluster.lab.run(node, ["mkdir", "/run/postfix-queue"])
    for node in cluster.lab.members:
        path = cluster.lab.host_directory(node) / "etc" / "staqraft.yaml"
        text = json.loads(path.read_text())
        text["groups"][GROUP]["services"] = _services()
        path.write_text(json.dumps(text, indent=2))
    cluster.lab.run("a", ["mkdir", "-p", "/srv/etc"])
    cluster.lab.run("a", ["tee", f"/srv/etc/{DOMAIN}.zone"], text=ZONE)
    cluster.lab.run("a", ["install", "-d", "-o", "mail", "-g", "mail", "/srv/mail/anna"])


def break_named(lab: Lab, node: str) -> None:
    """From now on it does not start there."""
    (lab.host_directory(node) / "etc" / "named.conf").write_text("this is { no configuration\n")


def make_named_unstoppable(lab: Lab, node: str) -> None:
    """From now on it says that it cannot be stopped there."""
    (lab.host_directory(node) / "etc" / "named.stop").write_text("echo it hangs >&2; exit 1\n")


def mend_named(lab: Lab, node: str) -> None:
    """As it should be."""
    _, stop = _control("/run/named.pid")
    etc = lab.host_directory(node) / "etc"
    (etc / "named.conf").write_text(_NAMED)
    (etc / "named.stop").write_text(f"exec {' '.join(stop)}\n")
