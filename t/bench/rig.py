"""What a measurement starts: processes, agents, Redis, the load generator.
proxies.py has the proxies.

Everything lies in one directory that is removed at the end, listens on free
ports of the loopback, and is ended by the pid that was started here.
"""

import json
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time

from failure import Failure
from registry import Registry

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..'))
BUILD = os.environ.get('CORRAL_BUILD', os.path.join(ROOT, 'build/release'))


def program(name):
    path = os.path.join(BUILD, 'bench', name)
    if not os.path.exists(path):
        raise Failure(f'{path} is missing: run "make bench"')
    return path


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


def cpu_seconds(pid):
    """Of all threads that the process has now."""
    total = 0
    for task in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{task}/schedstat') as f:
            total += int(f.read().split()[0])
    return total / 1e9


def private_kb(pid):
    """Memory that no other process shares."""
    total = 0
    with open(f'/proc/{pid}/smaps_rollup') as f:
        for line in f:
            if line.startswith(('Private_Clean:', 'Private_Dirty:')):
                total += int(line.split()[1])
    return total


class Proxy:
    """A running proxy.  pid is the process whose figures count."""

    def __init__(self, name, process, port, path, tls=False):
        self.name = name
        self.tls = tls
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
        self.pems = None

    def place(self, name):
        """A new directory."""
        self.count += 1
        path = f'{self.dir}/{self.count}.{name}'
        os.mkdir(path)
        return path

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

        # nginx does not see a signal that comes just before it waits without a
        # time-out: it is said again

        end = time.monotonic() + seconds
        while process.poll() is None:
            if time.monotonic() > end:
                process.kill()
                process.wait()
                return
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                pass

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

    def state_file(self, docs):
        """A registry without Redis."""
        path = f'{self.place("state")}/state'
        with open(path, 'w') as f:
            f.write('{"corral":1,"epoch":"e","revision":1}\n')
            for doc in docs:
                kind = Registry.kind(doc)
                f.write(json.dumps({'kind': kind, **doc}) + '\n')
        return path

    def certificate(self):
        """The paths of a certificate, its key, and both in one file."""
        if self.pems is None:
            place = self.place('tls')
            cert, key, both = (f'{place}/{x}.pem'
                               for x in ('cert', 'key', 'both'))
            subprocess.run(
                ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
                 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
                 '-subj', '/CN=bench', '-addext',
                 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert],
                check=True, stderr=subprocess.DEVNULL)
            with open(both, 'w') as f:
                for path in (cert, key):
                    with open(path) as part:
                        f.write(part.read())
            self.pems = cert, key, both
        return self.pems

    # load

    def load(self, mode, proxy, tail='', **options):
        """Arguments of the generator; tail is put behind the proxy's path."""
        argv = [program('load'), mode, '--connect',
                f'127.0.0.1:{proxy.port}', '--path', proxy.path + tail]
        if proxy.tls:
            argv += ['--tls']
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
        """Instructions of one of n uses, those of 2n less those of n: all,
        and by function.

        begin(wrapper=) starts a proxy, use(proxy, k) uses it k times n times.
        """
        totals, functions = [], []
        for k in (1, 2):
            out, wrapper = self.callgrind_wrapper()
            proxy = begin(wrapper=wrapper)
            use(proxy, k)
            self.stop(proxy, 60)
            totals.append(callgrind_total(out))
            functions.append(callgrind_functions(out))
        for name, value in functions[1].items():
            functions[0][name] = (value - functions[0].get(name, 0)) / n
        return (totals[1] - totals[0]) / n, functions[0]


def callgrind_total(path):
    with open(path) as f:
        for line in f:
            if line.startswith(('summary:', 'totals:')):
                return int(line.split()[1])
    raise Failure(f'{path}: callgrind has written no total')


def callgrind_functions(path):
    """{function: instructions}, where a symbol is known."""
    done = subprocess.run(['callgrind_annotate', '--threshold=100',
                           '--show=Ir', path], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True)
    found = {}
    for line in done.stdout.splitlines():
        match = re.match(r'\s*([\d,]+) +\([^)]*\) +(?:\S*/)?[^:/ ]*:(\S+)',
                         line)
        if match:
            name = match.group(2)
            found[name] = found.get(name, 0) \
                + int(match.group(1).replace(',', ''))
    return found


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
        if proxy.tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            s = context.wrap_socket(s)
        s.sendall((f'GET {proxy.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n'
                   'Upgrade: websocket\r\nConnection: Upgrade\r\n'
                   'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
                   'Sec-WebSocket-Version: 13\r\n\r\n').encode())
        data = b''
        while b'\r\n\r\n' not in data:
            part = s.recv(4096)
            if not part:
                break
            data += part
        if proxy.tls:
            s.close()
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
