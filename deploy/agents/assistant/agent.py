#!/usr/bin/python3
"""assistant: the event protocol of MyAgent's agents over WebSocket, as the
reference of an agent that survives: its sessions can be taken over by another
connection, another process, another instance.

It has no language model: fixed patterns choose between arithmetic, notes and a
search in the documentation, and the answers say so ("method").

Whose is a session?  Of the connection that made it.  Once that is gone, of a
client that brings the signed state, or of a connection with the same
Corral-Session header, which only the gateway can set.  On a connection with
Corral-Resume an unknown session id is taken as the client's own: the gateway
has moved a client whose session lived in an instance that died.
"""

import asyncio
import collections
import json
import os
import sys
import time
import uuid

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "common"))

from corral_agent import Agent, Closed, HTTPError, \
    load_json, log, number  # noqa: E402
import corral_docs  # noqa: E402
from session import NAME, Session  # noqa: E402
from state import SESSION_ID, Signer, StateError, Store, \
    load_key, make_folder  # noqa: E402

ROOT = os.path.normpath(os.path.join(HERE, "..", "..", ".."))
KEY_ENV = "ASSISTANT_STATE_KEY"
QUEUE_MAX = 1000            # events waiting for a slow client
MESSAGE_MAX = 16000         # characters of a user message
SESSIONS_MAX = 64           # of one connection
SESSIONS_TOTAL = 10000      # of this process
ALIVE_TIMEOUT = 2           # seconds for a pong, before a session is taken over
CLOSED_MAX = 1000           # ids of ended sessions that are remembered


class Refused(Exception):
    """The client is told why; its text goes into the content."""


class Connection:
    """One client: numbers its events and writes them in that order."""

    def __init__(self, agent, socket, request):
        self.agent = agent
        self.socket = socket
        self.id = uuid.uuid4().hex
        self.owner = request.header("Corral-Session")
        self.resumed = bool(self.owner) and bool(
            request.header("Corral-Resume"))
        self.sessions = set()
        self.seq = 0
        self.written = 0                # seq of the last event on the socket
        self.dead = False
        self._out = collections.deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._writer = asyncio.ensure_future(self._write())

    def post(self, body):
        """Number an event and queue it; returns its number."""
        self.seq += 1
        event = {"event": body["event"],
                 "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S",
                                            time.gmtime()) + "Z",
                 "connection_id": self.id, **body, "seq": self.seq,
                 "event_id": "%s-%d" % (self.id, self.seq)}
        event["metadata"] = {**body.get("metadata", {}),
                             "connection_id": self.id}
        self._out.append(json.dumps(event))
        self._news.set()
        return self.seq

    def say(self, event, content, metadata=None, session_id=None):
        """An event of the connection: not kept, not replayed."""
        body = {"event": event, "content": content,
                "metadata": metadata or {}}
        if session_id is not None:
            body["session_id"] = session_id
        self.post(body)

    async def flow(self):
        """Wait until the queue has room."""
        while len(self._out) >= QUEUE_MAX and not self.dead:
            self._room.clear()
            await self._room.wait()

    async def drained(self):
        """Wait until all is written, or cannot be."""
        while self._out and not self.dead:
            self._room.clear()
            await self._room.wait()

    async def _write(self):
        try:
            while True:
                while self._out:
                    await self.socket.send(self._out[0])
                    self._out.popleft()
                    self.written += 1
                    self._room.set()
                self._news.clear()
                await self._news.wait()
        except Closed:
            self.dead = True
            self._room.set()

    def end(self):
        """Leave the sessions to whoever comes for them."""
        self.dead = True
        self._room.set()
        self._writer.cancel()
        for session in list(self.sessions):
            if session.connection is self:
                session.detach()
        self.sessions.clear()


class Assistant(Agent):
    name = "assistant"
    description = "MyAgent's event protocol, with sessions that survive."

    def arguments(self, parser):
        parser.add_argument(
            "--docs", action="append", metavar="PATH",
            help="Markdown file, or folder of them; may be given again "
                 "(default: docs and README.md of this source tree)")
        parser.add_argument(
            "--state-key-file", metavar="FILE",
            help="key that signs states, made when missing; the same for all "
                 "instances (default: $%s, or a key of this process)"
                 % KEY_ENV)
        parser.add_argument(
            "--state-dir", metavar="DIR",
            help="folder of session states, shared by the instances")
        parser.add_argument(
            "--session-timeout", type=number(1, 31536000), default=1800,
            metavar="SECONDS", help="of a session without a message "
            "(default: 1800)")
        parser.add_argument(
            "--linger", type=number(0, 31536000), default=300,
            metavar="SECONDS", help="of a session without a connection "
            "(default: 300)")
        parser.add_argument(
            "--heartbeat", type=number(1, 86400), default=60,
            metavar="SECONDS", help="between heartbeat events (default: 60)")
        parser.add_argument(
            "--token-delay", type=number(0, 10000), default=15, metavar="MS",
            help="between the words of an answer (default: 15)")

    async def start(self):
        options = self.options
        paths = options.docs or [os.path.join(ROOT, "docs"),
                                 os.path.join(ROOT, "README.md")]
        self.index = corral_docs.Index(corral_docs.load(paths))
        make_folder(options.state_dir)      # the key may lie in it
        key, shared = load_key(options.state_key_file, KEY_ENV)
        self.signer = Signer(key)
        self.store = Store(options.state_dir, self.signer)
        self.store.prune()
        self.sessions = {}
        self.connections = set()
        self.ended = collections.OrderedDict()
        self.finished = False
        self.began = time.monotonic()
        self.ticker = asyncio.ensure_future(self.tick())
        if not shared:
            log("warning", "states end with this process: no "
                "--state-key-file and no $" + KEY_ENV)

    async def finish(self):
        self.ticker.cancel()
        for session in list(self.sessions.values()):
            if session.running() and not session.pending:
                session.task.cancel()
                await asyncio.wait([session.task], timeout=1)
            session.save()
        self.finished = True

    async def tick(self):
        """Heartbeats, and the end of sessions that nobody wants."""
        beat = time.monotonic()
        while True:
            await asyncio.sleep(0.25)
            for session in list(self.sessions.values()):
                idle = not session.running() or session.pending
                if session.connection is None and time.monotonic() \
                        - session.detached > self.options.linger or idle and \
                        time.time() - session.active \
                        > self.options.session_timeout:
                    self.end_session(session)
            if time.monotonic() - beat >= self.options.heartbeat:
                beat = time.monotonic()
                for connection in self.connections:
                    connection.say("system.heartbeat", "heartbeat", {
                        "active_sessions": len(self.sessions),
                        "uptime": int(beat - self.began)})

    def end_session(self, session):
        """Free a session with its buffer; its state can still be restored."""
        session.save()
        if session.running():
            session.task.cancel()
        if session.connection is not None:
            session.emit("agent.session_end", "Session closed")
            session.connection.sessions.discard(session)
            session.detach()
        session.buffer.clear()
        self.sessions.pop(session.id, None)
        self.ended[session.id] = True
        if len(self.ended) > CLOSED_MAX:
            self.ended.popitem(last=False)

    async def http(self, request, reply):
        if request.path != "/":
            raise HTTPError(404, "nothing is at %s: this agent speaks "
                            "WebSocket" % request.path)
        if request.method not in ("GET", "HEAD"):
            raise HTTPError(405, "%s: only GET and HEAD" % request.method,
                            [("Allow", "GET, HEAD")])
        await reply.json({
            "agent": self.name, "description": self.description,
            "protocol": "myagent-events", "tools": ["calc", "search"],
            "sessions": len(self.sessions),
            "buffered_events": sum(len(s.buffer)
                                   for s in self.sessions.values())})

    # WebSocket

    async def websocket(self, socket, request):
        connection = Connection(self, socket, request)
        self.connections.add(connection)
        try:
            if not connection.resumed:      # its client has been greeted
                connection.say("system.connected",
                               "Connected to MyAgent WebSocket Server")
            async for message in socket.messages():
                await self.receive(connection, message)
                await connection.flow()
            if self.stopping:
                tasks = [s.task for s in connection.sessions
                         if s.running() and not s.pending]
                if tasks:
                    await asyncio.wait(tasks)
                await connection.drained()
        finally:
            self.connections.discard(connection)
            connection.end()

    async def receive(self, connection, message):
        try:
            if isinstance(message, bytes):
                raise ValueError("binary message")
            body = load_json(message)
            if not isinstance(body, dict):
                raise ValueError("not an object")
        except ValueError as error:
            connection.say("system.error", "Invalid JSON: %s" % error)
            return
        event, session_id = body.get("event"), body.get("session_id")
        if session_id is not None and not isinstance(session_id, str):
            session_id = None
        handler = HANDLERS.get(event) if isinstance(event, str) else None
        if handler is None or handler in NEED_SESSION and not session_id:
            connection.say("system.error", "Unknown event type or missing "
                           "session_id: %s"
                           % (event[:80] if isinstance(event, str) else None))
            return
        try:
            if handler in NEED_SESSION:
                session = await self.session(connection, session_id)
                await handler(self, connection, session, body)
            else:
                await handler(self, connection, body)
        except Refused as error:
            # a cancel of somebody else's session is not even refused
            if handler is not Assistant.on_cancel or session_id is None \
                    or session_id not in self.sessions:
                name = "agent.error" if handler in NEED_SESSION \
                    else "system.error"
                connection.say(name, str(error), session_id=session_id)

    async def claim(self, session, connection, refusal):
        """Take a session for a connection; Refused while its own one lives."""
        old = session.connection
        if old is connection:
            return
        if old is not None:
            if not old.dead and await old.socket.alive(ALIVE_TIMEOUT):
                raise Refused(refusal)
            old.socket.abort()
            old.end()
        if session.connection is not None or session.id not in self.sessions:
            raise Refused(refusal)          # another was faster meanwhile
        session.attach(connection)

    async def session(self, connection, session_id):
        """The session of a request, or Refused with MyAgent's words."""
        session = self.sessions.get(session_id)
        if session is not None:
            if session.connection is not connection:
                foreign = "Session does not belong to this connection"
                if not session.owner or session.owner != connection.owner:
                    raise Refused(foreign)
                await self.claim(session, connection, foreign)
                session.deliver_new()
            return session

        saved = self.store.load(session_id)
        if saved is not None and connection.owner \
                and saved["metadata"].get("owner") == connection.owner:
            return await self.restored(connection, saved)
        if saved is None and connection.resumed \
                and SESSION_ID.fullmatch(session_id):
            log("warning", "session adopted without its memory",
                session=session_id)
            return self.new_session(connection, session_id)
        raise Refused("Session is closed" if session_id in self.ended
                      else "Session not found")

    def new_session(self, connection, session_id):
        if len(connection.sessions) >= SESSIONS_MAX:
            raise Refused("Too many sessions: a connection has at most %d"
                          % SESSIONS_MAX)
        if len(self.sessions) >= SESSIONS_TOTAL:
            raise Refused("Too many sessions: this agent has at most %d"
                          % SESSIONS_TOTAL)
        session = Session(self, session_id, connection.owner)
        self.sessions[session_id] = session
        self.ended.pop(session_id, None)
        session.attach(connection)
        return session

    async def restored(self, connection, saved):
        session = self.new_session(connection, saved["session_id"])
        session.restore(saved)
        session.resume(saved)
        await asyncio.sleep(0)              # let it ask before it is answered
        return session

    async def on_create_session(self, connection, body):
        content = body.get("content")
        if content is not None and not isinstance(content, dict):
            raise Refused("Failed to create session: content must be an "
                          "object")
        wanted = body.get("session_id", (content or {}).get("session_id"))
        if wanted is None:
            session = self.new_session(connection, uuid.uuid4().hex)
        elif not isinstance(wanted, str) or not SESSION_ID.fullmatch(wanted):
            raise Refused("Failed to create session: session_id must be 8 to "
                          "64 letters, digits, \"_\" or \"-\"")
        elif wanted in self.sessions or self.store.load(wanted):
            try:
                session = await self.session(connection, wanted)
            except Refused:
                raise Refused("Session already active on another connection") \
                    from None
        else:
            session = self.new_session(connection, wanted)
        session.emit("agent.session_created", "Session created successfully",
                     metadata={"agent_name": NAME})

    async def on_message(self, connection, session, body):
        content = body.get("content")
        if not isinstance(content, str) or not content.strip():
            raise Refused("Message content cannot be empty")
        if len(content) > MESSAGE_MAX:
            raise Refused("Message content is too long: %d characters, at "
                          "most %d are taken" % (len(content), MESSAGE_MAX))
        if session.running():
            raise Refused("Agent is currently running, please try again later")
        session.message(content)

    async def on_response(self, connection, session, body):
        step_id, content = body.get("step_id"), body.get("content")
        if not isinstance(step_id, str) or not step_id:
            raise Refused("Missing step_id in user response")
        if not isinstance(content, dict) \
                or not isinstance(content.get("confirmed"), bool):
            raise Refused("User response needs content {confirmed: true or "
                          "false}")
        reason = content.get("reason")
        if not session.respond(step_id, content["confirmed"],
                               reason[:200] if isinstance(reason, str)
                               else ""):
            raise Refused("Nothing waits for a response to step \"%s\""
                          % step_id[:80])

    async def on_cancel(self, connection, session, body):
        if session.running():
            await asyncio.sleep(0)          # it may not have begun
            session.task.cancel()
            await asyncio.wait([session.task])
        else:
            connection.say("system.notice", "Nothing is running",
                           {"action": "cancel", "ok": False}, session.id)

    async def on_unsupported(self, connection, session, body):
        raise Refused("Agent does not support " + body["event"][5:])

    async def on_request_state(self, connection, session, body):
        state = session.export()
        connection.say("agent.state_exported", "State exported", {
            "signed_state": self.signer.sign(state),
            "state_size": len(json.dumps(state)),
            "message_count": len(session.memory),
            "current_step": session.step}, session.id)

    async def on_reconnect_with_state(self, connection, body):
        if body.get("signed_state") is None:
            raise Refused("Missing signed_state in reconnect request")
        try:
            saved = self.signer.open(body["signed_state"])
        except StateError as error:
            raise Refused("Invalid state: %s" % error) from None
        cid, seq = position(body) or (None, 0)

        warnings = []
        session = self.sessions.get(saved["session_id"])
        if session is not None:
            await self.claim(session, connection,
                             "Session already active on another connection")
            session.owner = connection.owner or session.owner
            if session.step > saved["current_step"]:
                warnings.append("the session had gone on after this state "
                                "was exported; nothing was taken back")
        else:
            newer = self.store.load(saved["session_id"])
            if newer and newer["current_step"] > saved["current_step"]:
                saved = newer
                warnings.append("a later state was stored; that one was taken")
            session = self.new_session(connection, saved["session_id"])
            session.restore(saved)

        connection.say("agent.state_restored",
                       "Session state restored successfully", {
                           "original_session_id": session.id,
                           "restored_step": session.step,
                           "message_count": len(session.memory),
                           "agent_name": NAME, "warnings": warnings},
                       session.id)
        count, gap = session.replay(cid, seq)
        connection.say(
            "system.notice", "Replay completed" if count
            else "No buffered events available for replay",
            {"action": "replay", "replayed": count, "gap": gap,
             "last_event_id": "%s-%d" % (connection.id, connection.seq),
             "last_seq": connection.seq}, session.id)
        if not session.running():
            session.resume(saved)

    async def on_ack(self, connection, body):
        where = position(body)
        if where is None:
            raise Refused("user.ack needs last_seq, a number from 0, or "
                          "last_event_id")
        cid, seq = where
        if cid is None and seq > connection.seq:
            return      # of an earlier connection that the gateway replaced
        for session in connection.sessions:
            session.acknowledge(cid or connection.id, seq)


def position(body):
    """(connection_id or None, seq) of {last_event_id}, {last_seq} or a bare
    number, in content or beside it; None when there is none."""
    content = body.get("content")
    for place in (content if isinstance(content, dict) else {}, body):
        ident = place.get("last_event_id")
        if isinstance(ident, str):
            cid, dash, seq = ident.rpartition("-")
            if dash and cid and seq.isascii() and seq.isdigit() \
                    and len(seq) <= 15:
                return cid, int(seq)
        seq = place.get("last_seq")
        if isinstance(seq, int) and not isinstance(seq, bool) and seq >= 0:
            return None, seq
    if isinstance(content, int) and not isinstance(content, bool) \
            and content >= 0:
        return None, content
    return None


HANDLERS = {
    "user.create_session": Assistant.on_create_session,
    "user.message": Assistant.on_message,
    "user.response": Assistant.on_response,
    "user.cancel": Assistant.on_cancel,
    "user.solve_tasks": Assistant.on_unsupported,
    "user.cancel_task": Assistant.on_unsupported,
    "user.restart_task": Assistant.on_unsupported,
    "user.cancel_plan": Assistant.on_unsupported,
    "user.replan": Assistant.on_unsupported,
    "user.request_state": Assistant.on_request_state,
    "user.reconnect_with_state": Assistant.on_reconnect_with_state,
    "user.ack": Assistant.on_ack,
}

NEED_SESSION = {
    Assistant.on_message, Assistant.on_response, Assistant.on_cancel,
    Assistant.on_unsupported, Assistant.on_request_state}


if __name__ == "__main__":
    Assistant().main()
