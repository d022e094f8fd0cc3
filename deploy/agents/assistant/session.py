"""One conversation: its memory, its running answer, its buffer of events.

A session belongs to one connection at a time and outlives it: the answer under
way goes on, its events wait in the buffer until another connection takes the
session over.  Nothing here awaits between giving an event its number and
queueing it, so events leave in the order in which they came about, and each
exactly once per connection.
"""

import asyncio
import collections
import json
import re
import secrets
import time

from corral_agent import log
import calc
import corral_docs
import state

BUFFER_MAX = 1000           # events kept for a replay
NOTES_MAX = 100
NOTE_MAX = 500              # characters
CONFIRM_TIMEOUT = 300       # seconds; then the answer is no

NAME = "corral-assistant"

# What a message asks for.  The first pattern that matches decides; what none
# matches is a question to the documentation.

INTENTS = (
    ("calc", re.compile(r"(?:calc|calculate|compute)\b[\s:]*(.+)", re.I | re.S)),
    ("calc", re.compile(r"(?:what is|what's|how much is)?\s*"
                        r"((?=.*\d)(?=.*[-+*/%^])[-+*/%^().,\d\s]{1,999}?)"
                        r"[\s=?]*$",
                        re.I | re.S)),
    ("remember", re.compile(r"(?:please\s+)?remember(?:\s+that)?[\s:]+(.+)",
                            re.I | re.S)),
    ("delete_notes", re.compile(r"(?:please\s+)?(?:delete|forget|erase)\s+"
                                r"(?:all\s+)?(?:of\s+)?my\s+notes\b()", re.I)),
    ("notes", re.compile(r"(?:(?:list|show)(?:\s+me)?|what\s+are)\s+my\s+"
                         r"notes\b()", re.I)),
    ("recall", re.compile(r"what\s+(?:did\s+i|was\s+my|have\s+i).*"
                          r"(?:say|said|ask|asked|question|message)()", re.I)),
    ("more", re.compile(r"(?:tell\s+me\s+|show\s+me\s+)?more[.!?]*$()", re.I)),
)

CONFIRMED = {"delete_notes": "Delete all notes of this session for good"}


def now():
    return int(time.time())


class Session:
    def __init__(self, agent, session_id, owner):
        self.agent = agent
        self.id = session_id
        self.owner = owner              # Corral-Session of its client, or ""
        self.connection = None
        self.memory = []                # {role, content}, oldest first
        self.notes = []
        self.asked = ""                 # last search and how far it was told
        self.told = 0
        self.step = 0
        self.created = now()
        self.active = now()
        self.detached = time.monotonic()
        self.task = None
        self.pending = {}               # step_id -> {tool, args, future}
        self.buffer = collections.deque()   # [event, connection_id, seq]
        self.lost = None                # (connection_id, seq) dropped last

    # events

    def emit(self, event, content=None, step_id=None, metadata=None):
        """Queue an event for the client, and keep it for a replay."""
        body = {"event": event, "session_id": self.id}
        if step_id is not None:
            body["step_id"] = step_id
        if content is not None:
            body["content"] = content
        body["metadata"] = dict(metadata or {})
        entry = [body, None, 0]
        if len(self.buffer) >= BUFFER_MAX:
            oldest = self.buffer.popleft()
            self.lost = (oldest[1], oldest[2])
        self.buffer.append(entry)
        if self.connection is not None:
            self._deliver(entry)

    def _deliver(self, entry):
        body = entry[0]
        if entry[1] is not None:
            body["metadata"].setdefault("orig_seq", entry[2])
            body["metadata"].setdefault("orig_event_id",
                                        "%s-%d" % (entry[1], entry[2]))
        entry[1], entry[2] = self.connection.id, self.connection.post(body)

    async def flow(self):
        """Wait while the client is slow."""
        if self.connection is not None:
            await self.connection.flow()

    def acknowledge(self, connection_id, seq):
        """Forget the events up to one that the client has."""
        entries = list(self.buffer)
        for i in range(len(entries) - 1, -1, -1):
            if entries[i][1] == connection_id and entries[i][2] <= seq:
                for _ in range(i + 1):
                    self.buffer.popleft()
                self.lost = None        # it was before what the client has
                return

    def attach(self, connection):
        if self.connection is not None:
            self.connection.sessions.discard(self)
        self.connection = connection
        connection.sessions.add(self)
        self.active = now()

    def detach(self):
        """Let go of a dead connection; what it had not written is new."""
        for entry in self.buffer:
            if entry[1] == self.connection.id \
                    and entry[2] > self.connection.written:
                entry[1], entry[2] = None, 0
        self.connection = None
        self.detached = time.monotonic()

    def replay(self, connection_id, seq):
        """Send again what came after an event; (count, is there a gap).

        Without a connection_id the number is one of the connection that the
        client had last.
        """
        last = next((e[1] for e in reversed(self.buffer)
                     if e[1] not in (None, self.connection.id)),
                    self.lost and self.lost[0])
        connection_id = connection_id or last
        self.acknowledge(connection_id, seq)
        gap = self.lost is not None and (
            self.lost[0] != connection_id or self.lost[1] > seq)
        self.lost = None                # said once
        for entry in self.buffer:
            self._deliver(entry)
        return len(self.buffer), gap

    def deliver_new(self):
        """Send what was never sent on any connection."""
        for entry in self.buffer:
            if entry[1] is None:
                self._deliver(entry)

    # state

    def export(self):
        return {
            "session_id": self.id,
            "current_step": self.step,
            "agent_state": "waiting" if self.pending else
                           "running" if self.running() else "idle",
            "created_at": self.created,
            "last_active_at": self.active,
            "memory_snapshot": state.snapshot(self.memory),
            "tool_states": {"notes": self.notes, "asked": self.asked,
                            "told": self.told},
            "pending_confirmations": [
                {"step_id": step_id, "tool": one["tool"], "args": one["args"]}
                for step_id, one in self.pending.items()],
            "metadata": {"agent_name": NAME, "agent_config": {},
                         "session_state": "active", "owner": self.owner},
        }

    def restore(self, saved):
        """Become what a state says; it was signed, so its shape is ours."""
        self.memory = json.loads(saved["memory_snapshot"])
        self.notes = list(saved["tool_states"].get("notes", []))
        self.asked = saved["tool_states"].get("asked", "")
        self.told = saved["tool_states"].get("told", 0)
        self.step = saved["current_step"]
        self.created = saved["created_at"]

    def resume(self, saved):
        """Ask again what was asked when the state was taken."""
        for one in saved["pending_confirmations"]:
            if one["tool"] in CONFIRMED and not self.running():
                self.start(self._confirmed(one["tool"], one["args"],
                                           one["step_id"]))

    def save(self):
        if self.agent.finished:
            return                      # the last word has been saved
        try:
            self.agent.store.save(self.export())
        except OSError as error:
            log("error", "state not saved", session=self.id,
                error=error.strerror)

    # running

    def running(self):
        return self.task is not None and not self.task.done()

    def message(self, text):
        self.step += 1
        self.remember("user", text)
        self.start(self._answer(text))

    def start(self, work):
        self.task = asyncio.ensure_future(self._run(work))

    async def _run(self, work):
        try:
            await work
        except asyncio.CancelledError:
            self.emit("agent.interrupted", "Execution cancelled")
        except Exception as error:
            log("error", "answer failed", session=self.id,
                error="%s: %s" % (type(error).__name__, error))
            self.emit("agent.error", "The agent failed; its log says why")
        finally:
            work.close()
            self.pending.clear()
            self.active = now()
            self.save()

    def remember(self, role, content):
        self.memory.append({"role": role, "content": content})
        del self.memory[:-state.MEMORY_MESSAGES]
        self.active = now()

    async def _answer(self, text):
        self.emit("agent.thinking", "Choosing what to do",
                  metadata={"step": self.step})
        tool, argument = "search", text.strip()
        for name, pattern in INTENTS:
            found = pattern.match(text.strip())
            if found:
                tool, argument = name, found.group(1).strip()
                break

        if tool == "calc":
            await self._calc(argument)
        elif tool == "search":
            await self._search(argument)
        elif tool == "more" and self.asked:
            await self._more()
        elif tool == "delete_notes":
            await self._confirmed(tool, {"count": len(self.notes)},
                                  "confirm_%s_%s" % (secrets.token_hex(4),
                                                     tool))
        else:
            await self._say(self._plain(tool, argument), tool)

    def _plain(self, tool, argument):
        """The answers that need neither tool nor permission."""
        if tool == "remember":
            if len(self.notes) >= NOTES_MAX:
                return "I keep %d notes; delete them first." % NOTES_MAX
            self.notes.append(argument[:NOTE_MAX])
            return "Noted: " + self.notes[-1]
        if tool == "notes":
            return "\n".join("%d. %s" % pair for pair in
                             enumerate(self.notes, 1)) or "You have no notes."
        if tool == "recall":
            said = [m["content"] for m in self.memory[:-1]
                    if m["role"] == "user"]
            return "You said: " + said[-1] if said \
                else "This is your first message."
        return "There is nothing to go on with: ask something first."

    def _call(self, tool, args):
        step_id = "step_%d_%s" % (self.step, tool)
        self.emit("agent.tool_call", "Calling tool: " + tool, step_id,
                  {"tool": tool, "args": args, "status": "running"})
        return step_id

    async def _calc(self, expression):
        step_id = self._call("calc", {"expression": expression})
        try:
            value = calc.calculate(expression)
        except calc.CalcError as error:
            self.emit("agent.tool_result", str(error), step_id, {
                "tool": "calc", "status": "failed", "error": str(error)})
            await self._say("I cannot calculate that: %s." % error, "calc")
            return
        self.emit("agent.tool_result", value, step_id, {
            "tool": "calc", "status": "success", "error": None,
            "data": {"value": value}})
        await self._say("%s = %s" % (expression, value), "calc")

    async def _search(self, question):
        step_id = self._call("search", {"query": question})
        found = self.agent.index.search(question)
        self.asked, self.told = question, 1
        self._found(step_id, found)
        await self._say(corral_docs.answer(found[:1]), "search",
                        corral_docs.sources(found[:1]))

    async def _more(self):
        step_id = self._call("search", {"query": self.asked,
                                        "offset": self.told})
        found = self.agent.index.search(self.asked, self.told + 1)[self.told:]
        self.told += len(found)
        self._found(step_id, found)
        await self._say(corral_docs.answer(found) if found
                        else "That was all I have found.", "search",
                        corral_docs.sources(found))

    def _found(self, step_id, found):
        self.emit("agent.tool_result", "%d passages" % len(found), step_id, {
            "tool": "search", "status": "success", "error": None,
            "data": corral_docs.sources(found)})

    async def _confirmed(self, tool, args, step_id):
        """Ask for permission, then act."""
        future = asyncio.get_running_loop().create_future()
        self.pending[step_id] = {"tool": tool, "args": args, "future": future}
        self.emit("agent.user_confirm", CONFIRMED[tool] + "?", step_id, {
            "tool_name": tool, "tool_description": CONFIRMED[tool],
            "tool_args": args, "requires_confirmation": True})
        self.save()
        try:
            yes, reason = await asyncio.wait_for(future, CONFIRM_TIMEOUT)
        except asyncio.TimeoutError:
            yes, reason = False, "no answer in %d s" % CONFIRM_TIMEOUT
        self.pending.pop(step_id, None)

        if not yes:
            await self._say("Nothing was deleted%s."
                            % (": " + reason if reason else ""), tool)
            return
        call = self._call(tool, args)
        count = len(self.notes)
        self.notes.clear()
        self.emit("agent.tool_result", "%d notes deleted" % count, call, {
            "tool": tool, "status": "success", "error": None,
            "data": {"deleted": count}})
        await self._say("%d notes deleted." % count, tool)

    def respond(self, step_id, confirmed, reason):
        """Answer a pending question; False when there is none."""
        one = self.pending.get(step_id)
        if one is None or one["future"].done():
            return False
        one["future"].set_result((confirmed, reason))
        return True

    async def _say(self, text, tool, sources=None):
        """Stream an answer as deltas, then send it whole."""
        count = 0
        for token in corral_docs.tokens(text):
            count += 1
            self.emit("agent.partial_answer", token, metadata={
                "is_streaming": True, "word_count": count, "is_final": False})
            await self.flow()
            await asyncio.sleep(self.agent.options.token_delay / 1000)
        self.emit("agent.partial_answer", "", metadata={
            "is_streaming": False, "word_count": count, "is_final": True,
            "total_length": len(text)})
        self.remember("assistant", text)
        meta = {"step": self.step, "tool": tool, "method": "rules"}
        if sources is not None:
            meta.update(method="bm25", sources=sources)
        self.emit("agent.final_answer", text, metadata=meta)
