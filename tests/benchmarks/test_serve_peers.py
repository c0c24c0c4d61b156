"""Configurations of the peers, and the programs' own opinion of them where they are installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.serve import certificates, peers
from benchmarks.serve.peers import Ports
from onebox.ports import free_port

PORTS = Ports(8001, 8002)


def configurations(folder: str, ports: Ports = PORTS) -> dict[str, str]:
    return {
        "static": peers.nginx_static(folder, ports, f"{folder}/files"),
        "cache": peers.nginx_cache(folder, ports, f"{folder}/stored", 8003),
        "origin": peers.nginx_origin(folder, ports, f"{folder}/files"),
    }


@pytest.mark.parametrize("name", ["static", "cache"])
def test_a_measured_nginx_checks_links_buffers_its_log_and_never_ends_a_connection(name: str) -> None:
    text = configurations("/b")[name]
    assert 'secure_link_md5 "$secure_link_expires$uri benchmark";' in text
    assert "access_log /b/access.log bench buffer=64k flush=5s;" in text
    assert "keepalive_requests 1000000000;" in text
    assert "worker_processes 1;" in text


@pytest.mark.parametrize("name", ["static", "cache", "origin"])
def test_an_nginx_listens_with_tcp_nopush_off_and_on(name: str) -> None:
    found = re.findall(r"listen 127\.0\.0\.1:(\d+) backlog=4096;\s+tcp_nopush (\w+);", configurations("/b")[name])
    assert found == [("8001", "off"), ("8002", "on")]


def test_an_nginx_by_tls_shows_our_kind_of_certificate_at_a_port_of_its_own() -> None:
    tls = peers.nginx_tls("/b/play.crt", "/b/play.key")
    text = peers.nginx_static("/b", Ports(8001, 8002, 8003), "/b/files", tls)
    assert "listen 127.0.0.1:8003 ssl backlog=4096;" in text
    assert "ssl_protocols TLSv1.3;" in text
    assert text.count("secure_link_md5") == 3
    assert "ssl" not in peers.nginx_static("/b", PORTS, "/b/files")


def test_the_cache_is_keyed_by_slice_and_not_by_query() -> None:
    text = configurations("/b")["cache"]
    assert "proxy_cache_key $uri$slice_range;" in text
    assert "slice 1m;" in text
    assert "server 127.0.0.1:8003;" in text


def test_varnish_drops_the_query_and_holds_everything_in_memory() -> None:
    assert 'regsub(req.url, "\\?.*$", "")' in peers.varnish_vcl(8003)
    command = peers.varnish_command("/b/v", 8001, "/b/v.vcl", 3000)
    assert command[command.index("-s") + 1] == "malloc,3000M"
    assert command[command.index("-a") + 1] == "127.0.0.1:8001"


def test_traffic_server_keeps_large_objects_in_memory_at_once() -> None:
    text = peers.trafficserver_records("/b", 8001, 3000)
    assert "CONFIG proxy.config.cache.ram_cache.size INT 3000M\n" in text
    assert "CONFIG proxy.config.cache.ram_cache.use_seen_filter INT 0\n" in text
    assert peers.trafficserver_remap(8003).startswith("map / http://127.0.0.1:8003/ @plugin=cachekey.so")


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
@pytest.mark.parametrize("name", ["static", "cache", "origin"])
def test_nginx_takes_its_configuration(name: str, tmp_path: Path) -> None:
    conf = tmp_path / "nginx.conf"
    conf.write_text(configurations(str(tmp_path), Ports(free_port(), free_port()))[name])
    said = subprocess.run(
        ["nginx", "-t", "-c", str(conf), "-p", str(tmp_path), "-e", str(tmp_path / "error.log")],
        capture_output=True,
        check=False,
    )
    assert b"test is successful" in said.stderr, said.stderr.decode()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_takes_its_tls_configuration(tmp_path: Path) -> None:
    files = certificates.write(tmp_path)
    ports = Ports(free_port(), free_port(), free_port())
    conf = tmp_path / "nginx.conf"
    conf.write_text(
        peers.nginx_static(str(tmp_path), ports, f"{tmp_path}/files", peers.nginx_tls(files.cert, files.key))
    )
    said = subprocess.run(
        ["nginx", "-t", "-c", str(conf), "-p", str(tmp_path), "-e", str(tmp_path / "error.log")],
        capture_output=True,
        check=False,
    )
    assert b"test is successful" in said.stderr, said.stderr.decode()


@pytest.mark.skipif(shutil.which("varnishd") is None, reason="Varnish is not installed")
def test_varnish_compiles_its_vcl(tmp_path: Path) -> None:
    vcl = tmp_path / "bench.vcl"
    vcl.write_text(peers.varnish_vcl(8003))
    said = subprocess.run(["varnishd", "-j", "none", "-C", "-f", str(vcl)], capture_output=True, check=False)
    assert said.returncode == 0, said.stderr.decode()
