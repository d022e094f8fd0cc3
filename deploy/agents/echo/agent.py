#!/usr/bin/python3
"""echo: says what it hears, over WebSocket, HTTP and SSE.

WebSocket  every data frame comes back as it came: opcode, bytes and the place
           of the fragments; subprotocol "echo" is accepted when offered
GET /      what the agent saw of the request
POST /echo the body
GET /events?n=5&interval=1000   counts, as server-sent events
?delay=ms  waits before each answer, each message and the first event
"""

import asyncio
import os
import sys

sys.path.insert(0, os.path.join(
    os.path.dirname(os.path.realpath(__file__)), "..", "common"))

from corral_agent import Agent, Closed, HTTPError, CONT  # noqa: E402

DELAY_MAX = 600000          # milliseconds


class Echo(Agent):
    name = "echo"
    description = "Echoes WebSocket frames and HTTP bodies, counts over SSE."
    subprotocols = ("echo",)
    max_message = 0

    async def http(self, request, reply):
        delay = request.number("delay", 0, 0, DELAY_MAX)
        allowed = {"/": ("GET", "HEAD"), "/events": ("GET", "HEAD"),
                   "/echo": ("POST", "PUT")}.get(request.path)
        if allowed is None:
            raise HTTPError(404, "nothing is at %s: try /, /echo or /events"
                            % request.path)
        if request.method not in allowed:
            raise HTTPError(405, "%s %s: allowed are %s"
                            % (request.method, request.path,
                               ", ".join(allowed)),
                            [("Allow", ", ".join(allowed))])
        if request.path == "/events":
            await self.count(request, reply, delay)
            return

        await asyncio.sleep(delay / 1000)
        if request.path == "/echo":
            await reply.send(request.body, ctype=request.header(
                "Content-Type", "application/octet-stream"))
        else:
            await reply.json({
                "agent": self.name,
                "service": os.environ.get("CORRAL_SERVICE", ""),
                "instance": os.environ.get("CORRAL_INSTANCE", ""),
                "pid": os.getpid(),
                "method": request.method,
                "path": request.path,
                "query": request.query,
                "headers": [list(pair) for pair in
                            request.headers.raw_items()],
                "peer": request.peer,
            })

    async def count(self, request, reply, delay):
        n = request.number("n", 5, 0, 1000000)
        interval = request.number("interval", 1000, 0, DELAY_MAX)
        last = request.header("Last-Event-ID", "0")
        if not last.isascii() or not last.isdigit() or len(last) > 18:
            raise HTTPError(400, "Last-Event-ID \"%s\": expected a number that "
                            "this stream has sent" % last[:40])

        await reply.events()
        await asyncio.sleep(delay / 1000)
        for i in range(int(last) + 1, n + 1):
            if i > int(last) + 1:
                await asyncio.sleep(interval / 1000)
            await reply.event({"count": i, "of": n}, "count", i)
        await reply.event({"of": n}, "end")
        await reply.end()

    def accept(self, request):
        request.number("delay", 0, 0, DELAY_MAX)

    async def websocket(self, socket, request):
        delay = request.number("delay", 0, 0, DELAY_MAX)
        try:
            async for opcode, data, fin in socket.frames():
                if delay and opcode is not CONT:
                    await asyncio.sleep(delay / 1000)
                await socket.frame(opcode, data, fin)
        except Closed:
            return


if __name__ == "__main__":
    Echo().main()
