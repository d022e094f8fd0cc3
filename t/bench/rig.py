"""What a measurement starts: proxies, agents, Redis, and the load generator.

Everything lies in one directory that is removed at the end, listens on free
ports of the loopback, and is ended by the pid that was started here.
"""

import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..'))
BUILD = os.environ.get('CORRAL_BUILD', os.path.join(ROOT, 'build/release'))


class Failure(Exception):
    """A measurement that could not be made; the text says why."""


def program(name):
    path = os.path.join(BUILD, 'bench', name)
    if not os.path.exists(path):
        raise Failure(f'{path} is missing: run "make bench"')
    return path


def nginx_path():
    own = os.path.join(BUILD, 'nginx')
    return own if os.path.exists(own) else '/usr/sbin/nginx'


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def wait_for(what, check, seconds=20):
    """Calls check until it returns something true, which is returned."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f'{what}: not within {seconds} s')
        time.sleep(0.02)


def listens(port):
    try:
        socket.create_connection(('127.0.0.1', port), 1).close()
        return True
    except OSError:
        return False


def children(pid):
    with open(f'/proc/{pid}/task/{pid}/children') as f:
        return [int(x) for x in f.read().split()]


def private_kb(pid):
    """Memory that no other process shares."""
    total = 0
    with open(f'/proc/{pid}/smaps_rollup') as f:
        for line in f:
            if line.startswith(('Private_Clean:', 'Private_Dirty:')):
                total += int(line.split()[1])
    return total


class Redis:
    """One connection to Redis; only what is needed here of the protocol."""

    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.connect(path)
        self.f = self.s.makefile('rb')

    def send(self, *args):
        out = [b'*%d\r\n' % len(args)]
        for a in args:
            a = a if isinstance(a, bytes) else str(a).encode()
            out.append(b'$%d\r\n%s\r\n' % (len(a), a))
        self.s.sendall(b''.join(out))

    def read(self):
        line = self.f.readline()
        if not line:
            raise Failure('Redis has closed the connection')
        kind, rest = line[:1], line[1:-2]
        if kind == b'-':
            raise Failure(f'Redis: {rest.decode()}')
        if kind == b'+':
            return rest.decode()
        if kind == b':':
            return int(rest)
        if kind == b'$':
            n = int(rest)
            return None if n < 0 else self.f.read(n + 2)[:-2].decode()
        n = int(rest)
        return None if n < 0 else [self.read() for _ in range(n)]

    def __call__(self, *args):
        self.send(*args)
        return self.read()


# One change as docs/schema.md has it: documents, revision, entries.

COMMIT = """
local p = 'corral:' .. ARGV[1] .. ':'
local revision = redis.call('INCR', p .. 'revision')
for i = 2, #ARGV, 3 do
    local kind, id = ARGV[i], ARGV[i + 1]
    redis.call('HSET', p .. kind .. 's', id, ARGV[i + 2])
    redis.call('HSET', p .. 'revisions', kind .. '/' .. id, revision)
    redis.call('XADD', p .. 'changes', '*', 'kind', kind, 'id', id,
               'revision', revision)
end
return revision
"""


class Registry:
    """The documents of one cluster."""

    def __init__(self, path, cluster):
        self.redis = Redis(path)
        self.path = path
        self.cluster = cluster
        self.prefix = f'corral:{cluster}:'

    @staticmethod
    def service(name, **more):
        return {'service_id': f'id-{name}', 'name': name,
                'desired': 'running', **more}

    @staticmethod
    def instance(number, service, port, **more):
        return {'instance_id': f'{service}.{number}',
                'service_id': f'id-{service}', 'incarnation': 1,
                'node': 'bench', 'address': f'127.0.0.1:{port}',
                'weight': 100, 'state': 'running', 'health': 'healthy',
                **more}

    @staticmethod
    def _id(doc):
        return doc.get('instance_id') or doc['service_id']

    @staticmethod
    def _kind(doc):
        return 'instance' if 'instance_id' in doc else 'service'

    def commit(self, docs):
        """Returns the new revision."""
        args = []
        for doc in docs:
            args += [self._kind(doc), self._id(doc), json.dumps(doc)]
        return self.redis('EVAL', COMMIT, 0, self.cluster, *args)

    def fill(self, docs, epoch):
        """Writes all documents unnoticed, then makes it another store."""
        for i in range(0, len(docs), 500):
            for doc in docs[i:i + 500]:
                self.redis.send('HSET', f'{self.prefix}{self._kind(doc)}s',
                                self._id(doc), json.dumps(doc))
            for doc in docs[i:i + 500]:
                self.redis.read()
        self.redis('INCR', self.prefix + 'revision')
        self.redis('SET', self.prefix + 'epoch', epoch)

    def leases(self):
        """The leases of the live workers."""
        found = []
        for worker in self.redis('SMEMBERS', self.prefix + 'workers'):
            flat = self.redis('HGETALL', f'{self.prefix}worker:{worker}')
            if flat:
                found.append(dict(zip(flat[::2], flat[1::2])))
        return found


class Proxy:
    """A running proxy.  pid is the process whose figures count."""

    def __init__(self, name, process, port, path):
        self.name = name
        self.process = process
        self.port = port
        self.path = path
        self.pid = process.pid
        self.workers = [process.pid]


class Rig:
    def __init__(self, verbose=False):
        self.dir = tempfile.mkdtemp(prefix='corral-bench-')
        self.verbose = verbose
        self.processes = []
        self.count = 0
        self.redis_path = None

    # processes

    def start(self, name, argv, env=None, **more):
        self.count += 1
        log = open(f'{self.dir}/{self.count}.{name}.out', 'wb')
        more.setdefault('stdout', log)
        process = subprocess.Popen(
            argv, stdin=more.pop('stdin', subprocess.DEVNULL), stderr=log,
            cwd=self.dir, env={**os.environ, **(env or {})}, **more)
        log.close()
        process.log = log.name
        self.processes.append(process)
        return process

    def stop(self, process, seconds=30):
        process = getattr(process, 'process', process)
        if process in self.processes:
            self.processes.remove(process)
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def close(self):
        for process in reversed(self.processes[:]):
            self.stop(process, 5)
        if self.verbose:
            print(f'left: {self.dir}')
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def up(self, process, port, seconds=30):
        def check():
            if process.poll() is not None:
                with open(process.log, errors='replace') as f:
                    text = f.read()
                raise Failure(f'{process.args[0]} has ended: {text}')
            return listens(port)
        wait_for(f'{process.args[0]} listens on {port}', check, seconds)

    # agents and Redis

    def agent(self, *args):
        """Returns the port of a bench-agent."""
        port = free_port()
        process = self.start('agent', [program('bench-agent'), '--listen',
                                       f'127.0.0.1:{port}', *args])
        self.up(process, port)
        return port

    def redis(self):
        """The socket of the one Redis of this run."""
        if self.redis_path is None:
            path = f'{self.dir}/redis.sock'
            self.start('redis', ['redis-server', '--port', '0',
                                 '--unixsocket', path, '--save', '',
                                 '--appendonly', 'no', '--dir', self.dir])
            wait_for('redis-server', lambda: os.path.exists(path))
            self.redis_path = path
        return self.redis_path

    def registry(self):
        self.count += 1
        return Registry(self.redis(), f'bench{self.count}')

    # proxies

    def nginx(self, name, http, path='/', globals_='', workers=1, wrapper=None,
              env=None):
        self.count += 1
        place = f'{self.dir}/{self.count}.{name}'
        os.mkdir(place)
        port = free_port()
        single = 'master_process off;' if wrapper else ''

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
{http.replace('@PORT@', str(port)).replace('@PLACE@', place)}
}}
""")

        process = self.start(name, (wrapper or []) + [
            nginx_path(), '-p', place, '-c', f'{place}/nginx.conf'], env=env)
        self.up(process, port, 60)
        proxy = Proxy(name, process, port, path)
        proxy.place = place

        if not wrapper:
            proxy.workers = wait_for('workers', lambda: len(
                children(process.pid)) == workers and children(process.pid))
            proxy.pid = proxy.workers[0]
        return proxy

    def stock(self, agent, tuned=False, **more):
        """nginx as its manual says it for WebSocket."""
        buffers = 'proxy_buffer_size 64k; proxy_buffers 8 64k;' if tuned else ''
        return self.nginx('tuned' if tuned else 'stock', f"""
    upstream agents {{
        server 127.0.0.1:{agent};
    }}
    server {{
        listen 127.0.0.1:@PORT@ backlog=4096;
        location / {{
            proxy_pass http://agents;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host $host;
            proxy_read_timeout 1h;
            {buffers}
        }}
    }}
""", **more)

    def corral(self, agent=None, registry=None, docs=None, redis=True,
               service='echo', turns=None, http_more='', **more):
        """Corral with its defaults: counting, pings, leases, the list.

        Without Redis the registry is a state file: what callgrind counts is
        then the traffic alone, not what a slow process publishes meanwhile.
        """
        module = f'{BUILD}/ngx_http_corral_module.so'
        if not os.path.exists(module):
            raise Failure(f'{module} is missing: run "make build"')

        if docs is None:
            docs = [Registry.service('echo'),
                    Registry.instance(1, 'echo', agent)]

        if redis:
            registry = registry or self.registry()
            registry.fill(docs, 'first')
            source = f'corral_redis unix:{registry.path};'
            cluster = registry.cluster
        else:
            self.count += 1
            state = f'{self.dir}/{self.count}.state'
            with open(state, 'w') as f:
                f.write('{"corral":1,"epoch":"e","revision":1}\n')
                for doc in docs:
                    kind = Registry._kind(doc)
                    f.write(json.dumps({'kind': kind, **doc}) + '\n')
            source = f'corral_state_file {state};'
            cluster = 'bench'

        globals_ = f'load_module {module};\n'
        env = None
        if turns:
            globals_ += 'env CORRAL_TURNS;\n'
            env = {'LD_PRELOAD': program('turns.so'), 'CORRAL_TURNS': turns}

        proxy = self.nginx('corral', f"""
    corral_zone corral 16m;
    corral_cluster {cluster};
    corral_node bench;
    corral_gateway bench;
    {source}
    {http_more}
    upstream agents {{
        corral;
    }}
    server {{
        listen 127.0.0.1:@PORT@ backlog=4096;
        location / {{
            corral_service_from path;
            corral_websocket agents;
        }}
        location = /status {{
            corral_status;
        }}
    }}
""", path=f'/agents/{service}/', globals_=globals_, env=env, **more)
        proxy.registry = registry
        wait_for('the registry of Corral', lambda: self.ready(proxy), 120)
        return proxy

    def ready(self, proxy):
        """Does each worker serve a registry?  One of several is known by its
        lease, or without Redis, by many handshakes."""
        if len(proxy.workers) == 1 or proxy.registry is None:
            return all(' 101 ' in handshake(proxy)
                       for _ in range(16 * len(proxy.workers) - 15))
        leases = proxy.registry.leases()
        return len([x for x in leases if int(x.get('instances', 0))]) \
            == len(proxy.workers)

    def haproxy(self, agent, tuned=False):
        port = free_port()
        self.count += 1
        conf = f'{self.dir}/{self.count}.haproxy.cfg'
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
    bind 127.0.0.1:{port} backlog 4096
    default_backend agents

backend agents
    server agent 127.0.0.1:{agent}
""")
        process = self.start('haproxy', ['haproxy', '-db', '-f', conf])
        self.up(process, port)
        return Proxy('haproxy', process, port, '/')

    # load

    def load(self, mode, proxy, **options):
        argv = [program('load'), mode, '--connect',
                f'127.0.0.1:{proxy.port}', '--path', proxy.path]
        if proxy.pid:
            argv += ['--pid', str(proxy.pid)]
        for name, value in options.items():
            argv += [f'--{name}'] if value is True else [f'--{name}',
                                                         str(value)]
        return argv

    def run_load(self, mode, proxy, **options):
        argv = self.load(mode, proxy, **options)
        done = subprocess.run(argv, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise Failure(f'{proxy.name}: {done.stderr.strip()}')
        return json.loads(done.stdout)

    # callgrind

    def callgrind_wrapper(self):
        self.count += 1
        out = f'{self.dir}/{self.count}.callgrind'
        return out, ['valgrind', '--tool=callgrind', '-q',
                     f'--callgrind-out-file={out}']

    def instructions(self, begin, use, n):
        """Instructions of one of n uses: those of 2n less those of n.

        begin(wrapper=) starts a proxy, use(proxy, n) uses it n times.
        """
        totals = []
        for k in (n, 2 * n):
            out, wrapper = self.callgrind_wrapper()
            proxy = begin(wrapper=wrapper)
            use(proxy, k)
            self.stop(proxy, 60)
            totals.append(callgrind_total(out))
        return (totals[1] - totals[0]) / n


def callgrind_total(path):
    with open(path) as f:
        for line in f:
            if line.startswith(('summary:', 'totals:')):
                return int(line.split()[1])
    raise Failure(f'{path}: callgrind has written no total')


# Agents inside this program, which count who comes.

ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='


class Counter:
    """Answers handshakes with the key of the load generator."""

    def __init__(self):
        self.handshakes = 0
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,),
                             daemon=True).start()

    def serve(self, s):
        with s:
            data = b''
            while b'\r\n\r\n' not in data:
                part = s.recv(4096)
                if not part:
                    return
                data += part
            self.handshakes += 1
            s.sendall(b'HTTP/1.1 101 Switching Protocols\r\n'
                      b'Upgrade: websocket\r\nConnection: Upgrade\r\n'
                      b'Sec-WebSocket-Accept: ' + ACCEPT.encode()
                      + b'\r\n\r\n')
            try:
                while s.recv(4096):
                    pass
            except OSError:
                pass


def handshake(proxy):
    """One handshake and an end.  Returns the status line."""
    with socket.create_connection(('127.0.0.1', proxy.port), 10) as s:
        s.sendall((f'GET {proxy.path} HTTP/1.1\r\nHost: x\r\n'
                   'Upgrade: websocket\r\nConnection: Upgrade\r\n'
                   'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
                   'Sec-WebSocket-Version: 13\r\n\r\n').encode())
        data = b''
        while b'\r\n\r\n' not in data:
            part = s.recv(4096)
            if not part:
                break
            data += part
    return data.split(b'\r\n')[0].decode()


# The records of turns.c.

TURNS = struct.Struct('=QQQQQ')
TURNS_RECORDS = 16


class Turns:
    def __init__(self, rig):
        rig.count += 1
        self.path = f'{rig.dir}/{rig.count}.turns'
        with open(self.path, 'wb') as f:
            f.write(b'\0' * TURNS.size * TURNS_RECORDS)

    def _find(self, pid):
        with open(self.path, 'rb') as f:
            data = f.read()
        for i in range(TURNS_RECORDS):
            record = TURNS.unpack_from(data, i * TURNS.size)
            if record[0] == pid:
                return i, record
        raise Failure(f'turns.so has no record of {pid}')

    def reset(self, pid):
        i, _ = self._find(pid)
        with open(self.path, 'r+b') as f:
            f.seek(i * TURNS.size + 8)
            f.write(b'\0' * (TURNS.size - 8))

    def read(self, pid):
        _, (_, turns, cpu, wall, over) = self._find(pid)
        return {'turns': turns, 'cpu_ms': cpu / 1e6, 'wall_ms': wall / 1e6,
                'over_1ms': over}
