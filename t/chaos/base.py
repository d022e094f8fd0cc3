"""What Corral and the proxies beside it have in common here: an nginx that is
reloaded and upgraded, what the kernel knows of their sockets, the checker.
"""

import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                '..', 'bench'))

from failure import Failure                                      # noqa: E402
from rig import ROOT, children, wait_for                         # noqa: E402

TCP_REPAIR = 19                     # of linux/tcp.h

CHECKER = os.path.join(ROOT, 't/fault/checker.py')
AGENTS = os.path.join(ROOT, 'deploy/agents')


def slurp(path, mode='r'):
    try:
        with open(path, mode, **({} if 'b' in mode
                                 else {'errors': 'replace'})) as f:
            return f.read()
    except OSError:
        return b'' if 'b' in mode else ''


def alive(pid):
    stat = slurp(f'/proc/{pid}/stat')
    return bool(stat) and stat.rpartition(')')[2].split()[0] not in 'ZX'


def send(pid, name):
    try:
        os.kill(pid, getattr(signal, 'SIG' + name))
    except ProcessLookupError:
        pass


def established(port):
    """The ports of clients to whom a local port holds a connection."""
    found = set()
    for line in slurp('/proc/net/tcp').split('\n')[1:]:
        words = line.split()
        if len(words) > 3 and words[3] == '01' \
                and int(words[1].split(':')[1], 16) == port:
            found.add(int(words[2].split(':')[1], 16))
    return found


def left(directory):
    """Processes of ours that live: {pid: command}."""
    found = {}
    mark = directory.encode()
    for name in os.listdir('/proc'):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        command = slurp(f'/proc/{name}/cmdline', 'rb')
        try:
            cwd = os.readlink(f'/proc/{name}/cwd').encode()
        except OSError:
            cwd = b''
        if command and (mark in command or cwd.startswith(mark) or mark
                        in slurp(f'/proc/{name}/environ', 'rb')) \
                and alive(name):
            found[int(name)] = command.replace(b'\0', b' ').decode()[:100]
    return found


def end(directory):
    """Ends what is left, and what one of them has started meanwhile."""
    for _ in range(100):
        found = left(directory)
        if not found:
            return
        for pid in found:
            send(pid, 'KILL')
        time.sleep(0.05)


class Checker:
    """t/fault/checker.py: a command and its answer."""

    def __init__(self, rig):
        self.process = rig.start('checker', [CHECKER],
                                 stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE)

    def __call__(self, do, **args):
        p = self.process
        p.stdin.write(json.dumps({'do': do, **args}).encode() + b'\n')
        p.stdin.flush()
        line = p.stdout.readline()
        if not line:
            raise Failure(f'the checker gave no answer to "{do}":\n'
                          + slurp(p.log))
        answer = json.loads(line)
        if 'error' in answer:
            raise Failure(f'the checker: {do}: {answer["error"]}')
        return answer

    def end(self):
        self.process.stdin.close()
        self.process.wait(10)


class Nginx:
    """An nginx that runs as a daemon: only such a one can be upgraded."""

    def __init__(self, rig, program, place, port, env=None):
        self.place = place
        self.port = port
        self.program = program
        done = subprocess.run(
            [program, '-p', place, '-c', f'{place}/nginx.conf', '-e',
             f'{place}/error.log'], cwd=place, stdin=subprocess.DEVNULL,
            stdout=open(f'{place}/nginx.out', 'ab'), stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})})
        if done.returncode:
            raise Failure('nginx did not start:\n'
                          + slurp(f'{place}/nginx.out'))
        self.master = wait_for('nginx writes its pid', self.pid_file)
        wait_for('nginx has workers', self.workers)

    def pid_file(self):
        return int(slurp(f'{self.place}/nginx.pid') or 0)

    def workers(self, master=None, exiting=False):
        found = []
        for pid in children(master or self.master):
            title = slurp(f'/proc/{pid}/cmdline')
            if 'nginx: worker process' in title \
                    and ('shutting down' in title) == exiting and alive(pid):
                found.append(pid)
        return sorted(found)

    def reload(self):
        before = self.workers()
        send(self.master, 'HUP')

        def done():
            now = self.workers()
            return len(now) >= len(before) and not set(now) & set(before)
        wait_for('new workers after a reload', done, 20)

    def upgrade(self):
        """Returns the old master, which lives until its workers end."""
        old = self.master

        def taken():
            new = self.pid_file()
            return os.path.exists(f'{self.place}/nginx.pid.oldbin') \
                and new and new != old and alive(new) and self.workers(new) \
                and new
        send(old, 'USR2')
        self.master = wait_for('a new binary', taken, 20)
        send(old, 'WINCH')
        wait_for('workers of the old binary stop accepting', lambda:
                 not alive(old) or not self.workers(old), 20)
        send(old, 'QUIT')
        return old

    def kill_worker(self, pid=None):
        """Returns the worker that was killed."""
        pid = pid or self.workers()[0]
        send(pid, 'KILL')
        return pid

    def stop(self, seconds):
        """'' or what is wrong."""
        send(self.master, 'QUIT')
        try:
            wait_for('end', lambda: not alive(self.master), seconds)
            return ''
        except Failure:
            return f'nginx did not stop within {seconds} s on QUIT'
