#!/usr/bin/python3
"""The proof of replay: agents die all the time, and no client loses anything.

Starts agents (bench-agent --rpc) and Corral in front of them, opens clients, and
kills an agent every few seconds; it is started again a second later.  Each client
counts for itself what it has asked and what it got:

* a client that asks for plain answers is never disconnected, and each of its
  requests gets exactly one final answer;
* one that asks for streamed answers gets exactly one final answer, or is closed
  with 1012 while an answer is under way; it comes back then;
* a connection that has lost its agent goes on within 100 ms and the time that
  so many handshakes take here, for 99 of 100 (by the log of the gateway).

Exits with 0 if all of this is so.  "make bench-build" before.
"""

import argparse
import asyncio
import glob
import json
import os
import random
import re
import signal
import sys
import time

from failure import Failure
from proxies import corral
from registry import Registry
from rig import Rig, free_port, program

DRAIN = 15                  # seconds for the last answers


class Gone(Exception):
    """The connection has ended; code is that of its Close, or 1006."""

    def __init__(self, code, reason=''):
        super().__init__(f'{code} {reason}')
        self.code = code


class Client(asyncio.Protocol):
    """One WebSocket: sends texts, calls got() for each, ended() once."""

    HANDSHAKE = ('GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n'
                 'Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n'
                 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n')

    def __init__(self, path, got):
        self.path = path
        self.got = got
        self.open = asyncio.get_running_loop().create_future()
        self.gone = asyncio.get_running_loop().create_future()
        self.data = b''
        self.upgraded = False

    def connection_made(self, transport):
        self.transport = transport
        transport.write((self.HANDSHAKE % self.path).encode())

    def data_received(self, data):
        self.data += data
        if not self.upgraded:
            head, found, rest = self.data.partition(b'\r\n\r\n')
            if not found:
                return
            if b' 101 ' not in head[:20]:
                self.end(1006, head.split(b'\r\n')[0].decode())
                return
            self.upgraded = True
            self.data = rest
            self.open.set_result(True)
        while self.frame():
            pass

    def frame(self):
        d = self.data
        if len(d) < 2:
            return False
        n, at = d[1] & 0x7f, 2
        if n == 126:
            n, at = int.from_bytes(d[2:4], 'big'), 4
        elif n == 127:
            n, at = int.from_bytes(d[2:10], 'big'), 10
        if len(d) < at + n:
            return False
        payload, self.data = d[at:at + n], d[at + n:]
        opcode = d[0] & 15
        if opcode == 8:
            self.send(8, payload[:2])
            self.end(int.from_bytes(payload[:2], 'big') if n > 1 else 1005,
                     payload[2:].decode())
        elif opcode == 9:
            self.send(10, payload)
        elif opcode == 1:
            self.got(payload)
        return True

    def send(self, opcode, payload):
        n = len(payload)
        head = bytes([0x80 | opcode, 0x80 | n]) if n < 126 \
            else bytes([0x80 | opcode, 0xfe]) + n.to_bytes(2, 'big')
        key = random.randbytes(4)
        mask = (key * (n // 4 + 1))[:n]
        body = (int.from_bytes(payload, 'big')
                ^ int.from_bytes(mask, 'big')).to_bytes(n, 'big')
        self.transport.write(head + key + body)

    def end(self, code, reason=''):
        if not self.gone.done():
            self.gone.set_result((code, reason))
        if not self.open.done():
            self.open.set_exception(Gone(code, reason))
        self.transport.close()

    def connection_lost(self, exc):
        self.end(1006, str(exc or ''))


class Storm:
    def __init__(self, options):
        self.options = options
        self.random = random.Random(options.seed)
        self.asked = 0
        self.finals = 0
        self.parts = 0
        self.interrupted = 0        # streamed answers that ended in a 1012
        self.wrong = []             # sentences
        self.stop = False

    def complain(self, sentence):
        self.wrong.append(sentence)

    async def connect(self, got):
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(
            lambda: Client(self.path, got), '127.0.0.1', self.port)
        await client.open
        return client

    async def run_client(self, number, client, streams):
        """Asks one after the other, and judges what it gets."""
        rnd = random.Random(self.options.seed * 1000003 + number)
        waits, finals = {}, {}

        def got(payload):
            m = json.loads(payload)
            if m['id'] not in finals:
                self.complain(f'client {number}: an answer to {m["id"]}, which '
                              'it did not ask')
            elif not m['result']['final']:
                self.parts += 1
                if not streams:
                    self.complain(f'client {number}: part of a plain answer')
            else:
                self.finals += 1
                finals[m['id']] += 1
                if finals[m['id']] > 1:
                    self.complain(f'client {number}: two final answers to '
                                  f'{m["id"]}')
                if m['id'] in waits:
                    waits.pop(m['id']).set_result(True)

        client.got = got
        n = 0
        await asyncio.sleep(rnd.random())

        while not self.stop:
            n += 1
            wait = asyncio.get_running_loop().create_future()
            waits[n] = wait
            finals[n] = 0
            self.asked += 1
            client.send(1, json.dumps({
                'jsonrpc': '2.0', 'id': n, 'method': 'work',
                'params': {'ms': rnd.randint(0, 150),
                           'parts': 3 if streams else 0}}).encode())

            await asyncio.wait([wait, client.gone],
                               timeout=DRAIN + self.options.hold,
                               return_when=asyncio.FIRST_COMPLETED)

            if client.gone.done():
                code, reason = client.gone.result()
                if not streams or code != 1012:
                    self.complain(f'client {number}: closed, {code} {reason}')
                    return
                if not finals[n]:
                    self.interrupted += 1
                waits.clear()
                client = await self.connect(got)
            elif not wait.done():
                self.complain(f'client {number}: no answer to {n}')
                return

            await asyncio.sleep(rnd.uniform(0.2, 1.8))

        client.send(8, (1000).to_bytes(2, 'big'))
        await asyncio.wait([client.gone], timeout=DRAIN)
        if not client.gone.done() or client.gone.result()[0] != 1000:
            self.complain(f'client {number}: no Close 1000 in the end')

    # agents

    def start_agent(self, i):
        self.agents[i] = self.rig.start(
            f'agent{i}', [self.options.agent or program('bench-agent'),
                          '--rpc', '--listen',
                          f'127.0.0.1:{self.ports[i]}'])

    async def kill_agents(self):
        end = time.monotonic() + self.options.seconds
        order = []
        while time.monotonic() + self.options.every < end:
            await asyncio.sleep(self.options.every)
            if not order:
                order = list(range(self.options.instances))
                self.random.shuffle(order)
            i = order.pop()
            self.agents[i].send_signal(signal.SIGKILL)
            self.kills += 1
            asyncio.get_running_loop().call_later(
                min(1, self.options.every / 2), self.restart, i)
        await asyncio.sleep(max(0, end - time.monotonic()))

    def restart(self, i):
        self.rig.stop(self.agents[i])
        self.start_agent(i)

    # the whole

    async def open_clients(self):
        """Returns the clients; measures how many handshakes a second go."""
        gate = asyncio.Semaphore(64)

        async def one():
            async with gate:
                return await self.connect(None)

        began = time.monotonic()
        clients = await asyncio.gather(*[one() for _ in
                                         range(self.options.clients)])
        self.rate = len(clients) / (time.monotonic() - began)
        return clients

    async def run(self):
        clients = await self.open_clients()
        tasks = [asyncio.ensure_future(self.run_client(
            i, client, i % 100 < self.options.streams))
            for i, client in enumerate(clients)]
        await self.kill_agents()
        self.stop = True
        await asyncio.gather(*tasks)

    def start(self):
        o = self.options
        self.rig = Rig(verbose=o.verbose)
        self.kills = 0
        self.ports = [free_port() for _ in range(o.instances)]
        self.agents = {}
        for i in range(o.instances):
            self.start_agent(i)
        for i in range(o.instances):
            self.rig.up(self.agents[i], self.ports[i])

        docs = [Registry.service(
            'storm', failover='replay', answer='jsonrpc',
            answer_final='/result/final', answer_finals=['true'],
            hold_time=f'{o.hold}s', fail_timeout='1s')]
        docs += [Registry.instance(i, 'storm', port)
                 for i, port in enumerate(self.ports)]
        self.log = f'{self.rig.dir}/moves.log'
        self.proxy = corral(self.rig, docs=docs, redis=False, service='storm',
                            workers=o.workers,
                            http=f'error_log {self.log} info;')
        self.port = self.proxy.port
        self.path = self.proxy.path

    def moves(self):
        """Milliseconds and messages of each move, by the second of its death."""
        found = []
        with open(self.log) as f:
            for line in f:
                m = re.search(r'goes on with instance .* after (\d+) ms, with '
                              r'(\d+) messages', line)
                if m:
                    found.append((line[:19], int(m[1]), int(m[2])))
        return found

    def check_gateway(self):
        """It must not have crashed, nor said anything alarming."""
        for name in glob.glob(f'{self.rig.dir}/*.corral*/error.log') + [
                self.log, self.proxy.process.log]:
            with open(name, errors='replace') as f:
                for line in f:
                    if re.search(r'\[(alert|emerg|crit)\]|Sanitizer|'
                                 r'runtime error|exited on signal', line):
                        self.complain(line.strip())

    def report(self):
        o = self.options
        self.check_gateway()
        moves = self.moves()
        times = sorted(ms for _, ms, _ in moves)
        p99 = times[min(len(times) - 1, len(times) * 99 // 100)] if times \
            else 0
        moved = len(moves) / self.kills if self.kills else 0
        bound = 100 + 1000 * moved / self.rate

        print(f'{o.clients} clients, {o.instances} instances, {self.kills} '
              f'killed in {o.seconds} s, seed {o.seed}')
        print(f'{self.asked} requests, {self.finals} final answers, '
              f'{self.parts} parts, {self.interrupted} streamed answers ended '
              'in a 1012')
        print(f'{len(moves)} moves, {sum(n for _, _, n in moves)} messages '
              'sent again')
        print(f'resumed: p50 {times[len(times) // 2] if times else 0} ms, p99 '
              f'{p99} ms')
        if o.verbose:
            for second in sorted({second for second, _, _ in moves}):
                group = sorted(ms for s, ms, _ in moves if s == second)
                print(f'  {second[11:]}  {len(group)} moves, p50 '
                      f'{group[len(group) // 2]} ms, last {group[-1]} ms')
        print(f'allowed: 100 ms + {moved:.0f} moved / {self.rate:.0f} '
              f'handshakes per second = {bound:.0f} ms')

        if self.asked != self.finals + self.interrupted:
            self.complain(f'{self.asked} requests, but {self.finals} final '
                          f'answers and {self.interrupted} of 1012')
        if not moves:
            self.complain('nothing has moved')
        if p99 > bound and not o.no_times:
            self.complain(f'99 of 100 take up to {p99} ms')

        for sentence in self.wrong[:20]:
            print(f'WRONG: {sentence}')
        print(f'{len(self.wrong)} wrong' if self.wrong else 'all is right')
        return 1 if self.wrong else 0


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--clients', type=int, default=1000)
    p.add_argument('--instances', type=int, default=10)
    p.add_argument('--seconds', type=float, default=60)
    p.add_argument('--every', type=float, default=2,
                   help='seconds between two deaths')
    p.add_argument('--streams', type=int, default=10,
                   help='of 100 clients, how many ask for streamed answers')
    p.add_argument('--workers', type=int, default=1, help='of nginx')
    p.add_argument('--agent', help='the program bench-agent, if not of '
                   '"make bench-build"')
    p.add_argument('--hold', type=int, default=10, help='hold_time, seconds')
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--verbose', action='store_true',
                   help='the moves of each second, too')
    p.add_argument('--no-times', action='store_true',
                   help='print the times, but do not judge them')
    storm = Storm(p.parse_args())

    try:
        storm.start()
        asyncio.run(storm.run())
        return storm.report()
    except Failure as e:
        print(f'storm: {e}', file=sys.stderr)
        return 2
    finally:
        if hasattr(storm, 'rig'):
            storm.rig.close()


if __name__ == '__main__':
    os.environ.setdefault('PYTHONUNBUFFERED', '1')
    sys.exit(main())
