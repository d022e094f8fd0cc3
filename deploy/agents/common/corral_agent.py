"""One listener for a Corral agent: HTTP/1.1, SSE and WebSocket.

An agent derives a class from Agent, writes http() and websocket(), and calls
main().  This file does what every agent must: it listens where Corral says,
answers GET /healthz, writes JSON log lines to stdout, and on SIGTERM stops
accepting, lets running work end within the grace and exits with 0.

It parses HTTP itself, on asyncio streams; the frames of a WebSocket are the
affair of the sans-I/O protocol of python3-websockets (10.4 in Debian 12; later
releases renamed the class, nothing else).  It knows nothing of what an agent
says.  Everything runs in one event loop: no locks, no threads.
"""

import argparse
import asyncio
import codecs
import collections
import email.utils
import errno
import http
import json
import logging
import os
import re
import signal
import socket
import stat
import sys
import time
import urllib.parse

from websockets.datastructures import Headers
from websockets.exceptions import InvalidState, ProtocolError
from websockets.extensions.permessage_deflate import \
    ServerPerMessageDeflateFactory
from websockets.frames import Opcode
from websockets.http11 import Request as HandshakeRequest

try:
    from websockets.server import ServerProtocol
    from websockets.protocol import State
except ImportError:                         # websockets 10
    from websockets.server import ServerConnection as ServerProtocol
    from websockets.connection import State


HEAD_MAX = 65536            # bytes of a request line and its headers
HEAD_TIMEOUT = 30           # seconds from the first byte of a head to its end
IDLE_TIMEOUT = 90           # kept connections; longer than nginx keeps them
READ_TIMEOUT = 60           # between two reads of a body
LINGER = 2                  # seconds of reading on after a refusal
CLOSE_TIMEOUT = 5           # for the answering Close and the end of the peer
PING_INTERVAL = 30          # a peer silent for two of them is dead
EVENT_HEARTBEAT = 15        # seconds between comments on a silent SSE stream
QUEUE_BYTES = 1 << 20       # read ahead of the handler; beyond, TCP waits
QUEUE_FRAMES = 256

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
REQUEST_LINE = re.compile(r"(%s) (\S+) HTTP/1\.([01])" % TOKEN)
HEADER_LINE = re.compile(r"(%s):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)" % TOKEN)
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")

TEXT, BINARY, CONT = Opcode.TEXT, Opcode.BINARY, Opcode.CONT


class HTTPError(Exception):
    """A refusal: status and a sentence for the client."""

    def __init__(self, status, detail, headers=()):
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = tuple(headers)


class Closed(Exception):
    """The WebSocket can take no more frames."""


def load_json(data):
    """Parse JSON from a stranger; ValueError with a sentence, never more.

    NaN and Infinity are no JSON, numbers of thousands of digits and nesting
    beyond Python's stack are refused like any other error.
    """
    def refuse(word):
        raise ValueError("%s is not a JSON value" % word)

    try:
        return json.loads(data, parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None


def log(level, message, **fields):
    """One JSON line on stdout, written at once."""
    now = time.time()
    line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
            + ".%03dZ" % (now % 1 * 1000), "level": level,
            "service": os.environ.get("CORRAL_SERVICE", ""),
            "instance": os.environ.get("CORRAL_INSTANCE", ""),
            "message": message}
    line.update(fields)
    try:
        sys.stdout.write(json.dumps(line, default=str) + "\n")
        sys.stdout.flush()
    except OSError:
        pass                                # nobody reads: serve on


def parse_listen(text):
    """("unix", path) or ("tcp", host, port); ValueError with a sentence."""
    if text.startswith("unix:"):
        path = text[5:]
        if not path:
            raise ValueError("--listen \"%s\": the path is missing" % text)
        if len(os.fsencode(path)) > 107:
            raise ValueError("--listen \"%s\": a socket path has at most 107 "
                             "bytes, this one has %d"
                             % (text, len(os.fsencode(path))))
        return "unix", path

    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+)):(\d{1,5})",
                         text)
    if not found or int(found.group(3)) > 65535:
        raise ValueError("--listen \"%s\": expected unix:/path, host:port or "
                         "[address]:port with a port up to 65535" % text)
    return "tcp", found.group(1) or found.group(2), int(found.group(3))


def number(low, high):
    """An argparse type: a whole number from low to high."""
    def convert(text):
        if not re.fullmatch(r"\d{1,18}", text) \
                or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(
                "\"%s\": expected a whole number from %d to %d"
                % (text, low, high))
        return int(text)
    return convert


class Request:
    """One request: what its head said, and the body once it was read."""

    def __init__(self, method, target, minor, headers, peer):
        self.method = method
        self.target = target
        self.minor = minor                  # HTTP/1.minor
        self.headers = headers
        self.peer = peer
        self.body = b""

        try:
            parts = urllib.parse.urlsplit(
                target if not target.startswith("//") else "/" + target[2:])
            self.query = dict(urllib.parse.parse_qsl(
                parts.query, keep_blank_values=True, max_num_fields=256))
        except ValueError as error:
            raise HTTPError(400, "the request target is broken: %s" % error)
        self.path = parts.path or "/"

        # the codings and the length decide where the next request begins: two
        # readings of them are a hole, so anything unusual is refused

        lengths = headers.get_all("Content-Length")
        codings = headers.get_all("Transfer-Encoding")
        if codings and lengths:
            raise HTTPError(400, "both Content-Length and Transfer-Encoding")
        if codings and (len(codings) > 1 or codings[0].lower() != "chunked"):
            raise HTTPError(501, "Transfer-Encoding \"%s\": only chunked is "
                            "supported" % ", ".join(codings))
        if len(lengths) > 1 \
                or lengths and not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
            raise HTTPError(400, "Content-Length \"%s\": expected one number"
                            % ", ".join(lengths))
        self.chunked = bool(codings)
        self.length = int(lengths[0]) if lengths else 0

    def words(self, name):
        """The comma separated words of a header, in lower case."""
        return [word.strip().lower() for value in self.headers.get_all(name)
                for word in value.split(",")]

    def header(self, name, default=""):
        """The value of a header, several joined as HTTP allows."""
        return ", ".join(self.headers.get_all(name)) or default

    def upgrades(self):
        return "websocket" in self.words("Upgrade")

    def wants_events(self):
        return any(word.split(";")[0].strip() == "text/event-stream"
                   for word in self.words("Accept"))

    def keeps(self):
        words = self.words("Connection")
        return "keep-alive" in words if self.minor == 0 \
            else "close" not in words

    def number(self, name, default, low, high):
        """A whole number of the query; HTTPError 400 when it is none."""
        text = self.query.get(name)
        if text is None:
            return default
        if not re.fullmatch(r"\d{1,18}", text) \
                or not low <= int(text) <= high:
            raise HTTPError(400, "%s=\"%s\": expected a whole number from %d "
                            "to %d" % (name, text[:40], low, high))
        return int(text)

    def json(self):
        """The body as JSON; HTTPError 400 when it is none."""
        try:
            return load_json(self.body)
        except ValueError as error:
            raise HTTPError(400, "the body is not JSON: %s" % error)


class Reply:
    """The answer to one request: whole, or a stream of events."""

    def __init__(self, request, writer, agent):
        self.request = request
        self.writer = writer
        self.agent = agent
        self.keep = request.keeps()
        self.started = False
        self.chunked = False
        self.touched = 0.0

    def head(self, status, headers):
        self.started = True
        self.keep = self.keep and not self.agent.stopping
        lines = ["HTTP/1.1 %d %s" % (status, http.HTTPStatus(status).phrase),
                 "Date: " + email.utils.formatdate(usegmt=True)]
        lines += ["%s: %s" % pair for pair in headers]
        lines += ["Connection: " + ("keep-alive" if self.keep else "close")]
        self.writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")

    async def send(self, body, status=200, ctype="application/octet-stream",
                   headers=()):
        """Send a whole answer."""
        about = [] if status == 204 else [("Content-Type", ctype),
                                          ("Content-Length", len(body))]
        self.head(status, [*about, *headers])
        if self.request.method != "HEAD":
            self.writer.write(body)
        await self.writer.drain()

    async def json(self, value, status=200, ctype="application/json",
                   headers=()):
        """Send a value as JSON."""
        await self.send(json.dumps(value).encode() + b"\n", status, ctype,
                        headers)

    async def problem(self, status, detail, headers=()):
        """Send an error as a problem document (RFC 9457)."""
        await self.json({"title": http.HTTPStatus(status).phrase,
                         "status": status, "detail": detail}, status,
                        "application/problem+json", headers)

    async def events(self):
        """Begin a stream of server-sent events; event() and end() follow."""
        self.chunked = self.request.minor == 1
        if not self.chunked:
            self.keep = False
        headers = [("Content-Type", "text/event-stream"),
                   ("Cache-Control", "no-store")]
        if self.chunked:
            headers.append(("Transfer-Encoding", "chunked"))
        self.head(200, headers)
        self.heart = asyncio.ensure_future(self._beat())
        await self.writer.drain()

    async def event(self, data, name=None, ident=None):
        """Send one event; data is text, or a value to be sent as JSON."""
        text = data if isinstance(data, str) else json.dumps(data)
        lines = []
        if ident is not None:
            lines.append("id: %s" % ident)
        if name is not None:
            lines.append("event: %s" % name)
        lines += ["data: " + line for line in re.split(r"\r\n|\r|\n", text)]
        await self._piece("\n".join(lines) + "\n\n")

    async def end(self):
        """End the stream."""
        self.heart.cancel()
        if self.chunked and self.request.method != "HEAD":
            self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def _piece(self, text):
        self.touched = time.monotonic()
        if self.request.method == "HEAD":
            return
        data = text.encode("utf-8", "replace")
        if self.chunked:
            data = b"%x\r\n%s\r\n" % (len(data), data)
        self.writer.write(data)
        await self.writer.drain()

    async def _beat(self):
        try:
            while True:
                await asyncio.sleep(EVENT_HEARTBEAT)
                if time.monotonic() - self.touched >= EVENT_HEARTBEAT:
                    await self._piece(": still here\n\n")
        except OSError:
            self.writer.transport.abort()


class WebSocket:
    """One WebSocket after its handshake.

    A task of its own reads, answers pings and queues data frames; the handler
    takes them by frames() or messages().  When the queue is full nothing is
    read, so the sender waits.  After stop() both end as soon as the messages
    that had arrived are taken.
    """

    def __init__(self, reader, writer, protocol, request):
        self.reader = reader
        self.writer = writer
        self.protocol = protocol
        self.request = request
        self.subprotocol = protocol.subprotocol
        self.dead = False               # nothing more comes from the peer
        self._queue = collections.deque()
        self._size = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._left = None               # frames to take after stop()
        self._middle = False            # between the frames of a message
        self._text = None               # decoder of the text under way
        self._heard = time.monotonic()
        self._reading = False
        self._pongs = set()             # futures of alive()
        self._task = asyncio.ensure_future(self._read())
        self._pinger = asyncio.ensure_future(self._ping())

    async def frames(self):
        """Yield (opcode, data, fin) as they came."""
        while True:
            while not self._queue:
                if self.dead or self._left is not None and not self._middle:
                    return
                self._news.clear()
                await self._news.wait()
            if self._left is not None:
                if self._left <= 0 and not self._middle:
                    return
                self._left -= 1
            frame = self._queue.popleft()
            self._size -= len(frame.data)
            self._middle = not frame.fin
            self._room.set()
            yield frame.opcode, frame.data, frame.fin

    async def messages(self):
        """Yield whole messages: str for text, bytes for binary."""
        parts, kind = [], None
        async for opcode, data, fin in self.frames():
            if opcode is not CONT:
                kind = opcode
            parts.append(data)
            if fin:
                data = b"".join(parts)
                parts = []
                yield data.decode() if kind is TEXT else data

    async def frame(self, opcode, data, fin):
        """Send one data frame; Closed when that cannot be."""
        try:
            if opcode is CONT:
                self.protocol.send_continuation(data, fin)
            elif opcode is TEXT:
                self.protocol.send_text(data, fin)
            else:
                self.protocol.send_binary(data, fin)
        except (InvalidState, ProtocolError) as error:
            raise Closed(str(error)) from None
        await self._flush()

    async def send(self, message):
        """Send str as a text message, bytes as a binary one."""
        if isinstance(message, str):
            await self.frame(TEXT, message.encode("utf-8", "replace"), True)
        else:
            await self.frame(BINARY, message, True)

    async def alive(self, timeout):
        """Whether the peer answers a ping within timeout seconds."""
        waiter = asyncio.get_running_loop().create_future()
        self._pongs.add(waiter)
        try:
            self.protocol.send_ping(b"alive?")
            await asyncio.wait_for(self._both(waiter), timeout)
            return True
        except (InvalidState, Closed, asyncio.TimeoutError):
            return False
        finally:
            self._pongs.discard(waiter)

    async def _both(self, waiter):
        await self._flush()
        await waiter

    def stop(self):
        """Let frames() end after what has arrived."""
        if self._left is None:
            self._left = len(self._queue)
            self._news.set()

    async def close(self, code=1000, reason=""):
        """Close, wait for the peer's answer, then free everything."""
        try:
            if self.protocol.state is State.OPEN:
                if self.protocol.expect_continuation_frame:
                    self.protocol.fail(1011, "a message was cut")
                else:
                    self.protocol.send_close(code, reason)
            await asyncio.wait_for(self._flush(), CLOSE_TIMEOUT)
            self._queue.clear()
            self._size = 0
            self._left = 0
            self._room.set()
            await asyncio.wait_for(asyncio.shield(self._task), CLOSE_TIMEOUT)
        except (Closed, asyncio.TimeoutError):
            pass
        finally:
            self.abort()

    def abort(self):
        """End at once, without a Close frame."""
        self._pinger.cancel()
        self._task.cancel()
        self.writer.transport.abort()

    async def _flush(self):
        try:
            for data in self.protocol.data_to_send():
                if data:
                    self.writer.write(data)
                elif self.writer.can_write_eof():
                    self.writer.write_eof()
            await self.writer.drain()
        except (OSError, RuntimeError) as error:
            raise Closed(str(error)) from None

    async def _read(self):
        """Feed the protocol until the peer's end; runs as a task."""
        deadline = None
        try:
            while True:
                if self.protocol.eof_sent and deadline is None:
                    deadline = time.monotonic() + CLOSE_TIMEOUT
                self._reading = True
                read = self.reader.read(65536)
                data = await (read if deadline is None else asyncio.wait_for(
                    read, max(0.01, deadline - time.monotonic())))
                self._reading = False
                self._heard = time.monotonic()
                if not data:
                    self.protocol.receive_eof()
                    await self._flush()
                    return
                self.protocol.receive_data(data)
                for frame in self.protocol.events_received():
                    self._take(frame)
                await self._flush()
                while self._size > QUEUE_BYTES \
                        or len(self._queue) > QUEUE_FRAMES:
                    self._room.clear()
                    await self._room.wait()
        except (OSError, Closed, asyncio.TimeoutError):
            self.writer.transport.abort()
        finally:
            self.dead = True
            self._news.set()

    def _take(self, frame):
        if frame.opcode is Opcode.PONG:
            for waiter in self._pongs:
                if not waiter.done():
                    waiter.set_result(True)
            return
        if frame.opcode is Opcode.CLOSE:
            self.dead = True
        elif frame.opcode in (TEXT, BINARY, CONT):
            if self.protocol.state is not State.OPEN or self._left == 0 \
                    and not self._middle or not self._valid(frame):
                return
            self._queue.append(frame)
            self._size += len(frame.data)
        else:
            return
        self._news.set()

    def _valid(self, frame):
        """Check the text of a frame; a broken one fails the connection."""
        if frame.opcode is TEXT:
            self._text = codecs.getincrementaldecoder("utf-8")()
        if self._text is not None:
            try:
                self._text.decode(frame.data, frame.fin)
            except UnicodeDecodeError:
                self.protocol.fail(1007, "text is not UTF-8")
                self.dead = True
                self._news.set()
                return False
            if frame.fin:
                self._text = None
        return True

    async def _ping(self):
        while True:
            await asyncio.sleep(PING_INTERVAL)
            silent = time.monotonic() - self._heard
            if self._reading and silent > 2 * PING_INTERVAL:
                self.writer.transport.abort()
                return
            try:
                self.protocol.send_ping(b"")
                await self._flush()
            except (InvalidState, Closed):
                return


class Agent:
    """An agent: derive, set name, write http() and websocket()."""

    name = "agent"
    description = ""
    subprotocols = ()                   # accepted when the client offers them
    max_message = 1 << 20               # bytes; 0: no limit; --max-message
    max_body = 16 << 20                 # bytes; --max-body

    def arguments(self, parser):
        """Add own options to the argparse parser."""

    async def start(self):
        """Prepare before listening; a ValueError ends with its sentence."""

    async def finish(self):
        """Last act, after all connections ended."""

    async def http(self, request, reply):
        """Answer one request that is no WebSocket and not /healthz."""
        raise HTTPError(404, "nothing is at %s" % request.path)

    async def websocket(self, socket, request):
        """Serve one WebSocket; returning closes it."""

    def accept(self, request):
        """Raise HTTPError to refuse a WebSocket before its handshake."""

    # what follows is the machinery; agents do not override it

    def __init__(self):
        self.stopping = False
        self.sockets = set()
        self._tasks = {}                # task of a connection -> is it busy
        self._began = time.monotonic()
        self._quiet = logging.getLogger("corral_agent.protocol")
        self._quiet.setLevel(logging.CRITICAL + 1)

    def main(self, argv=None):
        """Run until SIGTERM; ends the process."""
        parser = argparse.ArgumentParser(
            description=self.description, allow_abbrev=False)
        parser.add_argument(
            "--listen", default=os.environ.get("CORRAL_LISTEN"),
            help="unix:/path, host:port or [address]:port "
                 "(default: $CORRAL_LISTEN)")
        parser.add_argument(
            "--grace", type=number(0, 86400), default=8, metavar="SECONDS",
            help="for running work after SIGTERM (default: 8)")
        parser.add_argument(
            "--max-message", type=number(0, 1 << 40), metavar="BYTES",
            default=self.max_message,
            help="of one WebSocket message, 0: no limit "
                 "(default: %(default)s)")
        parser.add_argument(
            "--max-body", type=number(0, 1 << 40), metavar="BYTES",
            default=self.max_body,
            help="of one request (default: %(default)s)")
        parser.add_argument(
            "--no-deflate", action="store_true",
            help="do not compress WebSocket messages")
        self.arguments(parser)
        self.options = parser.parse_args(argv)

        if not self.options.listen:
            parser.error("where to listen is missing: set CORRAL_LISTEN or "
                         "give --listen unix:/path or --listen host:port")
        try:
            self.address = parse_listen(self.options.listen)
            asyncio.run(self._main())
        except (ValueError, OSError) as error:
            sys.stderr.write("%s: %s\n" % (self.name, error))
            sys.exit(1)
        sys.exit(0)

    async def _main(self):
        await self.start()
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, ended.set)

        sock = bind(self.address)
        path = self.address[1] if self.address[0] == "unix" else None
        inode = os.stat(path).st_ino if path else None
        serve = asyncio.start_unix_server if path else asyncio.start_server
        server = await serve(self._connection, sock=sock, limit=HEAD_MAX,
                             backlog=511)
        log("info", "listening", agent=self.name, listen=self.options.listen,
            pid=os.getpid())

        await ended.wait()
        self.stopping = True
        server.close()
        if path:
            try:                        # unless a successor has taken it
                if os.stat(path).st_ino == inode:
                    os.unlink(path)
            except OSError:
                pass
        await self._drain()
        await self.finish()
        log("info", "stopped", agent=self.name)

    async def _drain(self):
        """End idle connections now, busy ones when done or at the grace."""
        log("info", "stopping", agent=self.name, connections=len(self._tasks),
            grace=self.options.grace)
        for socket_ in self.sockets:
            socket_.stop()
        for task, busy in self._tasks.items():
            if not busy:
                task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=self.options.grace)
        left = list(self._tasks)
        if left:
            log("warning", "grace is over, cutting connections",
                agent=self.name, connections=len(left))
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=LINGER)

    async def _connection(self, reader, writer):
        """Serve one connection from accept to close."""
        task = asyncio.current_task()
        self._tasks[task] = False
        try:
            while not self.stopping:
                request = await self._head(reader, writer)
                if request is None:
                    break
                self._tasks[task] = True
                if request.upgrades():
                    if await self._upgrade(request, reader, writer):
                        return
                    break
                if not await self._answer(request, reader, writer):
                    break
                self._tasks[task] = False
            await linger(reader, writer)
        except HTTPError as error:      # of the head: no request to go on from
            try:
                await refuse(writer, error)
                await linger(reader, writer)
            except OSError:
                pass
        except (OSError, EOFError, asyncio.TimeoutError):
            pass
        except asyncio.CancelledError:
            if not self.stopping:
                raise
        finally:
            self._tasks.pop(task, None)
            writer.close()

    async def _head(self, reader, writer):
        """The next request, or None at the end of the connection."""
        try:
            first = await asyncio.wait_for(reader.read(1), IDLE_TIMEOUT)
            while first in (b"\r", b"\n"):
                first = await asyncio.wait_for(reader.read(1), HEAD_TIMEOUT)
            if not first:
                return None
            head = first + await asyncio.wait_for(
                reader.readuntil(b"\r\n\r\n"), HEAD_TIMEOUT)
        except asyncio.LimitOverrunError:
            raise HTTPError(431, "the head of the request is longer than %d "
                            "bytes" % HEAD_MAX) from None
        except asyncio.IncompleteReadError:
            return None

        lines = head[:-4].decode("latin-1").split("\r\n")
        found = REQUEST_LINE.fullmatch(lines[0])
        if not found:
            raise HTTPError(400, "the request line is broken: \"%s\""
                            % lines[0][:80])
        headers = Headers()
        for line in lines[1:]:
            pair = HEADER_LINE.fullmatch(line)
            if not pair:
                raise HTTPError(400, "a header line is broken: \"%s\""
                                % line[:80])
            headers[pair.group(1)] = pair.group(2).rstrip(" \t")
        peer = writer.get_extra_info("peername")
        return Request(found.group(1), found.group(2), int(found.group(3)),
                       headers, peer[0] if isinstance(peer, tuple) else "unix")

    async def _answer(self, request, reader, writer):
        """Answer one HTTP request; True when the connection goes on."""
        reply = Reply(request, writer, self)
        try:
            request.body = await read_body(request, reader, writer,
                                           self.options.max_body)
            if request.path == "/healthz":
                await self._healthz(request, reply)
            else:
                await self.http(request, reply)
        except HTTPError as error:
            if reply.started:
                raise ConnectionError("refused after the answer began")
            if not request.body and (request.length or request.chunked):
                reply.keep = False      # an unread body is not a next request
            await reply.problem(error.status, str(error), error.headers)
        except (ConnectionError, EOFError, asyncio.TimeoutError):
            raise
        except Exception as error:
            log("error", "request failed", path=request.path,
                error="%s: %s" % (type(error).__name__, error))
            if reply.started:
                raise ConnectionError("failed after the answer began")
            await reply.problem(500, "the agent failed; its log says why")
        finally:
            if reply.chunked:
                reply.heart.cancel()
        return reply.keep

    async def _healthz(self, request, reply):
        if request.method not in ("GET", "HEAD"):
            raise HTTPError(405, "%s: only GET and HEAD" % request.method,
                            [("Allow", "GET, HEAD")])
        await reply.json({
            "status": "stopping" if self.stopping else "ok",
            "agent": self.name,
            "service": os.environ.get("CORRAL_SERVICE", ""),
            "instance": os.environ.get("CORRAL_INSTANCE", ""),
            "websockets": len(self.sockets),
            "uptime": round(time.monotonic() - self._began, 3),
        }, 503 if self.stopping else 200)

    async def _upgrade(self, request, reader, writer):
        """Serve a WebSocket; False when its handshake was refused."""
        if request.method != "GET" or request.minor != 1 or request.length \
                or request.chunked:
            raise HTTPError(400, "a WebSocket begins with GET and HTTP/1.1, "
                            "without a body")
        self.accept(request)

        factory = ServerPerMessageDeflateFactory(
            compress_settings={"memLevel": 5})
        # only what was offered: later releases refuse an offer without a match
        offered = [word.strip() for word in
                   request.header("Sec-WebSocket-Protocol").split(",")]
        protocol = ServerProtocol(
            state=State.OPEN, subprotocols=[
                word for word in self.subprotocols if word in offered] or None,
            extensions=() if self.options.no_deflate else (factory,),
            max_size=self.options.max_message or None, logger=self._quiet)
        answer = protocol.accept(
            HandshakeRequest(request.target, request.headers))
        writer.write(answer.serialize())
        await writer.drain()
        if answer.status_code != 101:
            return False

        socket_ = WebSocket(reader, writer, protocol, request)
        self.sockets.add(socket_)
        try:
            if self.stopping:
                socket_.stop()
            await self.websocket(socket_, request)
            await (socket_.close(1012, "the agent stops") if self.stopping
                   else socket_.close())
        except Closed:
            await socket_.close()
        except asyncio.CancelledError:
            await socket_.close(1012, "the agent stops")
            raise
        except Exception as error:
            log("error", "websocket failed", path=request.path,
                error="%s: %s" % (type(error).__name__, error))
            await socket_.close(1011, "the agent failed")
        finally:
            self.sockets.discard(socket_)
            socket_.abort()
        return True


def bind(address):
    """A bound socket; OSError with a sentence when that cannot be."""
    try:
        if address[0] == "tcp":
            info = socket.getaddrinfo(address[1], address[2],
                                      type=socket.SOCK_STREAM,
                                      flags=socket.AI_PASSIVE)[0]
            sock = socket.socket(info[0], socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(info[4])
            return sock

        path = address[1]
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.path.lexists(path):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise OSError(errno.EEXIST, "a file that is not a socket is "
                              "there")
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(path) == 0:
                    raise OSError(errno.EADDRINUSE,
                                  "another process listens there")
            os.unlink(path)             # left by a process that was killed
        mask = os.umask(0o117)          # 0660: the gateway is in our group
        try:
            sock.bind(path)
        finally:
            os.umask(mask)
        return sock
    except OSError as error:
        where = "unix:" + address[1] if address[0] == "unix" \
            else "%s:%d" % address[1:]
        raise OSError("cannot listen on %s: %s"
                      % (where, error.strerror or error)) from None


async def read_body(request, reader, writer, limit):
    """The body of a request; HTTPError when it is broken or too long."""
    if not request.length and not request.chunked:
        return b""
    if request.length > limit:
        raise HTTPError(413, "a body of %d bytes: at most %d are taken"
                        % (request.length, limit))
    if "100-continue" in request.words("Expect"):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if not request.chunked:
        return await take(reader, request.length)

    body = bytearray()
    while True:
        try:
            line = await asyncio.wait_for(reader.readuntil(b"\r\n"),
                                          READ_TIMEOUT)
        except asyncio.LimitOverrunError:
            line = b""
        found = CHUNK_SIZE.fullmatch(line)
        if not found:
            raise HTTPError(400, "a chunk size is broken")
        size = int(found.group(1), 16)
        if len(body) + size > limit:
            raise HTTPError(413, "the body is longer than %d bytes" % limit)
        if size == 0:
            break
        body += await take(reader, size)
        if await take(reader, 2) != b"\r\n":
            raise HTTPError(400, "a chunk does not end where it says")
    for _ in range(100):                # trailers: read and forgotten
        try:
            line = await asyncio.wait_for(reader.readuntil(b"\r\n"),
                                          READ_TIMEOUT)
        except asyncio.LimitOverrunError:
            break
        if line == b"\r\n":
            return bytes(body)
    raise HTTPError(400, "the trailers are too long")


async def take(reader, size):
    """Exactly size bytes; a pause longer than READ_TIMEOUT is an error."""
    parts = []
    while size:
        part = await asyncio.wait_for(reader.read(min(size, 1 << 18)),
                                      READ_TIMEOUT)
        if not part:
            raise EOFError("the body ended early")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


async def refuse(writer, error):
    """Answer a request whose head could not be used."""
    body = json.dumps({"title": http.HTTPStatus(error.status).phrase,
                       "status": error.status,
                       "detail": error.detail}).encode() + b"\n"
    writer.write(b"HTTP/1.1 %d %s\r\nContent-Type: application/problem+json"
                 b"\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
                 % (error.status,
                    http.HTTPStatus(error.status).phrase.encode(), len(body),
                    body))
    await writer.drain()


async def linger(reader, writer):
    """Half-close and read on: a reset would eat the answer under way."""
    if writer.transport.is_closing() or not writer.can_write_eof():
        return
    writer.write_eof()
    end = time.monotonic() + LINGER
    while time.monotonic() < end:
        data = await asyncio.wait_for(reader.read(65536),
                                      max(0.01, end - time.monotonic()))
        if not data:
            return
