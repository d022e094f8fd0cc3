"""The proxies of a measurement: how each is configured and started.

PEERS, at the end, is the list.  All get one worker or thread, their
manual's way to pass WebSockets, and no access log but nginx' own default.
Corral alone has more to do: what everything_on() says.
"""

import os
import shutil

from failure import Failure
from registry import Registry
from rig import (BUILD, Proxy, children, free_port, handshake, program,
                 wait_for)

CHP = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                   'node/node_modules/.bin/configurable-http-proxy')


def nginx_path():
    own = os.path.join(BUILD, 'nginx')
    return own if os.path.exists(own) else '/usr/sbin/nginx'


def everything_on():
    """What Corral has switched on in every measurement, in three places: lines
    of http{}, lines of location{}, fields of the service's document.

    Counting, the connection list and the log record cannot be switched off.
    A step that comes to the gateway and costs something is added here, and
    nowhere else.  A request is routed by one of 100 rules, and its client is
    kept on its instance.
    """
    return {
        'http': 'map $host $expires { default 4102444800; }',
        'location': 'corral_expires $expires;',
        'service': {'ping_interval': '20s', 'ping_timeout': '20s',
                    'idle_timeout': '1h', 'max_message_size': 16 << 20,
                    'max_sessions': 1000000, 'message_rate': 1000000,
                    'message_burst': 1000000, 'affinity': 'client_ip'},
        'rules': [Registry.rule(f'tenant-{k}', f'agents-{k}.example', 'echo')
                  for k in range(99)]
                 + [Registry.rule('here', '127.0.0.1', 'echo')],
    }


# nginx

def nginx(rig, name, http, path='/', globals_='', workers=1, wrapper=None,
          env=None, tls=False):
    place = rig.place(name)
    port = free_port()
    single = 'master_process off;' if wrapper else ''
    listen = f'127.0.0.1:{port} backlog=4096'

    if workers > 1:
        listen += ' reuseport'          # else one worker may take them all
    if tls:
        cert, key, _ = rig.certificate()
        listen += f' ssl;\n        ssl_certificate {cert};\n' \
                  f'        ssl_certificate_key {key}'

    with open(f'{place}/nginx.conf', 'w') as f:
        f.write(f"""
{globals_}
daemon off;
{single}
user root;
pid {place}/nginx.pid;
error_log {place}/error.log warn;
worker_processes {workers};
worker_rlimit_nofile 20000;

events {{
    worker_connections 20000;
}}

http {{
    access_log {place}/access.log;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    keepalive_requests 1000000000;
{http.replace('@LISTEN@', listen)}
}}
""")

    process = rig.start(name, (wrapper or []) + [
        nginx_path(), '-p', place, '-c', f'{place}/nginx.conf'], env=env)
    rig.up(process, port, 60)
    proxy = Proxy(name, process, port, path, tls)

    if not wrapper:
        proxy.workers = wait_for('workers', lambda: len(
            children(process.pid)) == workers and children(process.pid))
        proxy.pid = proxy.workers[0]
    return proxy


def stock(rig, agents, name='stock', tuning='', **more):
    """nginx as its manual says it for WebSocket, and for all else."""
    servers = '\n'.join(f'        server 127.0.0.1:{a};' for a in agents)
    return nginx(rig, name, f"""
    upstream agents {{
{servers}
        keepalive 64;
    }}
    server {{
        listen @LISTEN@;
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        proxy_read_timeout 1h;
        {tuning}

        location / {{
            proxy_pass http://agents;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
        }}
        location = /json {{
            proxy_pass http://agents;
            proxy_set_header Host $host;
            proxy_set_header Connection "";
        }}
        location = /sse {{
            proxy_pass http://agents;
            proxy_set_header Host $host;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
""", **more)


def tuned(rig, agents, **more):
    return stock(rig, agents, 'tuned',
                 'proxy_buffer_size 64k; proxy_buffers 8 64k;', **more)


def small(rig, agents, **more):
    """As little memory as its directives allow."""
    return stock(rig, agents, 'small',
                 'proxy_buffer_size 1k; proxy_buffers 2 1k; '
                 'proxy_busy_buffers_size 1k; client_header_buffer_size 512; '
                 'connection_pool_size 256; request_pool_size 1k;', **more)


# Corral

def corral(rig, agents=(), registry=None, docs=None, redis=True,
           service='echo', turns=None, http='', fields=None, **more):
    """Corral with everything_on(); http are more lines of http{}, fields more
    of the service's document.  Given docs are all there are: no rules.

    Without Redis the registry is a state file: what callgrind counts is then
    the traffic alone, not what a slow process publishes meanwhile.
    """
    module = f'{BUILD}/ngx_http_corral_module.so'
    if not os.path.exists(module):
        raise Failure(f'{module} is missing: run "make build"')

    on = everything_on()
    path = f'/agents/{service}/'
    if docs is None:
        path = '/'
        docs = [Registry.service(service, **on['service'], **(fields or {}))]
        docs += [Registry.instance(k + 1, service, a)
                 for k, a in enumerate(agents)]
        docs += on['rules']

    if redis:
        registry = registry or rig.registry()
        registry.fill(docs, 'first')
        source = f'corral_redis unix:{registry.path};'
        cluster = registry.cluster
    else:
        source = f'corral_state_file {rig.state_file(docs)};'
        cluster = 'bench'

    globals_ = f'load_module {module};\n'
    env = None
    if turns:
        globals_ += 'env CORRAL_TURNS;\n'
        env = {'LD_PRELOAD': program('turns.so'), 'CORRAL_TURNS': turns}

    proxy = nginx(rig, 'corral', f"""
    corral_zone corral 16m;
    corral_cluster {cluster};
    corral_node bench;
    corral_gateway bench;
    {source}
    {on['http']}
    {http}
    upstream agents {{
        corral;
        keepalive 64;
    }}
    server {{
        listen @LISTEN@;
        location / {{
            corral_service_from rules path;
            corral_websocket agents;
            {on['location']}
            proxy_pass $corral_scheme://agents;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $corral_host;
            proxy_buffering off;
            proxy_read_timeout 1h;
        }}
        location = /status {{
            corral_status;
        }}
    }}
""", path=path, globals_=globals_, env=env, **more)
    proxy.registry = registry
    wait_for('the registry of Corral', lambda: ready(proxy), 120)
    return proxy


def ready(proxy):
    """Does each worker serve a registry?  One of several is known by its
    lease, or without Redis, by many handshakes."""
    if len(proxy.workers) == 1 or proxy.registry is None:
        return all(' 101 ' in handshake(proxy)
                   for _ in range(16 * len(proxy.workers) - 15))
    leases = proxy.registry.leases()
    return len([x for x in leases if int(x.get('instances', 0))]) \
        == len(proxy.workers)


# the others

def haproxy(rig, agents, tls=False):
    port = free_port()
    conf = f'{rig.place("haproxy")}/haproxy.cfg'
    crypt = f' ssl crt {rig.certificate()[2]}' if tls else ''
    servers = '\n'.join(f'    server agent{a} 127.0.0.1:{a}' for a in agents)
    with open(conf, 'w') as f:
        f.write(f"""
global
    nbthread 1
    maxconn 9000

defaults
    mode http
    timeout connect 5s
    timeout client  1h
    timeout server  1h
    timeout tunnel  1h

frontend in
    bind 127.0.0.1:{port}{crypt} backlog 4096
    default_backend agents

backend agents
{servers}
""")
    process = rig.start('haproxy', ['haproxy', '-db', '-f', conf])
    rig.up(process, port)
    return Proxy('haproxy', process, port, '/', tls)


def caddy(rig, agents, tls=False):
    port = free_port()
    place = rig.place('caddy')
    cert, key, _ = rig.certificate() if tls else (None, None, None)
    site = f'https://127.0.0.1:{port}' if tls else f'http://:{port}'
    crypt = f'tls {cert} {key}' if tls else ''
    to = ' '.join(f'127.0.0.1:{a}' for a in agents)
    with open(f'{place}/Caddyfile', 'w') as f:
        f.write(f"""{{
    admin off
    auto_https off
}}
{site} {{
    bind 127.0.0.1
    {crypt}
    reverse_proxy {to}
}}
""")
    process = rig.start('caddy', [
        'caddy', 'run', '--config', f'{place}/Caddyfile', '--adapter',
        'caddyfile'], env={'GOMAXPROCS': '1', 'HOME': place,
                           'XDG_DATA_HOME': place, 'XDG_CONFIG_HOME': place})
    rig.up(process, port)
    return Proxy('caddy', process, port, '/', tls)


def chp(rig, agents, tls=False):
    port, api = free_port(), free_port()
    cert, key, _ = rig.certificate() if tls else (None, None, None)
    process = rig.start('chp', [
        CHP, '--ip', '127.0.0.1', '--port', str(port), '--api-ip', '127.0.0.1',
        '--api-port', str(api), '--log-level', 'warn',
        '--default-target', f'http://127.0.0.1:{agents[0]}']
        + (['--ssl-key', key, '--ssl-cert', cert] if tls else []))
    rig.up(process, port)
    return Proxy('chp', process, port, '/', tls)


def floor(rig, agents, tls=False):
    port = free_port()
    process = rig.start('floor', [
        program('floor'), '--listen', f'127.0.0.1:{port}', '--connect',
        f'127.0.0.1:{agents[0]}'])
    rig.up(process, port)
    return Proxy('floor', process, port, '/')


class Peer:
    def __init__(self, start, text, needs=None, install=None, tls=True,
                 idle=False):
        self.start = start
        self.text = text
        self.needs = needs              # a program, or its path
        self.install = install
        self.tls = tls
        self.idle = idle                # only idle connections are measured

    def missing(self):
        """None, or what to do about it."""
        if self.needs is None or shutil.which(self.needs):
            return None
        return f'{os.path.basename(self.needs)} is not installed: ' \
               f'{self.install}'


PEERS = {
    'floor': Peer(floor, 'bare epoll relay', tls=False),
    'stock': Peer(stock, 'nginx', nginx_path(), 'apt-get install nginx'),
    'tuned': Peer(tuned, 'nginx with 64k buffers', nginx_path(),
                  'apt-get install nginx'),
    'small': Peer(small, 'nginx with the smallest buffers', nginx_path(),
                  'apt-get install nginx', idle=True),
    'haproxy': Peer(haproxy, 'HAProxy', 'haproxy', 'apt-get install haproxy'),
    'caddy': Peer(caddy, 'Caddy', 'caddy', 'apt-get install caddy'),
    'chp': Peer(chp, 'configurable-http-proxy', CHP,
                'npm ci --prefix t/bench/node'),
    'corral': Peer(corral, 'Corral, everything on', nginx_path(),
                   'apt-get install nginx'),
}
