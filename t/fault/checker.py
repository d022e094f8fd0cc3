#!/usr/bin/python3
"""checker.py: WebSocket clients that count, and know nothing of Corral.

Every message is numbered, and an echo is expected: whole, once, in order.  The
program says which connections lost, doubled or reordered something, and how
each one ended.  It pings nobody, so that no time-out of its own ends anything.

A command is a line of JSON on stdin, {"do": NAME, ...}; its answer is a line of
JSON on stdout, {"error": TEXT} if it failed.  "ids" are connections, without it
all are meant.  Commands are done one after the other; meanwhile every
connection is read all the time.

connect     url, n: opens n connections             ids
say         ids, n: each sends n messages           sent
pump        ids, every: each goes on sending, a message every so many seconds
rest        the end of that
unanswered  ids: messages sent, their echo not seen count
serve       url, n: n new clients, each with one exchange and a close, in so
            many seconds ("timeout")                served, slowest, errors
judge       ids, timeout: waits for what is due     messages, verdicts,
                                                    lost, doubled, harmed
ended       ids, timeout: waits for ends            codes, last (epoch), open
ports       ids that are open, to their local port  ports
close       ids: closes with 1000                   codes

Those of traffic.py, which go on until silence:
listen      url, n: streams of server-sent events
ask         url, n: clients that send HTTP requests
tallies     what they saw since the last time       streams, askers, wrong
silence     the end of both
slow        url, n, messages, size, pause: readers with pauses; all is to come
                                                    wrong
vanish      url, n: WebSockets that are gone without a FIN
                                                    ports
"""

import asyncio
import collections
import json
import os
import secrets
import sys
import time

import websockets

sys.dont_write_bytecode = True

from traffic import Traffic  # noqa: E402

OPEN_TIMEOUT = 20           # seconds for a handshake, and for one exchange
AT_ONCE = 5                 # handshakes at a time
VERDICTS = 5                # of one connection; more would be the same


class Connection:
    """One client with its numbers."""

    def __init__(self, ident, ws):
        self.ident = ident
        self.ws = ws
        self.name = "%d-%s" % (ident, secrets.token_hex(4))
        self.port = ws.local_address[1]
        self.sent = 0
        self.heard = 0
        self.wrong = []
        self.code = None
        self.ended = None
        self.pump = None
        self.reader = asyncio.ensure_future(self.hear())

    def message(self, number):
        """Text and binary in turn, of sizes from some bytes to 6 kB."""
        text = "%s/%d/%s" % (self.name, number, "." * (number * 997 % 6007))
        return text if number % 2 else text.encode()

    async def say(self):
        self.sent += 1
        await self.ws.send(self.message(self.sent))

    async def go_on(self, every):
        try:
            while True:
                await self.say()
                await asyncio.sleep(every)
        except websockets.ConnectionClosed:
            pass

    async def hear(self):
        try:
            async for message in self.ws:
                self.take(message)
        except websockets.ConnectionClosed:
            pass
        self.code = self.ws.close_code
        self.ended = time.time()

    def take(self, message):
        if message == self.message(self.heard + 1):
            self.heard += 1
            return

        text = message if isinstance(message, str) \
            else message.decode(errors="replace")
        name, _, rest = text.partition("/")
        number = rest.partition("/")[0]

        if name != self.name or not number.isdigit():
            self.wrong.append("a strange message: %.40r" % text)
        elif message != self.message(int(number)):
            self.wrong.append("%s is damaged" % number)
        elif int(number) <= self.heard:
            self.wrong.append("%s is doubled" % number)
        else:
            self.wrong.append("%s comes where %d is due"
                              % (number, self.heard + 1))
            self.heard = int(number)

    def due(self):
        return self.sent - self.heard

    def verdicts(self):
        all_ = list(self.wrong)
        if self.ended is not None:
            all_.append("ended with %s" % self.code)
        if self.due():
            all_.append("%d of %d messages are lost" % (self.due(), self.sent))
        return ["%d: %s" % (self.ident, text) for text in all_[:VERDICTS]]

    def stop(self):
        if self.pump:
            self.pump.cancel()
            self.pump = None


class Checker:
    def __init__(self):
        self.all = {}

    def chosen(self, ids):
        return list(self.all.values()) if ids is None \
            else [self.all[ident] for ident in ids]

    async def open(self, url, timeout=OPEN_TIMEOUT):
        return await websockets.connect(
            url, open_timeout=timeout, ping_interval=None,
            max_size=None, max_queue=None, compression=None)

    async def connect(self, url, n):
        gate = asyncio.Semaphore(AT_ONCE)

        async def one():
            async with gate:
                ws = await self.open(url)
            ident = len(self.all) + 1
            self.all[ident] = Connection(ident, ws)
            return ident

        return {"ids": await asyncio.gather(*(one() for _ in range(n)))}

    async def say(self, n, ids=None):
        for connection in self.chosen(ids):
            for _ in range(n):
                try:
                    await connection.say()
                except websockets.ConnectionClosed:
                    pass                # it counts as sent, and as lost
        return {"sent": n * len(self.chosen(ids))}

    async def pump(self, every, ids=None):
        for connection in self.chosen(ids):
            connection.stop()
            connection.pump = asyncio.ensure_future(connection.go_on(every))
        return {}

    async def rest(self):
        for connection in self.all.values():
            connection.stop()
        return {}

    async def unanswered(self, ids=None):
        return {"count": sum(c.due() for c in self.chosen(ids))}

    async def serve(self, url, n, timeout=OPEN_TIMEOUT):
        errors = collections.Counter()
        times = []
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number):
            async with gate:
                start = time.monotonic()
                try:
                    ws = await self.open(url, timeout)
                    text = "hello %d" % number
                    await ws.send(text)
                    back = await asyncio.wait_for(ws.recv(), timeout)
                    await ws.close()
                    if back != text:
                        raise ValueError("got %.40r" % back)
                    times.append(time.monotonic() - start)
                except (OSError, ValueError, asyncio.TimeoutError,
                        websockets.WebSocketException) as error:
                    errors["%s: %s" % (type(error).__name__, error)] += 1

        await asyncio.gather(*(one(number) for number in range(n)))
        return {"served": len(times), "slowest": max(times, default=0),
                "errors": errors}

    async def judge(self, timeout, ids=None):
        chosen = self.chosen(ids)
        await until(lambda: all(c.ended is not None or not c.due()
                                for c in chosen), timeout)
        return {"messages": sum(c.heard for c in chosen),
                "lost": sum(c.due() for c in chosen),
                "doubled": sum(text.endswith("doubled") for c in chosen
                               for text in c.wrong),
                "harmed": sum(bool(c.verdicts()) for c in chosen),
                "verdicts": [text for c in chosen for text in c.verdicts()]}

    async def ended(self, timeout, ids=None):
        chosen = self.chosen(ids)
        await until(lambda: all(c.ended is not None for c in chosen), timeout)
        ends = [c for c in chosen if c.ended is not None]
        return {"codes": collections.Counter(str(c.code) for c in ends),
                "last": max((c.ended for c in ends), default=0),
                "open": len(chosen) - len(ends)}

    async def ports(self, ids=None):
        return {"ports": {c.ident: c.port for c in self.chosen(ids)
                          if c.ended is None}}

    async def close(self, ids=None):
        chosen = self.chosen(ids)
        for connection in chosen:
            connection.stop()
        await asyncio.gather(*(c.ws.close() for c in chosen))
        return await self.ended(5, ids)


async def until(true, timeout):
    end = time.monotonic() + timeout
    while not true() and time.monotonic() < end:
        await asyncio.sleep(0.01)


async def main():
    checker = Checker()
    traffic = Traffic()
    commands = {name: getattr(checker, name) for name in (
        "connect", "say", "pump", "rest", "unanswered", "serve", "judge",
        "ended", "ports", "close")}
    commands.update({name: getattr(traffic, name) for name in (
        "listen", "ask", "tallies", "silence", "slow", "vanish")})
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    while True:
        line = await reader.readline()
        if not line:
            os._exit(0)                 # closes are not sent
        try:
            command = json.loads(line)
            answer = await commands[command.pop("do")](**command)
        except Exception as error:      # the caller reads it and gives up
            answer = {"error": "%s: %s" % (type(error).__name__, error)}
        print(json.dumps(answer), flush=True)


asyncio.run(main())
