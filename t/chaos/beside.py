"""The faults that any proxy can meet, done to Corral, stock nginx and HAProxy
in turn, with the same agents behind and the same clients in front.

What ends a proxy's process is started again at once, as an init system does it;
so is an agent behind a peer, while corrald does it for its own.
"""

import json
import os
import shutil
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from base import AGENTS, Checker, Nginx, established, send
from corral import Corral
from failure import Failure
from rig import children, free_port, wait_for

CLIENTS = 16
NEW = 10                    # new clients at once ...
SOON = 1                    # ... that are served if it is within a second each
AGAIN = 0.2                 # seconds until the next, if some were not
LIMIT = 20                  # seconds a fault lasts, at the most
GONE = 3                    # clients that read slowly, or are gone
RESTART = 0.1               # seconds until an agent is started again


def sockets(pid):
    """How many descriptors of a process are sockets."""
    n = 0
    for name in os.listdir(f'/proc/{pid}/fd'):
        try:
            n += os.readlink(f'/proc/{pid}/fd/{name}').startswith('socket:')
        except OSError:
            pass
    return n


class Peer:
    """Two agents on ports and a proxy in front of them."""

    def __init__(self, rig):
        self.rig = rig
        self.place = rig.place(type(self).__name__)
        self.port = free_port()
        self.agents = [(free_port(), None) for _ in range(2)]
        for k in range(2):
            self.start_agent(k)
        self.start()

    def url(self, query=''):
        return f'ws://127.0.0.1:{self.port}/{query}'

    def start_agent(self, k):
        port, _ = self.agents[k]
        process = self.rig.start('echo', [f'{AGENTS}/echo/agent.py',
                                          '--listen', f'127.0.0.1:{port}'])
        self.rig.up(process, port)
        self.agents[k] = port, process

    def agent(self):
        return self.agents[0][1].pid

    def agent_again(self):
        time.sleep(RESTART)
        self.agents[0][1].wait()
        self.start_agent(0)

    def held(self):
        return established(self.port)

    def worker_again(self):
        """The master does it."""

    def settle(self):
        """Before the next fault: both agents are used again."""
        wanted = {process.pid for _, process in self.agents}

        def both():
            found = set()
            for _ in range(8):
                try:
                    with urllib.request.urlopen(
                            f'http://127.0.0.1:{self.port}/',
                            timeout=SOON) as answer:
                        found.add(json.load(answer)['pid'])
                except OSError:
                    pass
            return found == wanted
        wait_for(f'{self.name} uses both agents', both, 60)


class StockNginx(Peer):
    name = 'nginx'

    def start(self):
        servers = '\n'.join(f'        server 127.0.0.1:{port};'
                            for port, _ in self.agents)
        user = 'user root;' if os.geteuid() == 0 else ''
        with open(f'{self.place}/nginx.conf', 'w') as f:
            f.write(f"""
{user}
pid {self.place}/nginx.pid;
error_log {self.place}/error.log warn;
worker_processes 2;
events {{ worker_connections 4096; }}
http {{
    access_log {self.place}/access.log;
    client_body_temp_path {self.place}/body;
    proxy_temp_path {self.place}/proxy;
    fastcgi_temp_path {self.place}/fastcgi;
    uwsgi_temp_path {self.place}/uwsgi;
    scgi_temp_path {self.place}/scgi;
    upstream agents {{
{servers}
    }}
    server {{
        listen 127.0.0.1:{self.port};
        location / {{
            proxy_pass http://agents;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
        }}
    }}
}}
""")
        self.nginx = Nginx(self.rig, '/usr/sbin/nginx', self.place, self.port)

    def reload(self):
        self.nginx.reload()

    def upgrade(self):
        self.nginx.upgrade()

    def kill_worker(self):
        self.nginx.kill_worker(max(self.nginx.workers(), key=sockets))

    def stop(self):
        self.nginx.stop(10)


class HAProxy(Peer):
    name = 'HAProxy'

    def start(self):
        servers = '\n'.join(f'    server agent{port} 127.0.0.1:{port}'
                            for port, _ in self.agents)
        with open(f'{self.place}/haproxy.cfg', 'w') as f:
            f.write(f"""
global
    nbthread 2
    maxconn 4000
    stats socket {self.place}/stats level admin expose-fd listeners

defaults
    mode http
    timeout connect 5s
    timeout client  60s
    timeout server  60s
    timeout tunnel  1h
    retries 3
    option redispatch

frontend in
    bind 127.0.0.1:{self.port}
    default_backend agents

backend agents
    option httpchk GET /
    default-server check inter 1s fall 2 rise 1 on-marked-down shutdown-sessions
{servers}
""")
        self.begin()

    def begin(self):
        self.process = self.rig.start('haproxy', [
            'haproxy', '-W', '-db', '-f', f'{self.place}/haproxy.cfg'])
        self.rig.up(self.process, self.port)
        wait_for('a worker of HAProxy', lambda: children(self.process.pid))

    def reload(self):
        """A new worker, of a binary that is read anew: an upgrade, too."""
        before = set(children(self.process.pid))
        send(self.process.pid, 'USR2')
        wait_for('a new worker of HAProxy', lambda: set(
            children(self.process.pid)) - before)

    upgrade = reload

    def kill_worker(self):
        for pid in children(self.process.pid):
            send(pid, 'KILL')

    def worker_again(self):
        """The master ends with its worker."""
        self.process.wait(10)
        self.begin()

    def stop(self):
        self.rig.stop(self.process)


class CorralPeer:
    name = 'Corral'

    def __init__(self, rig):
        self.corral = Corral(rig)
        self.nginx = self.corral.nginx
        self.reload = self.nginx.reload
        self.held = self.corral.held

    def url(self, query=''):
        return self.corral.url('talk', query)

    def agent(self):
        return self.corral.instances('talk')[0]['pid']

    def agent_again(self):
        """corrald does it."""

    def worker_again(self):
        """The master does it."""

    def upgrade(self):
        self.nginx.upgrade()

    def kill_worker(self):
        self.nginx.kill_worker(max(self.nginx.workers(), key=sockets))

    def settle(self):
        wait_for('Corral is well again', self.corral.well, 60)

    def stop(self):
        self.corral.alerts.append('exited on signal 9')
        wrong = self.corral.stop()
        if wrong:
            raise Failure('; '.join(wrong))


# the faults: each does at once what it does, and returns what comes then, while
# new clients come, too

def agent_killed(peer):
    send(peer.agent(), 'KILL')
    return peer.agent_again


def agent_frozen(peer):
    pid = peer.agent()
    peer.thaw = lambda: send(pid, 'CONT')
    send(pid, 'STOP')
    return lambda: None


def worker_killed(peer):
    peer.kill_worker()
    return peer.worker_again


def reload(peer):
    return peer.reload


def upgrade(peer):
    return peer.upgrade


FAULTS = {
    'agent_killed': ('an agent is killed', agent_killed),
    'agent_frozen': ('an agent is frozen', agent_frozen),
    'slow_reader': ('clients read slowly', None),
    'half_open': ('clients are gone without a FIN', None),
    'reload': ('reload', reload),
    'worker_killed': ('a worker is killed', worker_killed),
    'upgrade': ('upgrade', upgrade),
}

PEERS = {'corral': CorralPeer, 'nginx': StockNginx, 'haproxy': HAProxy}


class Row(dict):
    """What a fault did; nothing, until it is known."""

    def __init__(self):
        super().__init__(affected=0, lost=0, doubled=0, failed=0, told=None,
                         served=0)


def seconds(value):
    return '-' if value is None else \
        f'not in {LIMIT} s' if value > LIMIT else \
        'at once' if value < 0.1 else f'{value:.1f} s'


def measure(peer, checker, name):
    row = Row()
    wait_for(f'{peer.name} serves', lambda: checker(
        'serve', url=peer.url(), n=NEW, timeout=SOON)['served'] == NEW, 60)
    ids = checker('connect', url=peer.url('?delay=20'), n=CLIENTS)['ids']
    checker('pump', every=0.1, ids=ids)
    time.sleep(1)                       # the fault comes into running talks
    struck = time.monotonic()
    strike = None
    if name == 'slow_reader':
        row['affected'] = GONE
        row['lost'] += len(checker('slow', url=peer.url(), n=GONE,
                                   messages=60, size=65536,
                                   pause=0.02)['wrong'])
    elif name == 'half_open':
        gone(peer, checker, row)
    else:
        strike = FAULTS[name][1](peer)
        struck = time.monotonic()
        with ThreadPoolExecutor(1) as thread:
            after = thread.submit(strike)
            served(peer, checker, row, struck, after)
    if name == 'agent_frozen':          # until all are told, or the limit
        frozen(checker, row, ids, struck)
        peer.thaw()
    checker('rest')
    said = checker('judge', ids=ids, timeout=LIMIT)
    ends = checker('ended', ids=ids, timeout=0)
    if strike:
        row['affected'] = max(row['affected'], said['harmed'])
        if len(ids) > ends['open'] and row['told'] is None:
            row['told'] = max(0, ends['last'] - time.time()
                              + time.monotonic() - struck)
    row['lost'] += said['lost']
    row['doubled'] += said['doubled']
    checker('close', ids=ids)
    peer.settle()
    return row


def served(peer, checker, row, struck, after):
    """Until new clients are all served soon, and what comes after the fault is
    done; how many were not, before."""
    while True:
        begin = time.monotonic()
        said = checker('serve', url=peer.url(), n=NEW, timeout=SOON)
        if said['served'] == NEW:
            row['served'] = row['served'] or begin - struck + 1e-3
            if after.done():
                after.result()
                return
        else:
            row['served'] = 0
            row['failed'] += NEW - said['served']
            time.sleep(AGAIN)
        if time.monotonic() - struck > LIMIT:
            row['served'] = LIMIT + 1
            return


def frozen(checker, row, ids, struck):
    """Those who have messages without an answer are to be told."""
    waiting = [k for k in ids if checker('unanswered', ids=[k])['count'] > 2]
    row['affected'] = len(waiting)
    said = checker('ended', ids=waiting, timeout=max(
        0, LIMIT - (time.monotonic() - struck)))
    row['told'] = LIMIT + 1 if said['open'] else \
        said['last'] - time.time() + time.monotonic() - struck


def gone(peer, checker, row):
    row['affected'] = GONE
    ports = set(checker('vanish', url=peer.url(), n=GONE)['ports'])
    start = time.monotonic()
    while ports & peer.held() and time.monotonic() - start < LIMIT:
        time.sleep(0.05)
    row['told'] = LIMIT + 1 if ports & peer.held() \
        else time.monotonic() - start


def missing(names):
    programs = {'nginx': '/usr/sbin/nginx', 'haproxy': 'haproxy'}
    return [programs[x] for x in names
            if x in programs and not shutil.which(programs[x])]


def table(rig, peers, faults):
    """Prints a line for each fault and proxy."""
    print('| fault | proxy | connections affected | messages lost | doubled '
          '| new clients failed | told or noticed | new clients served |\n'
          '|---|---|---|---|---|---|---|---|', flush=True)
    checker = Checker(rig)
    started = {name: PEERS[name](rig) for name in peers}
    for fault in faults:
        for name, peer in started.items():
            row = measure(peer, checker, fault)
            print(f'| {FAULTS[fault][0]} | {peer.name} | {row["affected"]} | '
                  f'{row["lost"]} | {row["doubled"]} | {row["failed"]} | '
                  f'{seconds(row["told"])} | {seconds(row["served"])} |',
                  flush=True)
    checker.end()
    for peer in started.values():
        peer.stop()
