"""Clients beside the numbered WebSockets of checker.py: server-sent events that
come back by Last-Event-ID, HTTP requests, and two kinds of bad WebSocket
clients, one that reads slowly and one that is gone without a word.

They know nothing of Corral: the agent behind counts (/events), says what it was
asked (/) and echoes (/echo).
"""

import asyncio
import base64
import collections
import json
import os
import socket
import struct
import time
from urllib.parse import urlparse

REQUEST_TIMEOUT = 20        # seconds
STREAM_SILENT = 60          # no event for so long: comes back
COME_BACK = 0.1             # seconds until an EventSource comes again

TCP_REPAIR = 19             # of linux/tcp.h


async def http(url, method='GET', body=b'', headers=()):
    """Sends a request; returns the reader, writer, status and headers."""
    u = urlparse(url)
    reader, writer = await asyncio.open_connection(u.hostname, u.port,
                                                   limit=1 << 20)
    try:
        lines = [f'{method} {u.path}?{u.query} HTTP/1.1', f'Host: {u.netloc}',
                 'Connection: close', *headers]
        if body:
            lines.append(f'Content-Length: {len(body)}')
        writer.write('\r\n'.join(lines).encode() + b'\r\n\r\n' + body)
        head = (await reader.readuntil(b'\r\n\r\n')).decode()
        status = int(head.split(' ', 2)[1])
        fields = dict(line.lower().split(': ', 1)
                      for line in head.split('\r\n')[1:] if ': ' in line)
        return reader, writer, status, fields
    except BaseException:
        writer.close()
        raise


async def chunks(reader, fields):
    """The parts of a body; EOFError if it breaks off."""
    if 'content-length' in fields:
        yield await reader.readexactly(int(fields['content-length']))
        return
    if fields.get('transfer-encoding') != 'chunked':
        while data := await reader.read(65536):
            yield data
        return
    while True:
        size = int(await reader.readuntil(b'\r\n'), 16)
        data = await reader.readexactly(size + 2)
        if size == 0:
            return
        yield data[:-2]


class Stream:
    """An EventSource of a stream that counts from 1; after its end, another."""

    def __init__(self, url):
        self.url = url
        self.last_id = ''
        self.count = 0
        self.tally = collections.Counter()
        self.wrong = []
        self.task = asyncio.ensure_future(self.go_on())

    async def go_on(self):
        while True:
            try:
                await asyncio.wait_for(self.once(), STREAM_SILENT)
            except (OSError, EOFError, ValueError, IndexError,
                    asyncio.TimeoutError) as error:
                self.tally['breaks'] += 1
                self.tally[f'break: {type(error).__name__}: {error}'] += 1
            await asyncio.sleep(COME_BACK)

    async def once(self):
        headers = ['Accept: text/event-stream']
        if self.last_id:
            headers.append(f'Last-Event-ID: {self.last_id}')
            self.tally['resumed'] += 1
        reader, writer, status, fields = await http(self.url, headers=headers)
        try:
            if status == 204:               # it has all of it
                self.begin()
                return
            if status != 200:
                raise ValueError(f'status {status}')
            text = b''
            async for data in chunks(reader, fields):
                text += data
                *events, text = text.split(b'\n\n')
                for event in events:
                    self.take(event.decode())
        finally:
            writer.close()

    def begin(self):
        self.last_id, self.count = '', 0

    def take(self, text):
        fields = {}
        for line in text.split('\n'):
            name, _, value = line.partition(':')
            if name:
                fields[name] = value.removeprefix(' ')
        if 'id' in fields:
            self.last_id = fields['id']
        if 'data' not in fields:
            return
        data = json.loads(fields['data'])

        if fields.get('event') == 'gap':
            self.tally['gaps'] += 1
            self.tally['gap: ' + data['reason']] += 1
            if data['reason'] == 'dropped':
                self.count = data['to']
            if not self.last_id:
                self.begin()
        elif fields.get('event') == 'end':
            self.tally['ends'] += 1
            if self.count != data['of']:
                self.wrong.append(f'the end comes after {self.count}')
            self.begin()
        elif fields.get('event') == 'count':
            self.event(data['count'])

    def event(self, number):
        self.tally['events'] += 1
        if number <= self.count:
            self.tally['doubled'] += 1
            self.wrong.append(f'event {number} is doubled')
        elif number > self.count + 1:
            self.tally['missing'] += number - self.count - 1
            self.wrong.append(f'event {number} comes after {self.count}')
        self.count = number


class Asker:
    """HTTP requests, one after the other: GET and POST in turn."""

    def __init__(self, url):
        self.url = url
        self.tally = collections.Counter()
        self.number = 0
        self.task = asyncio.ensure_future(self.go_on())

    async def go_on(self):
        while True:
            self.number += 1
            method = 'GET' if self.number % 2 else 'POST'
            try:
                await asyncio.wait_for(self.once(method), REQUEST_TIMEOUT)
                self.tally['good'] += 1
            except (OSError, EOFError, ValueError, IndexError,
                    asyncio.TimeoutError) as error:
                self.tally[f'{method}: {type(error).__name__} {error}'] += 1
                self.tally[f'failed {method}'] += 1
            await asyncio.sleep(0.02)

    async def once(self, method):
        word = f'request {self.number}'
        if method == 'GET':
            reader, writer, status, fields = await http(
                self.url, headers=[f'X-Word: {word}'])
        else:
            reader, writer, status, fields = await http(
                f'{self.url}echo', method, word.encode())
        try:
            body = b''.join([x async for x in chunks(reader, fields)]).decode()
        finally:
            writer.close()
        if status != 200:
            raise ValueError(f'status {status}: {body[:60]!r}')
        if body != word and (method == 'POST' or f'"{word}"' not in body):
            raise ValueError(f'another answer: {body[:60]!r}')


def upgrade(url):
    """A WebSocket as a plain socket."""
    u = urlparse(url)
    s = socket.create_connection((u.hostname, u.port), REQUEST_TIMEOUT)
    key = base64.b64encode(os.urandom(16)).decode()
    s.sendall((f'GET {u.path}?{u.query} HTTP/1.1\r\nHost: {u.netloc}\r\n'
               'Upgrade: websocket\r\nConnection: Upgrade\r\n'
               f'Sec-WebSocket-Key: {key}\r\n'
               'Sec-WebSocket-Version: 13\r\n\r\n').encode())
    head = b''
    while not head.endswith(b'\r\n\r\n'):
        part = s.recv(1)
        if not part:
            raise OSError('no answer to the handshake')
        head += part
    if b' 101 ' not in head:
        raise OSError(head.split(b'\r\n')[0].decode())
    return s


def frame(opcode, payload):
    """A client's frame; its mask is zero, so the payload stays as it is."""
    n = len(payload)
    size = struct.pack('!B', 128 | n) if n < 126 else \
        struct.pack('!BH', 128 | 126, n) if n < 65536 else \
        struct.pack('!BQ', 128 | 127, n)
    return bytes([128 | opcode]) + size + b'\0\0\0\0' + payload


def pad(number, size):
    return (f'{number}/' + 'x' * size)[:size].encode()


def slow_reader(url, messages, size, pause):
    """Sends all it has and reads in small parts with pauses, from another
    thread.  Returns '' or what is wrong with the echo."""
    import threading
    s = upgrade(url)
    s.settimeout(REQUEST_TIMEOUT)
    lock = threading.Lock()

    def send(data):
        with lock:
            s.sendall(data)

    def sender():
        try:
            for number in range(messages):
                send(frame(2, pad(number, size)))
        except OSError:
            pass                        # the reader says it

    threading.Thread(target=sender, daemon=True).start()
    data, number = b'', 0

    def need(n):
        nonlocal data
        while len(data) < n:
            part = s.recv(32768)
            if not part:
                raise OSError(f'ended after {number} of {messages} messages')
            data += part
            time.sleep(pause)

    try:
        while number < messages:
            need(2)
            opcode, n, start = data[0] & 15, data[1] & 127, 2
            if n > 125:
                start = 4 if n == 126 else 10
                need(start)
                n = int.from_bytes(data[2:start], 'big')
            need(start + n)
            payload, data = data[start:start + n], data[start + n:]
            if opcode == 9:
                send(frame(10, payload))
            elif opcode == 8:
                raise OSError('closed with %d after %d of %d messages' % (
                    int.from_bytes(payload[:2], 'big'), number, messages))
            elif opcode == 2:
                if payload != pad(number, size):
                    raise OSError(f'message {number} is {payload[:12]!r}')
                number += 1
        return ''
    except OSError as error:
        return str(error) or type(error).__name__
    finally:
        s.close()


def vanish(url):
    """A client whose machine loses its power: nothing is sent when it goes.
    Returns its port.  The kernel needs CAP_NET_ADMIN for this."""
    s = upgrade(url)
    port = s.getsockname()[1]
    s.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    s.close()
    return port


class Traffic:
    """The commands of checker.py that these clients have."""

    def __init__(self):
        self.streams = []
        self.askers = []

    async def listen(self, url, n):
        self.streams += [Stream(url) for _ in range(n)]
        return {}

    async def ask(self, url, n):
        self.askers += [Asker(url) for _ in range(n)]
        return {}

    async def tallies(self):
        """What came since the last time."""
        answer = {}
        for name, clients in (('streams', self.streams),
                              ('askers', self.askers)):
            total = collections.Counter()
            for client in clients:
                total += client.tally
                client.tally.clear()
            answer[name] = total
        answer['wrong'] = [x for c in self.streams for x in c.wrong]
        for client in self.streams:
            client.wrong.clear()
        return answer

    async def silence(self):
        """Streams and requests end."""
        for client in self.streams + self.askers:
            client.task.cancel()
        self.streams, self.askers = [], []
        return {}

    async def slow(self, url, n, messages, size, pause):
        loop = asyncio.get_running_loop()
        said = await asyncio.gather(*(loop.run_in_executor(
            None, slow_reader, url, messages, size, pause) for _ in range(n)))
        return {'wrong': [x for x in said if x]}

    async def vanish(self, url, n):
        loop = asyncio.get_running_loop()
        return {'ports': [await loop.run_in_executor(None, vanish, url)
                          for _ in range(n)]}
