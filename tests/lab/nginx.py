"""Debian's nginx as the lab's managed service, with a configuration of its own and no shell."""

from __future__ import annotations

PIDFILE = "/run/nginx.pid"
CONFIGURATION = "/etc/staqraft/nginx.conf"
PROGRAM = "/usr/sbin/nginx"

TEXT = f"""# nginx of a lab host: on every address, so that the VIP is served as soon as it is there
user root;
worker_processes 1;
pid {PIDFILE};
error_log /var/log/staqraft/nginx.log;
events {{ worker_connections 512; }}
http {{
    include /etc/nginx/mime.types;
    access_log off;
    client_body_temp_path /run/nginx-body;
    proxy_temp_path /run/nginx-proxy;
    fastcgi_temp_path /run/nginx-fastcgi;
    uwsgi_temp_path /run/nginx-uwsgi;
    scgi_temp_path /run/nginx-scgi;
    server {{
        listen 0.0.0.0:80 default_server;
        root /srv/www;
    }}
}}
"""

_CONTROL = ["start-stop-daemon", "--quiet", "--pidfile", PIDFILE]
START = [
    *_CONTROL, "--start", "--oknodo", "--exec", PROGRAM, "--", "-e", "stderr", "-c", CONFIGURATION
]  # fmt: skip
STOP = [*_CONTROL, "--stop", "--oknodo", "--retry", "QUIT/1/TERM/2/KILL/2", "--name", "nginx"]
CHECK = [*_CONTROL, "--status"]
