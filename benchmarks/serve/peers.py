"""How each peer is configured for its best: the text of its configuration and its command line. Pure.

Each is as its own documentation says for serving large immutable files from memory: one worker, `sendfile`, an open file cache, a
buffered access log, no limits on requests per connection. nginx checks `secure_link`; Varnish and Traffic Server check no token, which
favours them, and have CMCD cut from the key.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.serve.workload import SECRET

_LOG_FORMAT = 'log_format bench \'$remote_addr $msec "$request" $status $body_bytes_sent $request_time "$http_range" "$http_user_agent"\';'
_FOR_EVER = "public, max-age=31536000, immutable"
SLICE = "1m"
OPEN_FILES = 16_000
"""Files nginx keeps open: below the usual limit of descriptors (20,000), as our worker's own table is."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where one nginx listens with `tcp_nopush` off, where with it on, and where by TLS (0: nowhere)."""

    off: int
    on: int
    tls: int = 0


def nginx(
    folder: str,
    ports: Ports,
    location: str,
    http: str = "",
    *,
    log: bool = True,
    open_files: int = OPEN_FILES,
    tls: str = "",
) -> str:
    """A whole nginx.conf: the same locations on two ports, with `tcp_nopush` off and on, and with `tls` on a third by TLS 1.3."""
    access = f"access_log {folder}/access.log bench buffer=64k flush=5s;" if log else "access_log off;"
    servers = "".join(
        f"""
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    tcp_nopush {"on" if nopush else "off"};
    {location}
  }}"""
        for port, nopush in ((ports.off, False), (ports.on, True))
    )
    if tls:
        servers += f"""
  server {{
    listen 127.0.0.1:{ports.tls} ssl backlog=4096;
    {tls}
    {location}
  }}"""
    return f"""daemon off;
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 8192; }}
http {{
  default_type video/mp4;
  {_LOG_FORMAT}
  {access}
  sendfile on;
  tcp_nodelay on;
  keepalive_timeout 75s;
  keepalive_requests 1000000000;
  open_file_cache max={open_files} inactive=1h;
  open_file_cache_valid 1h;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  {http}{servers}
}}
"""


_SECURE_LINK = f"""secure_link $arg_md5,$arg_expires;
      secure_link_md5 "$secure_link_expires$uri {SECRET}";
      if ($secure_link = "") {{ return 403; }}
      if ($secure_link = "0") {{ return 410; }}"""


def nginx_origin(folder: str, ports: Ports, root: str) -> str:
    """What the caching peers are filled from; its request count shows that they answered from their caches."""
    location = f"""location = /status {{ stub_status; }}
    location /media/ {{ root {root}; add_header Cache-Control "{_FOR_EVER}"; }}"""
    return nginx(folder, ports, location, log=False)


def nginx_tls(cert: str, key: str) -> str:
    """Records of 16 KiB, its default, are its cheapest for bodies. Without kernel TLS its `sendfile` does not apply."""
    return f"""ssl_certificate {cert};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    ssl_session_tickets on;
    ssl_conf_command Options KTLS;"""


def nginx_static(folder: str, ports: Ports, root: str, tls: str = "") -> str:
    location = f"""location /media/ {{
      {_SECURE_LINK}
      root {root};
      add_header Cache-Control "{_FOR_EVER}";
    }}"""
    return nginx(folder, ports, location, tls=tls)


def nginx_cache(folder: str, ports: Ports, cache: str, origin_port: int) -> str:
    http = (
        f"proxy_cache_path {cache} levels=1:2 keys_zone=bench:64m max_size=8g inactive=24h use_temp_path=off;\n"
        f"  upstream origin {{ server 127.0.0.1:{origin_port}; keepalive 8; }}"
    )
    location = f"""location /media/ {{
      {_SECURE_LINK}
      slice {SLICE};
      proxy_cache bench;
      proxy_cache_key $uri$slice_range;
      proxy_set_header Range $slice_range;
      proxy_set_header Connection "";
      proxy_http_version 1.1;
      proxy_cache_valid 200 206 24h;
      proxy_pass http://origin;
    }}"""
    return nginx(folder, ports, location, http)


def varnish_vcl(origin_port: int) -> str:
    return f"""vcl 4.1;
backend origin {{ .host = "127.0.0.1"; .port = "{origin_port}"; }}
sub vcl_recv {{
  set req.url = regsub(req.url, "\\?.*$", "");
  return (hash);
}}
sub vcl_backend_response {{
  set beresp.ttl = 24h;
  set beresp.do_gzip = false;
}}
"""


def varnish_command(folder: str, port: int, vcl: str, memory_mib: int) -> list[str]:
    return [
        "varnishd",
        *("-F", "-j", "none", "-n", folder, "-f", vcl, "-a", f"127.0.0.1:{port}", "-s", f"malloc,{memory_mib}M"),
        *("-p", "thread_pools=1", "-p", "thread_pool_min=50", "-p", "thread_pool_max=4000", "-p", "feature=+http2"),
    ]  # fmt: skip


def varnish_log_command(folder: str) -> list[str]:
    """Varnish's own access log writer; it buffers unless told not to."""
    return ["varnishncsa", "-n", folder, "-w", f"{folder}/access.log"]


def trafficserver_records(folder: str, port: int, memory_mib: int) -> str:
    """`records.config`; the folder holds `etc`, `log`, `run` and `cache`."""
    settings = (
        ("http.server_ports", "STRING", f"{port}:ip-in=127.0.0.1"),
        ("exec_thread.autoconfig", "INT", "0"),
        ("exec_thread.limit", "INT", "1"),
        ("exec_thread.affinity", "INT", "0"),
        ("accept_threads", "INT", "0"),
        ("cache.ram_cache.size", "INT", f"{memory_mib}M"),
        ("cache.ram_cache_cutoff", "INT", "16M"),
        ("cache.ram_cache.algorithm", "INT", "1"),
        ("cache.ram_cache.use_seen_filter", "INT", "0"),
        ("cache.min_average_object_size", "INT", "32K"),
        ("http.insert_request_via_str", "INT", "0"),
        ("http.insert_response_via_str", "INT", "0"),
        ("http.keep_alive_no_activity_timeout_in", "INT", "75"),
        ("url_remap.remap_required", "INT", "1"),
        ("log.logging_enabled", "INT", "3"),
        ("log.logfile_dir", "STRING", f"{folder}/log"),
        ("admin.user_id", "STRING", "#-1"),
        ("bin_path", "STRING", "/usr/bin"),
    )
    return "".join(f"CONFIG proxy.config.{name} {kind} {value}\n" for name, kind, value in settings)


def trafficserver_remap(origin_port: int) -> str:
    """One rule for every host; the cache key leaves the query out."""
    return f"map / http://127.0.0.1:{origin_port}/ @plugin=cachekey.so @pparam=--remove-all-params=true\n"


TRAFFICSERVER_LOGGING = """logging:
  formats:
    - name: bench
      format: '%<chi> %<cqtq> "%<cqtx>" %<pssc> %<psql> %<ttms> "%<{Range}cqh>" "%<{User-Agent}cqh>"'
  logs:
    - filename: access
      format: bench
"""


def trafficserver_runroot(folder: str) -> str:
    return f"""prefix: {folder}
exec_prefix: /usr
bindir: /usr/bin
sbindir: /usr/sbin
sysconfdir: {folder}/etc
datadir: {folder}/cache
includedir: /usr/include
libdir: /usr/lib/trafficserver
libexecdir: /usr/lib/trafficserver/modules
localstatedir: {folder}/run
runtimedir: {folder}/run
logdir: {folder}/log
cachedir: {folder}/cache
"""
